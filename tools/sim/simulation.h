// Replays a workload against simulated caches.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "storage/policy/recompute_cost.h"
#include "tools/sim/block_trace.h"

namespace larder {

inline constexpr uint32_t kNodesMax = 1024;
inline constexpr absl::string_view kRouterNames = "round-robin, session, prefix";
inline constexpr absl::string_view kDiskAdmissionNames = "all, second-sight, score";

struct SimulationOptions {
  std::string policy = "larder";
  // Of all nodes together; separate caches have equal shares of it.
  size_t capacity_blocks = 1;
  uint32_t nodes = 1;
  // round-robin; session: by a hash of the session, of the first block where it is not known;
  // prefix: the node that holds most of the prompt, unless it has had far more work than others.
  std::string router = "round-robin";
  // One cache that every node reads, instead of one a node.
  bool pooled = false;
  // Behind each cache a larger, slower one that takes what is evicted. 0: none.
  size_t disk_capacity_blocks = 0;
  std::string disk_admission = "all";
  uint64_t block_bytes = 1;
  CostModel cost = {};
};

struct SimulationResult {
  uint64_t accesses = 0;
  uint64_t hit_blocks = 0;
  uint64_t disk_hit_blocks = 0;  // of those, not in memory
  uint64_t tokens = 0;
  uint64_t hit_tokens = 0;
  double work = 0;  // what computing all prompts takes (recompute_cost.h)
  double saved_work = 0;
  uint64_t memory_blocks_written = 0;
  uint64_t disk_blocks_written = 0;
  absl::Duration elapsed;
};

// A hit is a block that is present together with all before it. INVALID_ARGUMENT names a policy,
// router or admission that does not exist, or a combination that makes no sense. `clock` is for
// `elapsed` alone: all else is a function of trace and options.
absl::StatusOr<SimulationResult> Simulate(const BlockTrace& trace, const SimulationOptions& options,
                                          const Clock& clock);

}  // namespace larder
