// What writers and readers of containers share. For kernels/format alone.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/format/container.h"

namespace larder {

uint32_t ContainerPlaneCount(const Manifest& manifest, const Part& part);
// Of a container with so many entries in its table of contents.
uint64_t ContainerBodyOffset(uint32_t entry_count);

// OK when such a chunk can be written, or read into `destination`.
absl::Status CheckContainerWrite(const Manifest& manifest, const ChunkIdentity& identity);
absl::Status CheckContainerRead(const ContainerView& view, const Manifest& manifest,
                                const Part& wanted, std::span<const Segment> destination);
// OK when the container is of the manifest and holds `wanted`.
absl::Status CheckContainerPart(const ContainerView& view, const Manifest& manifest,
                                const Part& wanted);

ContainerHeader MakeContainerHeader(const Manifest& manifest, const ChunkIdentity& identity,
                                    ContainerCodec codec, uint32_t level_count,
                                    std::span<const ContainerTocEntry> toc, uint64_t total_bytes);

// OK when the segments hold `expected` bytes together.
template <typename SegmentType>
absl::Status CheckSegments(std::span<const SegmentType> segments, uint64_t expected) {
  uint64_t rest = expected;
  for (const SegmentType& segment : segments) {
    if (segment.size > rest) {
      return absl::InvalidArgumentError(
          absl::StrCat("segments hold more than the ", expected, " bytes of the part"));
    }
    rest -= segment.size;
  }
  if (rest == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("segments hold ", expected - rest, " of the ", expected, " bytes of the part"));
}

// Walks a list of segments as one run of bytes. The list must outlive it. Not thread-safe.
template <typename SegmentType>
class SegmentCursor {
 public:
  explicit SegmentCursor(std::span<const SegmentType> segments) : rest_(segments) {}

  // The next piece, 1 to `size_max` bytes. REQUIRES: size_max > 0 and bytes are left.
  SegmentType Take(uint64_t size_max) {
    while (used_ == rest_.front().size) {
      rest_ = rest_.subspan(1);
      used_ = 0;
    }
    const size_t size = std::min<uint64_t>(size_max, rest_.front().size - used_);
    const SegmentType piece = {rest_.front().data + used_, size};
    used_ += size;
    return piece;
  }

 private:
  std::span<const SegmentType> rest_;
  size_t used_ = 0;  // bytes of the first segment of `rest_` that are taken
};

}  // namespace larder
