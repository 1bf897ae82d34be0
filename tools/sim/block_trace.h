// A workload in memory, its blocks numbered from 0, for simulations that read it many times.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "tools/workload/request.h"

namespace larder {

inline constexpr uint32_t kNoBlockNumber = 0xffffffffu;

struct TraceRequest {
  MonotonicTime time;
  uint64_t session;
  uint64_t first_access;  // position of its first block in BlockTrace::accesses
  uint32_t blocks;
  uint32_t tokens;
};

// Immutable once loaded. The blocks form a forest: a block always follows the same one.
struct BlockTrace {
  std::vector<TraceRequest> requests;
  std::vector<uint32_t> accesses;  // block numbers, request after request, in prefix order
  std::vector<uint32_t> parent;    // of each block; kNoBlockNumber for a first one
  std::vector<uint32_t> depth;     // of each block: 0 for a first one
  uint32_t tokens_per_block = 0;

  size_t unique_blocks() const { return parent.size(); }
  std::span<const uint32_t> blocks_of(const TraceRequest& request) const {
    return {accesses.data() + request.first_access, request.blocks};
  }
};

inline constexpr size_t kTraceAccessesMax = size_t{1} << 31;

// Reads `source` to its end or up to `limit` requests. An id that stands behind two different
// blocks counts as two blocks. INVALID_ARGUMENT when the workload has no block or more than
// kTraceAccessesMax.
absl::StatusOr<BlockTrace> LoadBlockTrace(RequestSource& source, uint32_t tokens_per_block,
                                          uint64_t limit);

}  // namespace larder
