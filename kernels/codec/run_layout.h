// The layout that the byte runs of all codecs share; docs/formats/codec.md describes it.
//
//   run       = plane header, directory, stream*     ; the header's size follows from the geometry
//   directory = u32 end*                             ; a head: where its stream ends, from the
//                                                    ; run's first byte; ascending, the last one is
//                                                    ; the size of the run
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "kernels/codec/codec_status.h"

namespace larder {

// Little-endian fields at any alignment, each read once.
inline uint16_t LoadU16(const uint8_t* bytes) {
  uint16_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}
inline uint32_t LoadU32(const uint8_t* bytes) {
  uint32_t value;
  std::memcpy(&value, bytes, sizeof(value));
  return value;
}
inline void StoreU16(uint8_t* bytes, uint16_t value) { std::memcpy(bytes, &value, sizeof(value)); }
inline void StoreU32(uint8_t* bytes, uint32_t value) { std::memcpy(bytes, &value, sizeof(value)); }

constexpr size_t DirectoryBytes(uint32_t heads) { return size_t{heads} * sizeof(uint32_t); }

// Half-open, in bytes from the run's first.
struct RunRange {
  size_t begin = 0;
  size_t end = 0;
};

// Finds heads in a run. Does not own the bytes.
class RunView {
 public:
  // REQUIRES: head_begin < head_end <= heads. `run` may be only partly filled: header and directory
  // are read. kCorrupt when the range's ends do not ascend or leave the run.
  static CodecStatus FindHeads(std::span<const uint8_t> run, size_t header_bytes, uint32_t heads,
                               uint32_t head_begin, uint32_t head_end, RunRange& range);

  // The stream of one head.
  static CodecStatus FindHead(std::span<const uint8_t> run, size_t header_bytes, uint32_t heads,
                              uint32_t head, std::span<const uint8_t>& stream);
};

// Appends head streams to a run. Does not own the room.
class RunWriter {
 public:
  // REQUIRES: `room` holds header, directory and every stream that will be appended.
  RunWriter(std::span<uint8_t> room, size_t header_bytes, uint32_t heads)
      : room_(room), directory_(header_bytes), end_(header_bytes + DirectoryBytes(heads)) {}

  std::span<uint8_t> header() { return room_.first(directory_); }
  // Where the next head's stream goes.
  std::span<uint8_t> rest() { return room_.subspan(end_); }
  // Ends the stream of the next head, whose bytes are in rest().
  void EndHead(size_t stream_bytes) {
    end_ += stream_bytes;
    StoreU32(room_.data() + directory_ + DirectoryBytes(head_), static_cast<uint32_t>(end_));
    ++head_;
  }
  size_t bytes() const { return end_; }

 private:
  std::span<uint8_t> room_;
  size_t directory_;
  size_t end_;
  uint32_t head_ = 0;
};

}  // namespace larder
