// Which chunk is offered to which other node.
#include "daemon/cluster/replication.h"

#include <map>
#include <set>

#include "common/random.h"
#include "gtest/gtest.h"

namespace larder {
namespace {

constexpr uint64_t kChunkBytes = 1 << 20;

FetchName Name(uint64_t number) { return {0, {number, ~number}}; }

// Other nodes, which take offers after a while, or do not.
class ReplicationWorld : public ReplicaIndex {
 public:
  struct Manner {
    double refuse_chance = 0, fail_chance = 0;
    bool mute = false;
    absl::Duration delay = absl::Milliseconds(5);
  };

  explicit ReplicationWorld(const ReplicationOptions& options, uint64_t seed = 1)
      : replication(options, this), random(seed), options_(options) {}

  NodeList HoldersOf(const FetchName& name) const override {
    const auto found = holders.find(name);
    if (found == holders.end()) return {};
    return NodeList(found->second.begin(), found->second.end());
  }

  void AddNodes(NodeSlot count, const Manner& manner) {
    for (NodeSlot node = 0; node < count; ++node) AddNode(node, manner);
  }
  void AddNodes(NodeSlot count) { AddNodes(count, Manner{}); }
  void AddNode(NodeSlot node, const Manner& manner) {
    manners[node] = manner;
    replication.SetNode(node, {.capacity_bytes = 1000 * kChunkBytes, .held_bytes = 0});
  }
  void DropNode(NodeSlot node) {
    replication.DropNode(node, now);
    TakeOrders();
  }

  WishId Want(uint64_t number, uint32_t copies, absl::Duration patience = absl::Seconds(60)) {
    return Opened(replication.Want(Name(number), kChunkBytes, copies, now + patience, now));
  }
  WishId WantAt(uint64_t number, NodeSlot node) {
    return Opened(
        replication.WantAt(Name(number), kChunkBytes, node, now + absl::Seconds(60), now));
  }
  void Drain(const std::vector<DrainChunk>& chunks, absl::Duration patience = absl::Hours(1)) {
    replication.StartDrain(now + patience, now);
    for (const DrainChunk& chunk : chunks) replication.AddToDrain(chunk);
    replication.SealDrain(now);
    TakeOrders();
  }

  void RunUntil(MonotonicTime time) {
    while (true) {
      std::optional<MonotonicTime> next = replication.next_wakeup();
      if (!answers_.empty() && (!next || answers_.begin()->first.first < *next)) {
        next = answers_.begin()->first.first;
      }
      if (!next || *next > time) break;
      now = std::max(now, *next);
      if (!answers_.empty() && answers_.begin()->first.first <= now) {
        const OfferId id = answers_.begin()->first.second;
        answers_.erase(answers_.begin());
        Answer(id);
      } else {
        replication.Tick(now);
        std::erase_if(open_, [&](const auto& entry) { return entry.second.deadline <= now; });
      }
      TakeOrders();
    }
    now = std::max(now, time);
  }
  void Run(absl::Duration duration) { RunUntil(now + duration); }

  void TakeOrders() {
    for (const Replication::Order& order : replication.TakeOrders()) {
      if (order.kind == Replication::Order::Kind::kSettled) {
        EXPECT_LE(now, order.deadline);
        EXPECT_TRUE(settled.emplace(order.wish, order).second) << "settled twice";
        continue;
      }
      EXPECT_FALSE(holders[order.name].contains(order.node)) << "offered to a holder";
      offers.push_back(order);
      open_[order.offer] = order;
      const Manner& manner = manners.at(order.node);
      if (!manner.mute) answers_.emplace(std::pair(now + manner.delay, order.offer), true);
    }
    // What was given up is not outstanding.
    std::erase_if(open_, [&](const auto& entry) {
      const Replication::Order& order = entry.second;
      return settled.contains(order.wish) || !manners.contains(order.node);
    });
    Check();
  }

