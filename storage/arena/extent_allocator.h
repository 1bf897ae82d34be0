// Places byte extents in an address space [0, capacity) without ever touching the bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "common/status.h"

namespace larder {

// Best fit: the smallest free range that is large enough, the lowest address among equals; freed
// ranges join their neighbours at once. Sizes and offsets are multiples of the granule; requests
// are rounded up to it. The caller remembers the size of what it holds, so memory is spent on
// free ranges alone, two tree entries each. Every operation is O(log free ranges).
//
// Best fit was chosen by measurement (tests/unit/storage/allocator_test.cc has the workloads): it
// keeps the large ranges whole, where first fit by address, segregation of sizes to both ends and
// rounding to size classes all lost several percent of the space at the same occupancy.
//
// Pure and deterministic. Not thread-safe. Freeing what is not allocated is a bug of the caller
// and aborts.
class ExtentAllocator {
 public:
  // REQUIRES: granule_bytes is a power of two. A capacity that is no multiple of the granule is
  // rounded down.
  ExtentAllocator(uint64_t capacity_bytes, uint64_t granule_bytes);

  // The offset of an extent of `bytes` rounded up to the granule, or nothing when no free range
  // is that large or `bytes` is 0.
  std::optional<uint64_t> Allocate(uint64_t bytes);

  // Gives back an extent that Allocate or Claim handed out with the same `bytes`.
  void Free(uint64_t offset, uint64_t bytes);

  // Takes this very range, for recovery. INVALID_ARGUMENT for a range that is empty, misaligned or
  // outside the capacity, ALREADY_EXISTS when some of it is taken; nothing changes then.
  absl::Status Claim(uint64_t offset, uint64_t bytes);

  // Adds [capacity, new_capacity_bytes) as free space, for memory that becomes usable in steps.
  // REQUIRES: new_capacity_bytes >= capacity_bytes(). Rounded down to the granule.
  void Grow(uint64_t new_capacity_bytes);

  uint64_t capacity_bytes() const { return capacity_bytes_; }
  uint64_t free_bytes() const { return free_bytes_; }
  uint64_t largest_free_bytes() const;
  size_t free_range_count() const { return bytes_by_offset_.size(); }

 private:
  // `bytes` rounded up to the granule, or nothing when that exceeds the capacity.
  std::optional<uint64_t> RoundUp(uint64_t bytes) const;
  void InsertRange(uint64_t offset, uint64_t bytes);
  void RemoveRange(uint64_t offset, uint64_t bytes);

  uint64_t capacity_bytes_ = 0;
  uint64_t granule_bytes_;
  uint64_t free_bytes_ = 0;
  absl::btree_map<uint64_t, uint64_t> bytes_by_offset_;
  absl::btree_set<std::pair<uint64_t, uint64_t>> ranges_by_size_;  // (bytes, offset)
};

}  // namespace larder
