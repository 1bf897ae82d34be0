// Engine memory of a benchmark: room for many chunks of one size, used again and again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "common/file_descriptor.h"

namespace larder {

// Owns the memory, which is touched once at the start so that no timed copy pays for page faults.
// Each chunk is one contiguous segment. Movable. Not thread-safe.
class ChunkMemory {
 public:
  static absl::StatusOr<ChunkMemory> Create(size_t chunk_count, size_t chunk_bytes);

  size_t chunk_count() const { return sources_.size(); }
  std::span<uint8_t> chunk(size_t index) const {
    return mapping_.bytes().subspan(index * chunk_bytes_, chunk_bytes_);
  }

  // What ClientSpace::Fetch and Put take for the chunks [first, first + count).
  std::span<const ScatterList> destinations(size_t first, size_t count) const {
    return std::span(scatter_lists_).subspan(first, count);
  }
  std::span<const GatherList> sources(size_t first, size_t count) const {
    return std::span(gather_lists_).subspan(first, count);
  }

 private:
  ChunkMemory() = default;

  MemoryMapping mapping_;
  size_t chunk_bytes_ = 0;
  std::vector<Segment> destinations_;
  std::vector<ConstSegment> sources_;
  std::vector<ScatterList> scatter_lists_;
  std::vector<GatherList> gather_lists_;
};

}  // namespace larder
