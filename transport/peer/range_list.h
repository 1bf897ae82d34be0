// Scattered ranges of the registered memory seen as one run of bytes.
#pragma once

#include <cstdint>
#include <vector>

#include "transport/peer/peer_transport.h"

namespace larder {

// Immutable once made. Does not own the memory.
class RangeList {
 public:
  RangeList() = default;
  // INVALID_ARGUMENT: none, too many, an empty one, or one outside [0, memory_bytes).
  static absl::StatusOr<RangeList> Make(std::vector<MemoryRange> ranges, uint64_t memory_bytes);

  uint64_t bytes() const { return bytes_; }

  // Appends the ranges that bytes [offset, offset + bytes) lie in, at most `ranges_max` of them,
  // and returns how many bytes these are. REQUIRES: offset + bytes <= this->bytes().
  uint64_t Slice(uint64_t offset, uint64_t bytes, size_t ranges_max,
                 std::vector<MemoryRange>* slice) const;

 private:
  std::vector<MemoryRange> ranges_;
  std::vector<uint64_t> starts_;  // of each range within the run
  uint64_t bytes_ = 0;
};

}  // namespace larder
