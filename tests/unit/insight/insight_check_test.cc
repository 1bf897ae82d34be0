// The estimates beside the simulator, on generated workloads.
#include "tools/sim/insight_check.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <ostream>
#include <string>

#include "absl/strings/str_cat.h"
#include "tools/workload/generator.h"

namespace larder {
namespace {

BlockTrace Generated(absl::string_view kind, uint64_t requests, uint32_t users = 64) {
  GeneratorOptions options;
  options.users = users;
  options.requests = requests;
  auto source = MakeGenerator(kind, 1, options);
  EXPECT_TRUE(source.ok()) << source.status();
  auto trace =
      LoadBlockTrace(**source, options.tokens_per_block, std::numeric_limits<uint64_t>::max());
  EXPECT_TRUE(trace.ok()) << trace.status();
  return *std::move(trace);
}

InsightCheck Check(const BlockTrace& trace, double capacity_pct, double disk_pct = 0) {
  const auto blocks = static_cast<double>(trace.unique_blocks());
  SimulationOptions options;
  options.capacity_blocks = static_cast<size_t>(blocks * capacity_pct / 100);
  options.disk_capacity_blocks = static_cast<size_t>(blocks * disk_pct / 100);
  options.block_bytes = 1 << 20;
  InsightCheck check;
  const absl::Status status =
      AddInsightCheck(trace, options, capacity_pct, /*seed=*/1, SystemClock::Get(), &check);
  EXPECT_TRUE(status.ok()) << status;
  return check;
}

TEST(InsightCheckTest, AllChunksInTheSampleGiveTheSimulatorsFigures) {
  const BlockTrace trace = Generated("agents", 1000);
  ASSERT_LT(trace.unique_blocks(), size_t{1} << 14);
  const InsightCheck check = Check(trace, 10, 20);
  EXPECT_EQ(check.sample_rate, 1);
  for (const InsightCheckRow& row : check.rows) {
    SCOPED_TRACE(absl::StrCat(row.policy, " at ", row.capacity_pct, " %"));
    if (row.policy == "lru, both tiers, least") {
      EXPECT_LT(row.estimated, row.simulated);
    } else if (row.policy == "lru, both tiers, most") {
      EXPECT_GT(row.estimated, row.simulated);
    } else {
      // Keys are hashed otherwise, S3-FIFO's sizes are in bytes, and curves have buckets.
      EXPECT_NEAR(row.estimated, row.simulated, 0.01);
    }
  }
}

struct Workload {
  const char* kind;
  uint64_t requests;
  uint32_t users;
};

void PrintTo(const Workload& workload, std::ostream* out) { *out << workload.kind; }

class SampledWorkloadTest : public testing::TestWithParam<Workload> {};

TEST_P(SampledWorkloadTest, IsNearTheSimulator) {
  const auto [kind, requests, users] = GetParam();
  const BlockTrace trace = Generated(kind, requests, users);
  for (const double capacity_pct : {20.0, 40.0}) {
    const InsightCheck check = Check(trace, capacity_pct);
    EXPECT_LT(check.sample_rate, 0.9);
    double sum = 0;
    for (const InsightCheckRow& row : check.rows) {
      SCOPED_TRACE(absl::StrCat(row.policy, " at ", row.capacity_pct, " %"));
      const double error = std::abs(row.estimated - row.simulated);
      EXPECT_LT(error, 0.03);
      sum += error;
    }
    EXPECT_LT(sum / static_cast<double>(check.rows.size()), 0.012);
  }
}

INSTANTIATE_TEST_SUITE_P(Workloads, SampledWorkloadTest,
                         testing::Values(Workload{"conversation", 8000, 64},
                                         Workload{"agents", 5000, 800}, Workload{"rag", 6000, 64}),
                         [](const auto& workload) { return std::string(workload.param.kind); });

}  // namespace
}  // namespace larder
