// Nodes of a cluster are killed with SIGKILL while clients of all of them put and fetch.
#include <gtest/gtest.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/random.h"
#include "tests/e2e/cluster_fixture.h"
#include "tests/e2e/cluster_traffic.h"

namespace larder {
namespace {

// Of the node that is killed: enough for a hundred chunks.
constexpr uint64_t kChains = 14;

class ClusterKillTest : public ClusterTest {
 protected:
  // Chains of its own for each round, on the node that is killed.
  void PutChains(int node, uint64_t first, const PutOptions& options = {}) {
    for (uint64_t chain = first; chain < first + kChains; ++chain) {
      ASSERT_NO_FATAL_FAILURE(PutChain(node, chain, options));
    }
  }
};

TEST_F(ClusterKillTest, KilledNodesCostMissesAndNothingElse) {
  const int rounds = NumberFromEnvironment("LARDER_KILL_ROUNDS", 4);
  const int seed = NumberFromEnvironment("LARDER_KILL_SEED", 1);
  SCOPED_TRACE(absl::StrCat("LARDER_KILL_SEED=", seed));
  SeededRandom random(static_cast<uint64_t>(seed));
  ClusterSetup setup;
  setup.arena_bytes = uint64_t{256} << 20;
  ASSERT_NO_FATAL_FAILURE(StartCluster(setup));
  ClusterTraffic traffic(Spaces(), static_cast<uint64_t>(seed));
  for (int round = 0; round < rounds && !HasFailure(); ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    const int victim = static_cast<int>(random.Below(kNodes));
    const int reader = (victim + 1 + static_cast<int>(random.Below(kNodes - 1))) % kNodes;
    const uint64_t first = static_cast<uint64_t>(round) * kChains;
    ASSERT_NO_FATAL_FAILURE(PutChains(victim, first));
    absl::SleepFor(absl::Microseconds(random.Below(300'000)));
    KillNode(victim);
    ExpectQuick(TimeReads(reader, first, kChains));
    ASSERT_NO_FATAL_FAILURE(StartNode(victim));
    ASSERT_NO_FATAL_FAILURE(AwaitSync());
    EXPECT_TRUE(Sees(reader, first)) << "chunks of a node that came back";
  }
  EXPECT_EQ(traffic.Stop(), "");
  EXPECT_GT(traffic.read_chunks(), 0u);
  std::printf("%d kills, %llu chunks read, slowest call %s\n", rounds,
              static_cast<unsigned long long>(traffic.read_chunks()),
              absl::FormatDuration(traffic.slowest()).c_str());
}

TEST_F(ClusterKillTest, ReplicasAnswerForAKilledNode) {
  const int rounds = NumberFromEnvironment("LARDER_KILL_ROUNDS", 3);
  const int seed = NumberFromEnvironment("LARDER_KILL_SEED", 2);
  SCOPED_TRACE(absl::StrCat("LARDER_KILL_SEED=", seed));
  SeededRandom random(static_cast<uint64_t>(seed));
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  for (int round = 0; round < rounds && !HasFailure(); ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    const int victim = static_cast<int>(random.Below(kNodes));
    const int keeper = (victim + 1) % kNodes, reader = (victim + 2) % kNodes;
    const uint64_t first = static_cast<uint64_t>(round) * kChains;
    PutOptions options;
    options.copies.node = node(keeper).name;
    options.copies.wait = true;
    ASSERT_NO_FATAL_FAILURE(PutChains(victim, first, options));
    // In the midst of the reads.
    std::atomic<uint64_t> reads{0};
    const uint64_t reads_before = random.Below(kChains);
    std::thread reading([&] {
      for (uint64_t chain = first; chain < first + kChains; ++chain, ++reads) {
        ExpectReads(reader, chain);
      }
    });
    EXPECT_TRUE(Eventually([&] { return reads >= reads_before; }));
    KillNode(victim);
    reading.join();
    ASSERT_NO_FATAL_FAILURE(StartNode(victim));
    ASSERT_NO_FATAL_FAILURE(AwaitSync());
  }
}

}  // namespace
}  // namespace larder