  Replication replication;
  SeededRandom random;
  MonotonicTime now{1'000'000'000};
  std::map<NodeSlot, Manner> manners;
  std::map<FetchName, std::set<NodeSlot>> holders;
  std::map<WishId, Replication::Order> settled;
  std::vector<Replication::Order> offers;

 private:
  WishId Opened(WishId id) {
    TakeOrders();
    return id;
  }

  void Answer(OfferId id) {
    const auto found = open_.find(id);
    OfferAnswer answer = OfferAnswer::kFailed;  // too late: to be ignored
    if (found != open_.end()) {
      const Manner& manner = manners.at(found->second.node);
      const double chance = random.Unit();
      answer = chance < manner.refuse_chance                        ? OfferAnswer::kRefused
               : chance < manner.refuse_chance + manner.fail_chance ? OfferAnswer::kFailed
                                                                    : OfferAnswer::kTaken;
      const bool taken = answer == OfferAnswer::kTaken;
      if (taken && !holders[found->second.name].insert(found->second.node).second) {
        answer = OfferAnswer::kHeld;
      }
      open_.erase(found);
    }
    replication.OnAnswer(id, answer, now);
  }

  void Check() {
    std::map<NodeSlot, uint32_t> per_node;
    std::set<std::pair<NodeSlot, WishId>> distinct;
    uint64_t bytes = 0;
    for (const auto& [id, order] : open_) {
      ++per_node[order.node];
      bytes += order.bytes;
      EXPECT_TRUE(distinct.emplace(order.node, order.wish).second) << "asked twice at once";
    }
    ASSERT_EQ(open_.size(), replication.stats().offers);
    ASSERT_EQ(bytes, replication.stats().offered_bytes);
    ASSERT_LE(open_.size(), options_.offers_max);
    if (open_.size() > 1) {
      ASSERT_LE(bytes, options_.offered_bytes_max);
    }
    for (const auto& [node, count] : per_node) ASSERT_LE(count, options_.offers_per_node_max);
  }

  const ReplicationOptions options_;
  std::map<OfferId, Replication::Order> open_;
  std::map<std::pair<MonotonicTime, OfferId>, bool> answers_;
};

std::vector<DrainChunk> Chunks(uint64_t count) {
  std::vector<DrainChunk> chunks;
  for (uint64_t i = 0; i < count; ++i) {
    chunks.push_back({Name(i), kChunkBytes, static_cast<double>(i * 7919 % count)});
  }
  return chunks;
}

TEST(ReplicationTest, ThereAreAsManyCopiesAsAreWanted) {
  ReplicationWorld world({});
  world.AddNodes(6);
  const WishId wish = world.Want(1, 4);
  world.Run(absl::Seconds(1));
  ASSERT_TRUE(world.settled.contains(wish));
  EXPECT_TRUE(world.settled.at(wish).ok);
  EXPECT_EQ(world.settled.at(wish).copies, 4u);
  EXPECT_EQ(world.holders[Name(1)].size(), 3u);
  EXPECT_EQ(world.offers.size(), 3u);
}

TEST(ReplicationTest, WhatIsThereAlreadyIsNotOffered) {
  ReplicationWorld world({});
  world.AddNodes(4);
  world.holders[Name(1)] = {2};
  EXPECT_TRUE(world.settled.at(world.Want(1, 2)).ok);
  EXPECT_TRUE(world.settled.at(world.Want(2, 1)).ok);
  EXPECT_TRUE(world.settled.at(world.WantAt(1, 2)).ok);
  EXPECT_TRUE(world.offers.empty());
}

TEST(ReplicationTest, AnIndexThatLagsCostsNoSecondOffer) {
  ReplicationWorld world({});
  world.AddNodes(4);
  const WishId wish = world.Want(1, 3);
  while (!world.settled.contains(wish)) {
    world.Run(absl::Milliseconds(1));
    world.holders.clear();
  }
  EXPECT_TRUE(world.settled.at(wish).ok);
  EXPECT_EQ(world.offers.size(), 2u);
}

TEST(ReplicationTest, AnotherNodeIsAskedWhenOneDoesNotWant) {
  ReplicationWorld world({});
  world.AddNodes(3, {.refuse_chance = 1});
  world.AddNode(3, {});
  const WishId wish = world.Want(1, 2);
  world.Run(absl::Seconds(1));
  EXPECT_TRUE(world.settled.at(wish).ok);
  EXPECT_TRUE(world.holders[Name(1)].contains(3));
}

TEST(ReplicationTest, WithoutTakersAWishEndsAtOnce) {
  ReplicationWorld world({});
  EXPECT_FALSE(world.settled.at(world.Want(1, 2)).ok);
  world.AddNodes(20, {.refuse_chance = 1});
  const WishId wish = world.Want(2, 3);
  world.Run(absl::Seconds(1));
  EXPECT_FALSE(world.settled.at(wish).ok);
  EXPECT_EQ(world.settled.at(wish).copies, 1u);
  EXPECT_LE(world.offers.size(), Replication::kTriesMax);
}

TEST(ReplicationTest, AMuteNodeIsGivenUp) {
  ReplicationWorld world({.offer_timeout = absl::Seconds(2)});
  world.AddNode(0, {.mute = true});
  const WishId wish = world.Want(1, 2);
  world.AddNode(1, {});
  world.Run(absl::Milliseconds(1900));
  EXPECT_FALSE(world.settled.contains(wish));
  world.Run(absl::Milliseconds(200));
  EXPECT_TRUE(world.settled.at(wish).ok);
  EXPECT_EQ(world.replication.stats().timed_out, 1u);
}

TEST(ReplicationTest, AWishEndsAtItsDeadline) {
  ReplicationWorld world({});
  world.AddNodes(3, {.mute = true});
  const WishId wish = world.Want(1, 2, absl::Milliseconds(50));
  world.Run(absl::Milliseconds(49));
  EXPECT_FALSE(world.settled.contains(wish));
  world.Run(absl::Milliseconds(1));
  EXPECT_FALSE(world.settled.at(wish).ok);
  EXPECT_EQ(world.replication.stats().offers, 0u);
}

TEST(ReplicationTest, APutMayNameTheNode) {
  ReplicationWorld world({});
  world.AddNodes(10);
  const WishId wish = world.WantAt(1, 7);
  const WishId nowhere = world.WantAt(2, 77);
  world.Run(absl::Seconds(1));
  EXPECT_TRUE(world.settled.at(wish).ok);
  EXPECT_EQ(world.holders[Name(1)], std::set<NodeSlot>{7});
  EXPECT_FALSE(world.settled.at(nowhere).ok);
}

TEST(ReplicationTest, ANodeThatGoesIsReplaced) {
  ReplicationWorld world({});
  world.AddNodes(2, {.mute = true});
  const WishId wish = world.Want(1, 2);
  ASSERT_EQ(world.offers.size(), 1u);
  const NodeSlot first = world.offers[0].node;
  world.AddNode(5, {});
  world.manners.erase(first);
  world.DropNode(first);
  world.Run(absl::Seconds(15));
  EXPECT_TRUE(world.settled.at(wish).ok);
}

TEST(ReplicationTest, EmptierNodesGetMore) {
  ReplicationWorld world({});
  world.AddNodes(8);
  for (NodeSlot node = 0; node < 4; ++node) {
    world.replication.SetNode(
        node, {.capacity_bytes = 1000 * kChunkBytes, .held_bytes = 900 * kChunkBytes});
  }
  for (uint64_t i = 0; i < 400; ++i) {
    (void)world.Want(i, 2);
    world.Run(absl::Milliseconds(10));
  }
  int to_full = 0;
  for (const auto& offer : world.offers) to_full += offer.node < 4;
  EXPECT_LT(to_full, 20);
}

TEST(ReplicationTest, NodesThatSeeTheSameChooseDifferently) {
  std::set<NodeSlot> chosen;
  for (uint64_t key = 0; key < 50; ++key) {
    ReplicationWorld world({});
    world.AddNodes(20);
    (void)world.Want(key, 2);
    ASSERT_EQ(world.offers.size(), 1u);
    chosen.insert(world.offers[0].node);
  }
  EXPECT_GT(chosen.size(), 12u);
}

TEST(ReplicationTest, HotChunksAreOfferedAndColdOnesNot) {
  ReplicationWorld world({.heat_per_copy = 10});
  world.AddNodes(10);
  // One read a second of a chunk; ten a second of another one.
  for (int i = 0; i < 600; ++i) {
    if (i % 10 == 0) world.replication.OnRemoteRead(Name(1 + i), kChunkBytes, world.now);
    world.replication.OnRemoteRead(Name(0), kChunkBytes, world.now);
    world.TakeOrders();
    world.Run(absl::Milliseconds(100));
  }
  EXPECT_EQ(world.holders[Name(0)].size() + 1, ReplicationOptions().heat_copies_max);
  EXPECT_EQ(world.holders.size(), 1u);
  EXPECT_EQ(world.replication.stats().by_heat, 3u);
}

TEST(HeatTableTest, HalvesWithTimeAndKeepsTheHottest) {
  HeatTable table(64, absl::Seconds(10));
  MonotonicTime now{1};
  for (int i = 0; i < 8; ++i) table.Add(Name(1), now);
  EXPECT_DOUBLE_EQ(table.HeatOf(Name(1), now), 8);
  EXPECT_NEAR(table.HeatOf(Name(1), now + absl::Seconds(10)), 4, 1e-9);
  table.Halve(Name(1));
  EXPECT_DOUBLE_EQ(table.HeatOf(Name(1), now), 4);
  for (uint64_t i = 2; i < 1000; ++i) table.Add(Name(i), now);
  EXPECT_EQ(table.size(), 64u);
  EXPECT_DOUBLE_EQ(table.HeatOf(Name(1), now), 4);
  EXPECT_EQ(table.HeatOf(Name(2), now), 0);
}

TEST(DrainTest, TheMostValuedGoFirstAndThenItIsDone) {
  ReplicationWorld world({.offers_max = 4});
  world.AddNodes(3);
  world.Drain(Chunks(100));
  EXPECT_EQ(world.replication.drain().state, Replication::DrainProgress::State::kMoving);
  world.Run(absl::Minutes(1));
  const auto& drain = world.replication.drain();
  EXPECT_EQ(drain.state, Replication::DrainProgress::State::kDone);
  EXPECT_TRUE(drain.in_time);
  EXPECT_EQ(drain.moved, 100u);
  EXPECT_EQ(drain.moved_bytes, 100 * kChunkBytes);
  ASSERT_EQ(world.offers.size(), 100u);
  for (size_t i = 0; i < 100; ++i) {
    EXPECT_EQ(world.offers[i].name.key.low * 7919 % 100, 99 - i) << "by value";
  }
  EXPECT_EQ(world.replication.stats().wishes, 0u);
}

TEST(DrainTest, WhatOthersHoldStays) {
  ReplicationWorld world({});
  world.AddNodes(3);
  for (uint64_t i = 0; i < 5000; ++i) world.holders[Name(i)] = {1};
  world.Drain(Chunks(5010));
  world.Run(absl::Minutes(1));
  EXPECT_EQ(world.replication.drain().held_elsewhere, 5000u);
  EXPECT_EQ(world.replication.drain().moved, 10u);
  EXPECT_EQ(world.replication.drain().state, Replication::DrainProgress::State::kDone);
}

TEST(DrainTest, IsPaced) {
  ReplicationWorld world({.drain_bytes_per_second = 10 * kChunkBytes});
  world.AddNodes(3);
  world.Drain(Chunks(100));
  world.Run(absl::Seconds(5));
  EXPECT_GE(world.replication.drain().moved, 45u);
  EXPECT_LE(world.replication.drain().moved, 53u);
  world.Run(absl::Seconds(6));
  EXPECT_EQ(world.replication.drain().state, Replication::DrainProgress::State::kDone);
}

TEST(DrainTest, EndsAtItsDeadline) {
  ReplicationWorld world({.drain_bytes_per_second = 10 * kChunkBytes});
  world.AddNodes(3);
  world.Drain(Chunks(100), absl::Seconds(2));
  world.Run(absl::Seconds(2));
  const auto& drain = world.replication.drain();
  EXPECT_EQ(drain.state, Replication::DrainProgress::State::kDone);
  EXPECT_FALSE(drain.in_time);
  EXPECT_EQ(drain.moved + drain.left_behind, 100u);
  EXPECT_GT(drain.moved, 10u);
  EXPECT_FALSE(world.replication.next_wakeup());
}

TEST(DrainTest, HintsGoBeforeIt) {
  ReplicationWorld world({.offers_max = 2});
  world.AddNodes(3);
  world.Drain(Chunks(100));
  const WishId wish = world.Want(1000, 2);
  world.Run(absl::Milliseconds(11));
  EXPECT_TRUE(world.settled.contains(wish));
}

TEST(DrainTest, KeepsTheMostValuedOfTooMany) {
  ReplicationWorld world({.drain_chunks_max = 10});
  world.AddNodes(3);
  world.Drain(Chunks(100));
  world.Run(absl::Minutes(1));
  EXPECT_EQ(world.replication.drain().moved, 10u);
  EXPECT_EQ(world.replication.drain().left_behind, 90u);
  for (const auto& offer : world.offers) EXPECT_GE(offer.name.key.low * 7919 % 100, 90u);
}

TEST(DrainTest, CanBeCalledOff) {
  ReplicationWorld world({.offers_max = 4});
  world.AddNodes(3);
  world.Drain(Chunks(100));
  world.replication.CancelDrain();
  world.TakeOrders();
  EXPECT_EQ(world.replication.stats().offers, 0u);
  EXPECT_EQ(world.replication.drain().state, Replication::DrainProgress::State::kNone);
  world.Drain(Chunks(10));
  world.Run(absl::Minutes(1));
  EXPECT_EQ(world.replication.drain().moved, 10u);
}

// ReplicationWorld checks the bounds after each step.
TEST(ReplicationPropertyTest, RandomClusters) {
  uint64_t ok = 0, drained = 0;
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    ReplicationWorld world({.offers_per_node_max = static_cast<uint32_t>(1 + random.Below(5)),
                            .offers_max = static_cast<uint32_t>(1 + random.Below(20)),
                            .offered_bytes_max = (1 + random.Below(20)) << 20,
                            .offer_timeout = absl::Milliseconds(100),
                            .wishes_max = static_cast<uint32_t>(20 + random.Below(200)),
                            .heat_per_copy = 4,
                            .heat_entries_max = 16,
                            .drain_bytes_per_second = random.Below(2) * (10 << 20)},
                           seed);
    const auto random_manner = [&] {
      return ReplicationWorld::Manner{.refuse_chance = 0.2 * random.Unit(),
                                      .fail_chance = 0.2 * random.Unit(),
                                      .mute = random.Below(6) == 0,
                                      .delay = absl::Microseconds(random.Below(50'000))};
    };
    std::set<WishId> wishes;
    for (int step = 0; step < 600; ++step) {
      const NodeSlot node = static_cast<NodeSlot>(random.Below(10));
      const uint64_t number = random.Below(100);
      switch (random.Below(12)) {
        case 0:
          world.AddNode(node, random_manner());
          break;
        case 1:
          world.manners.erase(node);
          world.DropNode(node);
          break;
        case 2:
          world.holders[Name(number)].insert(node);
          break;
        case 3:
          world.holders.erase(Name(number));
          break;
        case 4:
          if (random.Below(10) == 0) world.Drain(Chunks(random.Below(200)), absl::Seconds(5));
          break;
        case 5:
        case 6:
          if (const WishId wish = world.Want(number, static_cast<uint32_t>(1 + random.Below(5)),
                                             absl::Milliseconds(1 + random.Below(1000)))) {
            wishes.insert(wish);
          }
          break;
        case 7:
          if (const WishId wish = world.WantAt(number, node)) wishes.insert(wish);
          break;
        default:
          world.replication.OnRemoteRead(Name(random.Below(20)), kChunkBytes, world.now);
          world.TakeOrders();
      }
      if (random.Below(2) == 0) world.Run(absl::Microseconds(random.Below(40'000)));
      if (::testing::Test::HasFatalFailure()) return;
    }
    world.Run(absl::Minutes(2));
    for (const WishId wish : wishes) ASSERT_TRUE(world.settled.contains(wish));
    const Replication::Stats& stats = world.replication.stats();
    EXPECT_EQ(stats.wishes + stats.waiting + stats.offers + stats.offered_bytes, 0u);
    EXPECT_FALSE(world.replication.next_wakeup());
    EXPECT_NE(world.replication.drain().state, Replication::DrainProgress::State::kMoving);
    ok += stats.settled_ok;
    drained += world.replication.drain().moved;
  }
  EXPECT_GT(ok, 1000u);
  EXPECT_GT(drained, 100u);
}

}  // namespace
}  // namespace larder
