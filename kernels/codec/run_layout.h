// The layout that the byte runs of all codecs share, which their pages in docs/formats/ describe.
// it.
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
#include "kernels/codec/host_device.h"

namespace larder {

// Little-endian fields at any alignment, each read once.
LARDER_HD inline uint16_t LoadU16(const uint8_t* bytes) {
  uint16_t value;
  memcpy(&value, bytes, sizeof(value));
  return value;
}
LARDER_HD inline uint32_t LoadU32(const uint8_t* bytes) {
  uint32_t value;
  memcpy(&value, bytes, sizeof(value));
  return value;
}
LARDER_HD inline void StoreU16(uint8_t* bytes, uint16_t value) {
  memcpy(bytes, &value, sizeof(value));
}
LARDER_HD inline void StoreU32(uint8_t* bytes, uint32_t value) {
  memcpy(bytes, &value, sizeof(value));
}

LARDER_HD constexpr size_t DirectoryBytes(uint32_t heads) {
  return size_t{heads} * sizeof(uint32_t);
}

// Half-open, in bytes from the run's first.
struct RunRange {
  size_t begin = 0;
  size_t end = 0;
};

// Finds the streams of the heads [head_begin, head_end), of which there is one at least. False when
// the run is too short, their ends do not ascend or leave it, or bytes follow the last head's. Only
// the directory is read.
LARDER_HD inline bool FindStreams(const uint8_t* run, size_t run_bytes, size_t header_bytes,
                                  uint32_t heads, uint32_t head_begin, uint32_t head_end,
                                  RunRange* range) {
  const size_t streams = header_bytes + DirectoryBytes(heads);
  if (run_bytes < streams) return false;
  const uint8_t* const directory = run + header_bytes;
  range->begin = head_begin == 0 ? streams : LoadU32(directory + DirectoryBytes(head_begin - 1));
  range->end = LoadU32(directory + DirectoryBytes(head_end - 1));
  return range->begin >= streams && range->begin <= range->end && range->end <= run_bytes &&
         (head_end != heads || range->end == run_bytes);
}

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
