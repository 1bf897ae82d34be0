// Where a vector decoder stands in the words of a stream. Vector loads take a whole row's worth of
// words whether the row needs them or not; near the stream's end they come from a copy of it with
// zeros behind, so that no byte beyond the stream is read.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/codec/rans/rans_format.h"

namespace larder {

// The end of a stream and one row of zeros. An object of its own, so that the decoder beside it,
// which nothing points to, can live in registers.
struct StreamTail {
  uint8_t bytes[2 * kRowBytesMax];
};

class WordCursor {
 public:
  // `bytes` of words, even. Does not own them or the tail.
  void Begin(const uint8_t* words, size_t bytes, StreamTail& tail) {
    end_ = words + bytes;
    const size_t tail_bytes = std::min(bytes, kRowBytesMax);
    std::memset(tail.bytes, 0, sizeof(tail.bytes));
    std::memcpy(tail.bytes, end_ - tail_bytes, tail_bytes);
    tail_begin_ = tail.bytes;
    tail_end_ = tail.bytes + tail_bytes;
    overrun_ = false;
    next_ = words;
    if (bytes < kRowBytesMax) {
      next_ = tail_begin_;
      last_ = tail_end_;
    } else {
      last_ = end_ - kRowBytesMax;
    }
  }

  // The words of the next row: kRowBytesMax bytes may be read. Before every row.
  const uint8_t* BeginRow() {
    if (next_ > last_) [[unlikely]]
      EnterTail();
    return next_;
  }
  // How many bytes the row took.
  void EndRow(size_t bytes) { next_ += bytes; }

  // Whether the rows so far took no more words than there are.
  bool IsSound() const { return !overrun_ && (last_ != tail_end_ || next_ <= tail_end_); }

  // Whether the rows took exactly the words of the stream.
  bool IsAtEnd() const { return !overrun_ && next_ == (last_ == tail_end_ ? tail_end_ : end_); }

 private:
  void EnterTail() {
    if (last_ == tail_end_) {
      // More words were taken than there are: go on with any.
      overrun_ = true;
      next_ = tail_begin_;
    } else {
      next_ = tail_end_ - (end_ - next_);
      last_ = tail_end_;
    }
  }

  const uint8_t* next_ = nullptr;
  const uint8_t* last_ = nullptr;  // where the last row may begin that reads no byte beyond
  const uint8_t* end_ = nullptr;
  const uint8_t* tail_begin_ = nullptr;
  const uint8_t* tail_end_ = nullptr;
  bool overrun_ = false;
};

}  // namespace larder
