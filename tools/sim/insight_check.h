// How far the daemon's estimates (storage/insight/) are from the simulator.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "tools/sim/block_trace.h"
#include "tools/sim/simulation.h"

namespace larder {

struct InsightCheckRow {
  std::string policy;
  double capacity_pct = 0;
  // Block hits, as shares of all accesses.
  double simulated = 0;
  double estimated = 0;
};

struct InsightCheck {
  std::vector<InsightCheckRow> rows;
  // Time of the estimates for a block access, over all capacities; and the smallest sample's share.
  double ns_per_access = 0;
  double sample_rate = 1;
};

// What a daemon whose memory has options.capacity_blocks would report at the end of the trace, when
// nothing fades, beside what Simulate says: for LRU, S3-FIFO and our policy at that size, for LRU
// and ours at three and five quarters of it, for LRU over memory and disk where options has a disk
// (the bounds that the estimate gives), and for a cache that holds everything. Appends to `check`.
absl::Status AddInsightCheck(const BlockTrace& trace, const SimulationOptions& options,
                             double capacity_pct, uint64_t seed, const Clock& clock,
                             InsightCheck* check);

void PrintInsightCheck(const InsightCheck& check, FILE* file);
std::string InsightCheckJson(const InsightCheck& check);

}  // namespace larder
