#include "transport/peer/range_list.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace larder {

absl::StatusOr<RangeList> RangeList::Make(std::vector<MemoryRange> ranges, uint64_t memory_bytes) {
  if (ranges.empty() || ranges.size() > kWindowRangesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(ranges.size(), " ranges, possible are 1 to ", kWindowRangesMax));
  }
  RangeList list;
  list.starts_.reserve(ranges.size());
  for (const MemoryRange& range : ranges) {
    if (range.bytes == 0 || range.offset > memory_bytes ||
        range.bytes > memory_bytes - range.offset) {
      return absl::InvalidArgumentError(absl::StrCat("range of ", range.bytes, " bytes at ",
                                                     range.offset, " in a memory of ", memory_bytes,
                                                     " bytes"));
    }
    // No overflow: at most kWindowRangesMax times an address space's 2^47 bytes.
    list.starts_.push_back(list.bytes_);
    list.bytes_ += range.bytes;
  }
  list.ranges_ = std::move(ranges);
  return list;
}

uint64_t RangeList::Slice(uint64_t offset, uint64_t bytes, size_t ranges_max,
                          std::vector<MemoryRange>* slice) const {
  uint64_t covered = 0;
  auto at = static_cast<size_t>(std::upper_bound(starts_.begin(), starts_.end(), offset) -
                                starts_.begin()) -
            1;
  for (size_t taken = 0; covered < bytes && taken < ranges_max; ++taken, ++at) {
    const uint64_t skipped = offset + covered - starts_[at];
    const uint64_t part = std::min(bytes - covered, ranges_[at].bytes - skipped);
    slice->push_back({ranges_[at].offset + skipped, part});
    covered += part;
  }
  return covered;
}

}  // namespace larder
