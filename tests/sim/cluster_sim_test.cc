// A few seeds of the simulation, and that its checks are able to fail.
#include "tests/sim/cluster_sim.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace larder {
namespace {

// One of them with directory nodes.
constexpr uint64_t kSeeds = 3;

TEST(ClusterSimTest, NothingIsWrongAfterManyFaults) {
  uint64_t fetched = 0, faults = 0, questions = 0;
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const ClusterSimResult result = ClusterSim({.seed = seed}).Run();
    EXPECT_EQ(result.failure, "") << "larder-cluster-sim --seed=" << seed << " shows how";
    EXPECT_GT(result.clients.chunks_read, 1000u);
    fetched += result.fetched_chunks;
    faults += result.faults;
    questions += result.questions;
  }
  EXPECT_GT(fetched, 100u * kSeeds);
  EXPECT_GT(faults, 5u * kSeeds);
  EXPECT_GT(questions, 100u);
}

TEST(ClusterSimTest, WithoutFaultsNothingIsDamaged) {
  const ClusterSimResult result = ClusterSim({.seed = 4, .faults = false}).Run();
  EXPECT_EQ(result.failure, "");
  EXPECT_EQ(result.corrupt_arrivals, 0u);
  EXPECT_EQ(result.faults, 0u);
  EXPECT_GT(result.fetched_chunks, 100u);
}

TEST(ClusterSimTest, TheSameSeedGivesTheSameTrace) {
  const ClusterSimResult first = ClusterSim({.seed = 5}).Run();
  const ClusterSimResult second = ClusterSim({.seed = 5}).Run();
  EXPECT_EQ(first.trace_hash, second.trace_hash);
  EXPECT_EQ(first.events, second.events);
  EXPECT_NE(first.trace_hash, ClusterSim({.seed = 6}).Run().trace_hash);
}

// What the checks say of a cluster with that error, in one of a few runs.
std::string FirstFailure(const SimBugs& bugs) {
  for (uint64_t seed = 1; seed <= kSeeds; ++seed) {
    const ClusterSimResult result = ClusterSim({.seed = seed, .bugs = bugs}).Run();
    if (!result.failure.empty()) return result.failure;
  }
  return "";
}

TEST(ClusterSimSelfTest, BytesThatNobodySumsAreNoticed) {
  EXPECT_THAT(FirstFailure({.believes_arrivals = true}), ::testing::HasSubstr("wrong bytes"));
}

TEST(ClusterSimSelfTest, RemovalsThatAreNotToldAreNoticed) {
  EXPECT_THAT(FirstFailure({.forgets_removals = true}), ::testing::HasSubstr("is wrong about"));
}

TEST(ClusterSimSelfTest, WindowsThatStayOpenAreNoticed) {
  EXPECT_THAT(FirstFailure({.forgets_windows = true}), ::testing::HasSubstr("is at rest and has"));
}

TEST(ClusterSimSelfTest, DiskResultsThatAreLostAreNoticed) {
  EXPECT_NE(FirstFailure({.loses_disk_results = true}), "");
}

TEST(ClusterSimSelfTest, AnswersThatAreLostAreNoticed) {
  EXPECT_THAT(FirstFailure({.loses_answers = true}), ::testing::HasSubstr("is wrong about"));
}

TEST(ClusterSimSelfTest, LeasesThatAreKeptAreNoticed) {
  EXPECT_THAT(FirstFailure({.forgets_leases = true}), ::testing::HasSubstr("leases"));
}

}  // namespace
}  // namespace larder
