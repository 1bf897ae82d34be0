// Networks that fall apart, hosts that stand still, and what is left of a cluster after that.
#include <gtest/gtest.h>

#include <string>

#include "absl/time/clock.h"
#include "tests/e2e/cluster_fixture.h"
#include "tests/e2e/cluster_traffic.h"

namespace larder {
namespace {

constexpr uint64_t kChains = 14;  // more than a hundred chunks
constexpr uint64_t kFirst = 100, kSecond = 200;

class ClusterPartitionTest : public ClusterTest {
 protected:
  void StartWithTraffic() {
    ASSERT_NO_FATAL_FAILURE(StartCluster());
    traffic_ = std::make_unique<ClusterTraffic>(Spaces(), 1);
    ASSERT_NO_FATAL_FAILURE(PutChains(kFirst));
    ASSERT_NO_FATAL_FAILURE(PutChains(kSecond));
  }
  // On node 1.
  void PutChains(uint64_t first) {
    for (uint64_t chain = first; chain < first + kChains; ++chain) {
      ASSERT_NO_FATAL_FAILURE(PutPinnedChain(1, chain));
    }
  }
  // It is known to be away, or to be no member any more.
  bool IsDown(int node, int other) const {
    return Becomes([&] { return !Member(node, other).value("up", false); });
  }
  // Everything is as it was before, and new chunks are seen everywhere.
  void ExpectHealed() {
    ASSERT_NO_FATAL_FAILURE(AwaitSync());
    for (int number = 0; number < kNodes; ++number) {
      ASSERT_NO_FATAL_FAILURE(PutPinnedChain(number, static_cast<uint64_t>(number)));
      ExpectReads((number + 1) % kNodes, static_cast<uint64_t>(number));
    }
    EXPECT_EQ(traffic_->Stop(), "");
    EXPECT_GT(traffic_->read_chunks(), 0u);
  }

  std::unique_ptr<ClusterTraffic> traffic_;
};

TEST_F(ClusterPartitionTest, NodesThatDoNotHearEachOtherServeWhatTheyHave) {
  ASSERT_NO_FATAL_FAILURE(StartWithTraffic());
  network().Cut(0, 1);
  // Before anybody knows of it, and after.
  ExpectQuick(TimeReads(0, kFirst, kChains));
  EXPECT_TRUE(IsDown(0, 1));
  EXPECT_TRUE(IsDown(1, 0));
  ExpectQuick(TimeReads(0, kSecond, kChains));
  // The third is cut off from neither.
  ExpectReads(2, kSecond);
  network().HealAll();
  ExpectHealed();
}

TEST_F(ClusterPartitionTest, ACutOneWayIsACut) {
  ASSERT_NO_FATAL_FAILURE(StartWithTraffic());
  network().CutOneWay(1, 0);
  ExpectQuick(TimeReads(0, kFirst, kChains));
  EXPECT_TRUE(IsDown(0, 1));
  EXPECT_TRUE(IsDown(1, 0));
  ExpectQuick(TimeReads(0, kSecond, kChains));
  network().HealAll();
  ExpectHealed();
}

TEST_F(ClusterPartitionTest, ANodeWithoutEtcdGoesOnWithTheLastKnownMembers) {
  ASSERT_NO_FATAL_FAILURE(StartWithTraffic());
  network().Cut(1, kEtcdHost);
  ASSERT_TRUE(Becomes([&] { return !Cluster(1).value("source_reachable", true); }));
  EXPECT_FALSE(Cluster(1).value("source_problem", "").empty());
  EXPECT_EQ(Cluster(1).value("members", nlohmann::json::array()).size(),
            static_cast<size_t>(kNodes));
  // The others let it go with its lease.
  node(1).expected = false;
  ASSERT_NO_FATAL_FAILURE(AwaitSync());
  ExpectQuick(TimeReads(0, kFirst, kChains));
  ExpectReads(1, kFirst);
  network().HealAll();
  node(1).expected = true;
  ExpectHealed();
}

TEST_F(ClusterPartitionTest, AFrozenNodeHoldsNobodyUp) {
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  ASSERT_NO_FATAL_FAILURE(PutChains(kFirst));
  ASSERT_NO_FATAL_FAILURE(PutChains(kSecond));
  // Its own clients do wait, so the traffic is that of the others.
  traffic_ =
      std::make_unique<ClusterTraffic>(std::vector<ClientSpace>{space(0), space(2)}, uint64_t{1});
  node(1).daemon->process().Freeze();
  ExpectQuick(TimeReads(0, kFirst, kChains));
  EXPECT_TRUE(IsDown(0, 1));
  EXPECT_TRUE(IsDown(2, 1));
  ExpectQuick(TimeReads(0, kSecond, kChains));
  node(1).daemon->process().Thaw();
  ExpectHealed();
}

}  // namespace
}  // namespace larder
