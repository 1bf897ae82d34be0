#include "storage/arena/extent_allocator.h"

#include <algorithm>
#include <bit>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "common/check.h"

namespace larder {

ExtentAllocator::ExtentAllocator(uint64_t capacity_bytes, uint64_t granule_bytes)
    : granule_bytes_(granule_bytes) {
  LARDER_CHECK(std::has_single_bit(granule_bytes));
  Grow(capacity_bytes);
}

std::optional<uint64_t> ExtentAllocator::RoundUp(uint64_t bytes) const {
  // The capacity is a multiple of the granule, so what fits before rounding fits after it.
  if (bytes > capacity_bytes_) return std::nullopt;
  return (bytes + granule_bytes_ - 1) & ~(granule_bytes_ - 1);
}

void ExtentAllocator::InsertRange(uint64_t offset, uint64_t bytes) {
  bytes_by_offset_.emplace(offset, bytes);
  ranges_by_size_.emplace(bytes, offset);
}

void ExtentAllocator::RemoveRange(uint64_t offset, uint64_t bytes) {
  bytes_by_offset_.erase(offset);
  ranges_by_size_.erase({bytes, offset});
}

std::optional<uint64_t> ExtentAllocator::Allocate(uint64_t bytes) {
  const std::optional<uint64_t> rounded = RoundUp(bytes);
  if (!rounded || *rounded == 0) return std::nullopt;
  const auto best = ranges_by_size_.lower_bound({*rounded, 0});
  if (best == ranges_by_size_.end()) return std::nullopt;
  const auto [range_bytes, offset] = *best;
  RemoveRange(offset, range_bytes);
  if (range_bytes > *rounded) InsertRange(offset + *rounded, range_bytes - *rounded);
  free_bytes_ -= *rounded;
  return offset;
}

void ExtentAllocator::Free(uint64_t offset, uint64_t bytes) {
  const std::optional<uint64_t> rounded = RoundUp(bytes);
  LARDER_CHECK(rounded && *rounded > 0);
  LARDER_CHECK(offset % granule_bytes_ == 0 && offset <= capacity_bytes_ - *rounded);
  uint64_t begin = offset;
  uint64_t end = offset + *rounded;
  const auto next = bytes_by_offset_.lower_bound(offset);
  std::optional<std::pair<uint64_t, uint64_t>> before;
  std::optional<std::pair<uint64_t, uint64_t>> after;
  if (next != bytes_by_offset_.end()) {
    LARDER_CHECK(next->first >= end);  // else part of the extent is free already
    if (next->first == end) after.emplace(next->first, next->second);
  }
  if (next != bytes_by_offset_.begin()) {
    const auto previous = std::prev(next);
    LARDER_CHECK(previous->first + previous->second <= begin);  // as above
    if (previous->first + previous->second == begin) {
      before.emplace(previous->first, previous->second);
    }
  }
  if (before) {
    begin = before->first;
    RemoveRange(before->first, before->second);
  }
  if (after) {
    end = after->first + after->second;
    RemoveRange(after->first, after->second);
  }
  InsertRange(begin, end - begin);
  free_bytes_ += *rounded;
}

absl::Status ExtentAllocator::Claim(uint64_t offset, uint64_t bytes) {
  const std::optional<uint64_t> rounded = RoundUp(bytes);
  if (!rounded || *rounded == 0 || offset > capacity_bytes_ - *rounded) {
    return absl::InvalidArgumentError(absl::StrCat("extent of ", bytes, " bytes at ", offset,
                                                   " is empty or outside the capacity of ",
                                                   capacity_bytes_, " bytes"));
  }
  if (offset % granule_bytes_ != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "extent offset ", offset, " is no multiple of the granule of ", granule_bytes_, " bytes"));
  }
  const uint64_t end = offset + *rounded;
  uint64_t taken_from = offset;  // the first byte of the extent that is not free
  auto range = bytes_by_offset_.upper_bound(offset);
  if (range != bytes_by_offset_.begin()) {
    --range;
    const uint64_t range_begin = range->first;
    const uint64_t range_bytes = range->second;
    const uint64_t range_end = range_begin + range_bytes;
    if (range_end >= end) {
      RemoveRange(range_begin, range_bytes);
      if (range_begin < offset) InsertRange(range_begin, offset - range_begin);
      if (range_end > end) InsertRange(end, range_end - end);
      free_bytes_ -= *rounded;
      return absl::OkStatus();
    }
    if (range_end > offset) taken_from = range_end;
  }
  const auto free_again = bytes_by_offset_.upper_bound(taken_from);
  const uint64_t taken_to =
      free_again == bytes_by_offset_.end() ? end : std::min(end, free_again->first);
  return absl::AlreadyExistsError(absl::StrCat("extent [", offset, ", ", end, ") overlaps bytes [",
                                               taken_from, ", ", taken_to, ") that are taken"));
}

void ExtentAllocator::Grow(uint64_t new_capacity_bytes) {
  const uint64_t rounded = new_capacity_bytes & ~(granule_bytes_ - 1);
  LARDER_CHECK(new_capacity_bytes >= capacity_bytes_);
  if (rounded == capacity_bytes_) return;
  const uint64_t old_capacity_bytes = capacity_bytes_;
  capacity_bytes_ = rounded;
  Free(old_capacity_bytes, rounded - old_capacity_bytes);
}

uint64_t ExtentAllocator::largest_free_bytes() const {
  return ranges_by_size_.empty() ? 0 : ranges_by_size_.rbegin()->first;
}

}  // namespace larder
