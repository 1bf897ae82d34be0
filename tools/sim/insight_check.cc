#include "tools/sim/insight_check.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_format.h"
#include "common/status.h"
#include "storage/insight/insight.h"
#include "tools/console/table.h"

namespace larder {
namespace {

// As the simulated daemon tells them apart (larder_model.cc).
constexpr uint8_t kFullBlock = 0;
constexpr uint8_t kPartialBlock = 1;

InsightReport Estimate(const BlockTrace& trace, const SimulationOptions& options, uint64_t seed,
                       const Clock& clock, InsightCheck* check) {
  Insight insight({.memory_bytes = options.capacity_blocks * options.block_bytes,
                   .seed = seed,
                   .half_life = absl::InfiniteDuration(),
                   .cost = options.cost});
  if (options.disk_capacity_blocks > 0) {
    insight.SetDiskBytes(options.disk_capacity_blocks * options.block_bytes);
  }
  insight.AddSpace(0, "");
  std::vector<KeyHash> keys;
  std::vector<uint8_t> categories;
  MonotonicTime end;
  const MonotonicTime start = clock.Now();
  for (const TraceRequest& request : trace.requests) {
    keys.clear();
    for (const uint32_t block : trace.blocks_of(request)) keys.push_back({.low = block, .high = 0});
    categories.assign(keys.size(), kFullBlock);
    if (uint64_t{request.blocks} * trace.tokens_per_block > request.tokens) {
      categories.back() = kPartialBlock;
    }
    insight.OnRequest({.space = 0,
                       .keys = keys,
                       .chunk_bytes = options.block_bytes,
                       .tokens_per_chunk = trace.tokens_per_block,
                       .categories = categories},
                      request.time);
    (void)insight.Study();
    end = request.time;
  }
  check->ns_per_access +=
      absl::ToDoubleNanoseconds(clock.Now() - start) / static_cast<double>(trace.accesses.size());
  return insight.Report(end);
}

absl::StatusOr<double> SimulatedHits(const BlockTrace& trace, SimulationOptions options,
                                     absl::string_view policy, double capacity_factor,
                                     const Clock& clock) {
  options.policy = std::string(policy);
  options.capacity_blocks = std::max<size_t>(
      1, static_cast<size_t>(static_cast<double>(options.capacity_blocks) * capacity_factor));
  ASSIGN_OR_RETURN(const SimulationResult result, Simulate(trace, options, clock));
  return static_cast<double>(result.hit_blocks) / static_cast<double>(result.accesses);
}

}  // namespace

absl::Status AddInsightCheck(const BlockTrace& trace, const SimulationOptions& options,
                             double capacity_pct, uint64_t seed, const Clock& clock,
                             InsightCheck* check) {
  const InsightReport report = Estimate(trace, options, seed, clock, check);
  check->sample_rate = std::min(check->sample_rate, report.tiers[0].sample_rate);
  SimulationOptions memory = options;
  memory.disk_capacity_blocks = 0;
  for (const PolicyInsight& policy : report.policies) {
    ASSIGN_OR_RETURN(const double simulated,
                     SimulatedHits(trace, memory, policy.policy, policy.capacity_factor, clock));
    check->rows.push_back({.policy = policy.policy,
                           .capacity_pct = capacity_pct * policy.capacity_factor,
                           .simulated = simulated,
                           .estimated = policy.hit_ratio});
  }
  if (report.tiers.size() > 1) {
    ASSIGN_OR_RETURN(const double simulated, SimulatedHits(trace, options, "lru", 1, clock));
    for (const bool most : {false, true}) {
      check->rows.push_back(
          {.policy = most ? "lru, both tiers, most" : "lru, both tiers, least",
           .capacity_pct = capacity_pct,
           .simulated = simulated,
           .estimated = most ? report.tiers[1].lru_hit_ratio : report.tiers[1].lru_hit_ratio_min});
    }
  }
  check->rows.push_back({.policy = "unlimited",
                         .capacity_pct = capacity_pct,
                         .simulated = 1 - static_cast<double>(trace.unique_blocks()) /
                                              static_cast<double>(trace.accesses.size()),
                         .estimated = report.unlimited_hit_ratio});
  return absl::OkStatus();
}

void PrintInsightCheck(const InsightCheck& check, FILE* file) {
  Table table;
  table.AddColumn("policy");
  for (const char* header : {"capacity %", "simulated %", "estimated %", "error, points"}) {
    table.AddColumn(header, Align::kRight);
  }
  double sum = 0, most = 0;
  for (const InsightCheckRow& row : check.rows) {
    const double error = (row.estimated - row.simulated) * 100;
    sum += std::abs(error);
    most = std::max(most, std::abs(error));
    table.AddRow({row.policy, absl::StrFormat("%.4g", row.capacity_pct),
                  absl::StrFormat("%.2f", row.simulated * 100),
                  absl::StrFormat("%.2f", row.estimated * 100), absl::StrFormat("%+.2f", error)});
  }
  table.Print(file);
  std::fprintf(file,
               "mean error %.2f points, largest %.2f; samples down to 1 in %.3g chunks; %.0f ns "
               "per access\n",
               sum / static_cast<double>(check.rows.size()), most, 1 / check.sample_rate,
               check.ns_per_access);
}

std::string InsightCheckJson(const InsightCheck& check) {
  nlohmann::ordered_json json;
  json["results"] = nlohmann::ordered_json::array();
  for (const InsightCheckRow& row : check.rows) {
    json["results"].push_back({{"policy", row.policy},
                               {"capacity_pct", row.capacity_pct},
                               {"simulated_block_hit", row.simulated},
                               {"estimated_block_hit", row.estimated}});
  }
  json["insight_ns_per_access"] = check.ns_per_access;
  json["sample_rate"] = check.sample_rate;
  return json.dump(2);
}

}  // namespace larder
