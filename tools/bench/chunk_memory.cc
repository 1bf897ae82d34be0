#include "tools/bench/chunk_memory.h"

#include <cstring>
#include <utility>

#include "common/status.h"

namespace larder {

absl::StatusOr<ChunkMemory> ChunkMemory::Create(size_t chunk_count, size_t chunk_bytes) {
  ChunkMemory memory;
  ASSIGN_OR_RETURN(memory.mapping_, MemoryMapping::MapAnonymous(chunk_count * chunk_bytes));
  // Any value but zero: a page of zeroes could be shared.
  std::memset(memory.mapping_.data(), 1, memory.mapping_.size());
  memory.chunk_bytes_ = chunk_bytes;
  for (size_t i = 0; i < chunk_count; ++i) {
    const std::span<uint8_t> bytes = memory.chunk(i);
    memory.destinations_.push_back({bytes.data(), bytes.size()});
    memory.sources_.push_back({bytes.data(), bytes.size()});
  }
  for (size_t i = 0; i < chunk_count; ++i) {
    memory.scatter_lists_.emplace_back(&memory.destinations_[i], 1);
    memory.gather_lists_.emplace_back(&memory.sources_[i], 1);
  }
  return memory;
}

}  // namespace larder
