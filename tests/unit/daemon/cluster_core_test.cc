#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/daemon/cluster_testing.h"

namespace larder {
namespace {

TEST(ClusterCore, FetchesWhatAnotherNodeHolds) {
  TestCluster cluster(3);
  ASSERT_TRUE(cluster[0].Put(1));
  ASSERT_TRUE(cluster[1].Put(2, 1, 1));
  ASSERT_TRUE(cluster[0].Put(3, 2, 2));
  cluster.Run();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(cluster[i].Match({1, 2, 3, 4}), 3u) << i;
  EXPECT_EQ(cluster[2].Match({1, 2, 3, 4}, {.local_only = true}), 0u);
  EXPECT_EQ(cluster[2].Load({1, 2, 3, 4}), 3u);
  cluster.Run();
  for (uint64_t number : {1, 2, 3}) EXPECT_TRUE(cluster[2].HoldsRightBytes(number)) << number;
  EXPECT_EQ(cluster[2].Match({1, 2, 3}, {.local_only = true}), 3u);
  EXPECT_EQ(cluster[2].cluster->GetStats().fetched_chunks, 3u);
  // Nothing is held any more on either side.
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(cluster[i].harness.core().Stats().leases, 0u);
    EXPECT_EQ(cluster[i].harness.core().Stats().arriving_bytes, 0u);
    EXPECT_EQ(cluster[i].cluster->GetStats().serving, 0u);
  }
}

TEST(ClusterCore, FetchesChunksOfSeveralParts) {
  TestCluster cluster(2);
  ASSERT_TRUE(cluster[0].Put(1, 0, 0, 4));
  cluster.Run();
  EXPECT_EQ(cluster[1].Load({1}), 1u);
  cluster.Run();
  EXPECT_TRUE(cluster[1].HoldsRightBytes(1));
  const KeyHash key = HashOf(1);
  EXPECT_EQ(cluster[1].harness.core().Inspect(cluster[1].space, key)->extents.size(), 4u);
}

TEST(ClusterCore, SaysWhereChunksAre) {
  TestCluster cluster(2);
  ASSERT_TRUE(cluster[0].Put(1));
  ASSERT_TRUE(cluster[1].Put(2, 1, 1));
  cluster.Run();
  const std::vector<KeyHash> keys = {HashOf(1), HashOf(2), HashOf(3)};
  TestNode& node = cluster[1];
  const auto places = node.harness.core().Places(node.space, keys, node.harness.now);
  ASSERT_EQ(places.size(), 2u);
  EXPECT_EQ(places[0].tier, ChunkPlace::Tier::kPeerMemory);
  EXPECT_EQ(node.cluster->NameOf(places[0].node), "node0");
  EXPECT_GT(places[0].predicted, absl::ZeroDuration());
  EXPECT_EQ(places[1].tier, ChunkPlace::Tier::kMemory);
}

TEST(ClusterCore, WhatIsGoneIsAMissAndRepairsTheIndex) {
  TestCluster cluster(2);
  ASSERT_TRUE(cluster[0].Put(1));
  cluster.Run();
  // The removal has not been told yet when the chunk is asked for.
  const KeyHash key = HashOf(1);
  ASSERT_EQ(*cluster[0].harness.core().Remove(cluster[0].space, {&key, 1}, RemovalCause::kRemoved),
            1u);
  EXPECT_EQ(cluster[1].Load({1}), 1u);
  cluster[1].cluster->Step(cluster[1].harness.now);
  cluster.Run();
  EXPECT_EQ(cluster[1].Match({1}), 0u);
  EXPECT_EQ(cluster[1].Load({1}), 0u);
  EXPECT_EQ(cluster[1].cluster->GetStats().index.entries, 0u);
}

TEST(ClusterCore, PartsThatMakeNoWholeChunkAreBlamedOnTheirSender) {
  TestCluster cluster(3);
  ASSERT_TRUE(cluster[0].Put(1, 0, 0, /*parts=*/2));
  ASSERT_TRUE(cluster[1].Put(1, 0, 0, /*parts=*/2));
  cluster.Run();
  int answers = 0;
  cluster.on_order = [&](TestNode&, ClusterOrder& order) {
    if (order.kind == ClusterOrder::Kind::kSendAfter && ++answers == 1) {
      PeerFetched fetched = *ReadFetched(order.payload);
      fetched.parts.pop_back();
      order.payload = WriteMessage(fetched);
    }
    return true;
  };
  EXPECT_EQ(cluster[2].Load({1}), 1u);
  cluster.Run();
  EXPECT_EQ(answers, 2);
  EXPECT_TRUE(cluster[2].HoldsRightBytes(1));
  EXPECT_EQ(cluster[2].cluster->GetStats().corrupt_arrivals, 1u);
  EXPECT_EQ(cluster[2].harness.core().Stats().arriving_bytes, 0u);
}

TEST(ClusterCore, AGoneThatIsOlderThanWhatTheIndexKnowsRemovesNothing) {
  TestCluster cluster(2);
  ASSERT_TRUE(cluster[0].Put(1));
  cluster.Run();
  const KeyHash key = HashOf(1);
  ASSERT_EQ(*cluster[0].harness.core().Remove(cluster[0].space, {&key, 1}, RemovalCause::kRemoved),
            1u);
  // On its way from the holder while the chunk is put again, and told of.
  std::optional<ClusterOrder> answer;
  cluster.on_order = [&](TestNode& from, ClusterOrder& order) {
    if (&from != &cluster[0] || order.kind != ClusterOrder::Kind::kSend) return true;
    answer = order;
    return false;
  };
  EXPECT_EQ(cluster[1].Load({1}), 1u);
  cluster.Run();
  cluster.on_order = nullptr;
  ASSERT_TRUE(answer);
  ASSERT_TRUE(cluster[0].Put(1));
  cluster.Run();
  cluster[1].cluster->OnMessage("node0", answer->payload, nullptr, cluster[1].harness.now);
  cluster.Run();
  EXPECT_EQ(cluster[1].cluster->GetStats().fetch.finished_failed, 1u);
  EXPECT_EQ(cluster[1].cluster->GetStats().index.entries, 1u);
}

TEST(ClusterCore, DamagedBytesAreNeverTakenIn) {
  TestCluster cluster(3);
  ASSERT_TRUE(cluster[0].Put(1));
  ASSERT_TRUE(cluster[1].Put(1));
  cluster.Run();
  int writes = 0;
  cluster.on_order = [&](TestNode& from, ClusterOrder& order) {
    // What the first one that is asked sends, it damages.
    if (order.kind == ClusterOrder::Kind::kWrite && ++writes == 1) {
      from.arena[order.ranges[0].offset + order.ranges[0].bytes - 1] ^= 1;
    }
    return true;
  };
  EXPECT_EQ(cluster[2].Load({1}), 1u);
  cluster.Run();
  EXPECT_EQ(writes, 2);
  EXPECT_TRUE(cluster[2].HoldsRightBytes(1));
  EXPECT_EQ(cluster[2].cluster->GetStats().corrupt_arrivals, 1u);
}

TEST(ClusterCore, AnswersThatAreLostEndInAMissByTheDeadline) {
  ClusterCoreOptions options;
  options.fetch_timeout = absl::Seconds(2);
  TestCluster cluster(2, 64, options);
  ASSERT_TRUE(cluster[0].Put(1));
  cluster.Run();
  cluster.on_order = [](TestNode&, ClusterOrder& order) {
    return order.kind != ClusterOrder::Kind::kSendAfter;
  };
  EXPECT_EQ(cluster[1].Load({1}), 1u);
  cluster.Run();
  EXPECT_TRUE(cluster[1].cluster->fetching());
  for (int i = 0; i < 30; ++i) cluster.Advance(absl::Milliseconds(100));
  EXPECT_FALSE(cluster[1].cluster->fetching());
  EXPECT_EQ(cluster[1].harness.core().Stats().arriving_bytes, 0u);
  EXPECT_EQ(cluster[0].harness.core().Stats().leases, 0u);
}

TEST(ClusterCore, ANodeThatIsLostIsAskedNoMore) {
  TestCluster cluster(2);
  ASSERT_TRUE(cluster[0].Put(1));
  cluster.Run();
  cluster.Cut(cluster[0], cluster[1]);
  EXPECT_EQ(cluster[1].Match({1}), 0u);
  EXPECT_EQ(cluster[1].Load({1}), 0u);
  // Members go by name; without one its entries go, too.
  MemberRecord self;
  self.name = "node1";
  cluster[1].cluster->SetMembers({&self, 1}, cluster[1].harness.now);
  for (int i = 0; i < 10; ++i) cluster.Advance(absl::Seconds(1));
  EXPECT_EQ(cluster[1].cluster->GetStats().index.entries, 0u);
}

TEST(ClusterCore, AMemberThatComesBackWhileConnectedIsUp) {
  TestCluster cluster(2);
  TestNode& node = cluster[1];
  MemberRecord self, other;
  self.name = "node1";
  other.name = "node0";
  node.cluster->SetMembers({&self, 1}, node.harness.now);
  EXPECT_TRUE(node.cluster->Peers(node.harness.now).empty());
  const std::vector<MemberRecord> both = {other, self};
  node.cluster->SetMembers(both, node.harness.now);
  ASSERT_EQ(node.cluster->Peers(node.harness.now).size(), 1u);
  EXPECT_TRUE(node.cluster->Peers(node.harness.now)[0].up);
  node.cluster->OnPeerDown("node0", 1, node.harness.now);
  EXPECT_FALSE(node.cluster->Peers(node.harness.now)[0].up);
}

TEST(ClusterCore, AMemberThatLeavesDuringAWriteToItIsServedWhenItComesBack) {
  TestCluster cluster(2);
  for (uint64_t number : {1, 2}) ASSERT_TRUE(cluster[0].Put(number));
  cluster.Run();
  std::optional<uint64_t> token;
  cluster.on_order = [&](TestNode&, ClusterOrder& order) {
    if (order.kind == ClusterOrder::Kind::kWrite) token = order.token;
    return order.kind != ClusterOrder::Kind::kWrite && order.kind != ClusterOrder::Kind::kSendAfter;
  };
  EXPECT_EQ(cluster[1].Load({1}), 1u);
  cluster.Run();
  ASSERT_TRUE(token);
  TestNode& holder = cluster[0];
  MemberRecord self, other;
  self.name = "node0";
  other.name = "node1";
  holder.cluster->SetMembers({&self, 1}, holder.harness.now);
  for (int i = 0; i < 10; ++i) cluster.Advance(absl::Seconds(1));
  const std::vector<MemberRecord> both = {self, other};
  holder.cluster->SetMembers(both, holder.harness.now);
  (void)holder.cluster->OnFollowBatch("node1", {.epoch = 1,
                                                .phase = FollowBatch::Phase::kSnapshotEnd,
                                                .first_sequence = cluster[1].sequence,
                                                .events = {}});
  holder.cluster->OnWritten(*token, holder.harness.now);
  cluster.on_order = nullptr;
  // The holder said nothing meanwhile, and says something when it is probed.
  EXPECT_EQ(cluster[1].Load({2}), 0u);
  cluster.Advance(PeerBreaker::kProbeInterval);
  EXPECT_EQ(cluster[1].Load({2}), 1u);
  cluster.Run();
  EXPECT_TRUE(cluster[1].HoldsRightBytes(2));
}

TEST(ClusterCore, CopiesLeaveFirstUnlessTheyAreUsedAgain) {
  TestCluster cluster(2, 8);
  for (uint64_t number : {1, 2}) ASSERT_TRUE(cluster[0].Put(number));
  cluster.Run();
  for (uint64_t number = 11; number <= 16; ++number) ASSERT_TRUE(cluster[1].Put(number));
  EXPECT_EQ(cluster[1].Load({1}), 1u);
  cluster.Run();
  EXPECT_EQ(cluster[1].Load({2}), 1u);
  cluster.Run();
  EXPECT_TRUE(cluster[1].HoldsRightBytes(2));
  // The first one is asked for often enough to become this node's own.
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(cluster[1].HoldsRightBytes(1));
  ASSERT_TRUE(cluster[1].Put(17));
  EXPECT_EQ(cluster[1].Match({2}, {.local_only = true}), 0u);
  EXPECT_EQ(cluster[1].Match({1}, {.local_only = true}), 1u);
  EXPECT_EQ(cluster[1].Match({11}, {.local_only = true}), 1u);
}

TEST(ClusterCore, CopiesDoNotStayForWhatFollowsThem) {
  TestCluster cluster(2, 8);
  ASSERT_TRUE(cluster[0].Put(1));
  ASSERT_TRUE(cluster[0].Put(2, 1, 1));
  cluster.Run();
  EXPECT_EQ(cluster[1].Load({1, 2}), 2u);
  cluster.Run();
  for (uint64_t number : {1, 2}) EXPECT_TRUE(cluster[1].HoldsRightBytes(number));
  ASSERT_TRUE(cluster[1].Put(3, 2, 2));
  for (uint64_t number = 11; number <= 15; ++number) ASSERT_TRUE(cluster[1].Put(number));
  // Now it is full.
  for (uint64_t number : {16, 17}) ASSERT_TRUE(cluster[1].Put(number));
  for (uint64_t number : {1, 2}) {
    EXPECT_EQ(cluster[1].Match({number}, {.local_only = true}), 0u) << number;
  }
  for (uint64_t number : {3, 11, 15, 17}) {
    EXPECT_EQ(cluster[1].Match({number}, {.local_only = true}), 1u) << number;
  }
  EXPECT_EQ(cluster[1].Match({1, 2, 3}), 3u);
}

TEST(ClusterCore, MakesCopiesWhenAsked) {
  TestCluster cluster(3);
  ASSERT_TRUE(cluster[0].Put(1));
  cluster.Advance(absl::Seconds(1));
  TestNode& node = cluster[0];
  const MonotonicTime deadline = node.harness.now + absl::Seconds(5);
  const WishId wish =
      node.cluster->Replicate(node.space, HashOf(1), 2, "", deadline, node.harness.now);
  ASSERT_TRUE(wish);
  const WishId at =
      node.cluster->Replicate(node.space, HashOf(1), 1, "node2", deadline, node.harness.now);
  ASSERT_TRUE(at);
  cluster.Run();
  EXPECT_TRUE(cluster[2].HoldsRightBytes(1));
  const auto settled = node.cluster->TakeSettled();
  ASSERT_EQ(settled.size(), 2u);
  EXPECT_TRUE(settled[0].ok && settled[1].ok);
  EXPECT_FALSE(node.cluster->Replicate(node.space, HashOf(9), 2, "", deadline, node.harness.now));
}

TEST(ClusterCore, ADrainLeavesItsChunksToTheOthers) {
  TestCluster cluster(3);
  for (uint64_t number = 1; number <= 20; ++number) ASSERT_TRUE(cluster[0].Put(number));
  cluster.Advance(absl::Seconds(1));
  TestNode& node = cluster[0];
  node.harness.core().StartDraining();
  node.cluster->StartDrain(node.harness.now + absl::Seconds(10), node.harness.now);
  for (int i = 0; i < 20; ++i) cluster.Advance(absl::Milliseconds(50));
  EXPECT_EQ(node.cluster->drain().state, Replication::DrainProgress::State::kDone);
  EXPECT_EQ(node.cluster->drain().moved, 20u);
  for (uint64_t number = 1; number <= 20; ++number) {
    EXPECT_TRUE(cluster[1].HoldsRightBytes(number) || cluster[2].HoldsRightBytes(number));
  }
}

TEST(ClusterCore, MessagesThatMakeNoSenseAreCounted) {
  TestCluster cluster(2);
  TestNode& node = cluster[1];
  for (const std::vector<uint8_t>& message :
       {std::vector<uint8_t>{}, std::vector<uint8_t>(7), std::vector<uint8_t>(400, 0xff),
        std::vector<uint8_t>{1, 0, 0, 0, 255, 255, 0, 0}}) {
    node.cluster->OnMessage("node0", message, nullptr, node.harness.now);
  }
  EXPECT_EQ(node.cluster->GetStats().bad_messages, 4u);
}

}  // namespace
}  // namespace larder
