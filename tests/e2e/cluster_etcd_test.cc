// etcd dies and comes back while the cluster serves.
#include <gtest/gtest.h>

#include <string>

#include "absl/time/clock.h"
#include "tests/e2e/cluster_fixture.h"
#include "tests/e2e/cluster_traffic.h"

namespace larder {
namespace {

// Longer than a node's lease.
constexpr absl::Duration kOutage = absl::Seconds(5);

class ClusterEtcdTest : public ClusterTest {
 protected:
  // All nodes that run say whether they reach it.
  bool Reaches(bool reachable) {
    return Becomes([&] {
      for (int number = 0; number < kNodes; ++number) {
        if (!node(number).expected) continue;
        const nlohmann::json cluster = Cluster(number);
        if (cluster.value("source_reachable", !reachable) != reachable) return false;
      }
      return true;
    });
  }
};

TEST_F(ClusterEtcdTest, TheClusterGoesOnWithTheLastKnownMembers) {
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  ClusterTraffic traffic(Spaces(), 1);
  ASSERT_NO_FATAL_FAILURE(PutPinnedChain(0, 1));
  etcd().Kill();
  EXPECT_TRUE(Reaches(false));
  EXPECT_FALSE(Cluster(0).value("source_problem", "").empty());
  absl::SleepFor(kOutage);
  EXPECT_TRUE(InSync()) << "members went with their leases";
  ASSERT_NO_FATAL_FAILURE(PutPinnedChain(0, 2));
  ExpectReads(1, 1);
  ExpectReads(2, 2);

  ASSERT_NO_FATAL_FAILURE(etcd().Start());
  EXPECT_TRUE(Reaches(true));
  // And they are not let go once it is back, with leases that have run out.
  absl::SleepFor(kOutage);
  EXPECT_TRUE(InSync());
  EXPECT_EQ(traffic.Stop(), "");
  EXPECT_GT(traffic.read_chunks(), 0u);
}

TEST_F(ClusterEtcdTest, ANodeThatStartsWithoutEtcdJoinsWhenItIsBack) {
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  ASSERT_NO_FATAL_FAILURE(PutPinnedChain(0, 1));
  ASSERT_NO_FATAL_FAILURE(PutPinnedChain(1, 2));
  etcd().Kill();
  EXPECT_TRUE(Reaches(false));
  KillNode(0);
  EXPECT_TRUE(Becomes([&] { return !Member(1, 0).value("up", true); }));
  ASSERT_NO_FATAL_FAILURE(StartNode(0));
  // It serves its own clients meanwhile.
  ExpectReads(0, 1);
  ExpectReads(2, 2);
  ASSERT_NO_FATAL_FAILURE(etcd().Start());
  ASSERT_NO_FATAL_FAILURE(AwaitSync());
  ExpectReads(2, 1);
  ExpectReads(0, 2);
}

}  // namespace
}  // namespace larder
