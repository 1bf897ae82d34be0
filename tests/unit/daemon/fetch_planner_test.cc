// Who is asked for a chunk, and when somebody else.
#include "daemon/cluster/fetch_planner.h"

#include "tests/unit/daemon/planner_testing.h"

namespace larder {
namespace {

using StartResult = FetchPlanner::StartResult;

constexpr uint64_t kChunkBytes = 1 << 20;
constexpr NodeSlot kA = 1, kB = 2, kC = 3;

class FetchPlannerTest : public ::testing::Test {
 protected:
  explicit FetchPlannerTest(const FetchPlannerOptions& options = {}) : world_(options) {}

  // One request after the other, so that nobody waits.
  void Teach(NodeSlot node, int requests, uint64_t bytes = kChunkBytes) {
    for (int i = 0; i < requests; ++i) {
      ASSERT_EQ(world_.Start(next_++, bytes, {{node}}), StartResult::kStarted);
      world_.Run(absl::Seconds(1));
    }
  }
  // Chunks that only A has, one after the other, each for so long; how many it was asked for.
  int CountStarted(int chunks, absl::Duration patience) {
    int started = 0;
    for (int i = 0; i < chunks; ++i) {
      started += world_.Start(next_++, kChunkBytes, {{kA}}, patience) == StartResult::kStarted;
      world_.Run(patience);
    }
    return started;
  }
  FetchPlanner::Order Finished(uint64_t number) {
    const auto found = world_.finished.find(PlannerWorld::Name(number));
    EXPECT_NE(found, world_.finished.end()) << number;
    return found == world_.finished.end() ? FetchPlanner::Order{} : found->second;
  }
  FetchPlanner& planner() { return world_.planner; }

  PlannerWorld world_;
  uint64_t next_ = 1'000'000;
};

TEST_F(FetchPlannerTest, AChunkIsFetchedOnceHoweverOftenItIsWanted) {
  world_.AddNode(kA, {});
  EXPECT_EQ(world_.Start(1, kChunkBytes, {{kA}}, absl::Milliseconds(10)), StartResult::kStarted);
  EXPECT_EQ(world_.Start(1, kChunkBytes, {{kA}}, absl::Seconds(10)), StartResult::kJoined);
  EXPECT_EQ(world_.asks.size(), 1u);
  EXPECT_TRUE(planner().IsFetching(PlannerWorld::Name(1)));
  world_.Run(absl::Seconds(1));
  EXPECT_EQ(Finished(1).failure, FetchFailure::kNone);
  EXPECT_EQ(Finished(1).node, kA);
  EXPECT_FALSE(planner().IsFetching(PlannerWorld::Name(1)));
}

TEST_F(FetchPlannerTest, TheLaterDeadlineCounts) {
  world_.AddNode(kA, {.latency = absl::Milliseconds(50)});
  EXPECT_EQ(world_.Start(1, kChunkBytes, {{kA}}, absl::Milliseconds(10)), StartResult::kStarted);
  EXPECT_EQ(world_.Start(1, kChunkBytes, {{kA}}, absl::Seconds(10)), StartResult::kJoined);
  world_.Run(absl::Milliseconds(20));
  EXPECT_EQ(world_.open(), 1u);
  world_.Run(absl::Seconds(1));
  EXPECT_EQ(Finished(1).failure, FetchFailure::kNone);
}

TEST_F(FetchPlannerTest, NobodyIsAskedWhoCannotBe) {
  EXPECT_EQ(world_.Start(1, kChunkBytes, {}), StartResult::kNobody);
  EXPECT_EQ(world_.Start(1, kChunkBytes, {{kA}}), StartResult::kNobody);
  world_.AddNode(kA, {});
  EXPECT_EQ(world_.Start(1, uint64_t{1} << 40, {{kA}}), StartResult::kTooLarge);
  EXPECT_EQ(world_.Start(1, kChunkBytes, {{kA}}, absl::ZeroDuration()), StartResult::kLate);
  EXPECT_EQ(world_.Start(1, kChunkBytes, {{kNodesMax}}), StartResult::kNobody);
  world_.NodeDown(kA);
  EXPECT_EQ(world_.Start(1, kChunkBytes, {{kA}}), StartResult::kNobody);
  EXPECT_EQ(planner().Predict(kA, kTierMemory, 1, world_.now), absl::InfiniteDuration());
  EXPECT_TRUE(world_.asks.empty());
  EXPECT_EQ(planner().stats().refused, 6u);
}

TEST_F(FetchPlannerTest, TheNextReplicaIsAskedWhenOneFails) {
  world_.AddNode(kA, {.fail_chance = 1});
  world_.AddNode(kB, {.gone_chance = 1});
  world_.AddNode(kC, {});
  ASSERT_EQ(world_.Start(1, kChunkBytes, {{kA}, {kB}, {kC}}), StartResult::kStarted);
  world_.Run(absl::Seconds(1));
  EXPECT_EQ(Finished(1).failure, FetchFailure::kNone);
  EXPECT_EQ(Finished(1).node, kC);
}

TEST_F(FetchPlannerTest, TheFailureSaysWhy) {
  const std::vector<std::pair<NodeManner, FetchFailure>> cases = {
      {{.fail_chance = 1}, FetchFailure::kFailed},
      {{.gone_chance = 1}, FetchFailure::kGone},
      {{.corrupt_chance = 1}, FetchFailure::kCorrupt},
      {{.busy_chance = 1}, FetchFailure::kBusy},
      {{.latency = absl::Seconds(60)}, FetchFailure::kFailed},
  };
  NodeSlot node = 10;
  for (const auto& [manner, failure] : cases) {
    world_.AddNode(++node, manner);
    ASSERT_EQ(world_.Start(node, kChunkBytes, {{node}}), StartResult::kStarted);
    world_.Run(absl::Seconds(10));
    EXPECT_EQ(Finished(node).failure, failure) << node;
  }
}

TEST_F(FetchPlannerTest, NoRoomHereEndsTheFetchAndBlamesNobody) {
  world_.AddNode(kA, {.mute = true});
  world_.AddNode(kB, {.mute = true});
  for (uint64_t i = 1; i <= 10; ++i) {
    ASSERT_EQ(world_.Start(i, kChunkBytes, {{kA}, {kB}}), StartResult::kStarted);
    world_.Answer(world_.under_way()[0].attempt, FetchAnswer::kNoRoom);
    EXPECT_EQ(Finished(i).failure, FetchFailure::kNoRoom);
  }
  EXPECT_EQ(planner().StatsOf(kA, world_.now).breaker, PeerBreaker::State::kClosed);
}

TEST_F(FetchPlannerTest, ABusyNodeIsAskedAgainAfterAPause) {
  world_.AddNode(kA, {.mute = true});
  ASSERT_EQ(world_.Start(1, kChunkBytes, {{kA}}), StartResult::kStarted);
  world_.Answer(world_.under_way()[0].attempt, FetchAnswer::kBusy);
  EXPECT_TRUE(world_.under_way().empty());
  EXPECT_GT(planner().Predict(kA, kTierMemory, 0, world_.now), absl::Milliseconds(2));
  world_.Run(absl::Milliseconds(5));
  ASSERT_EQ(world_.under_way().size(), 1u);
  world_.Answer(world_.under_way()[0].attempt, FetchAnswer::kOk);
  EXPECT_EQ(Finished(1).failure, FetchFailure::kNone);
}

TEST_F(FetchPlannerTest, AChunkOfAnotherSizeIsAskedForAgainAFewTimes) {
  world_.AddNode(kA, {.mute = true});
  ASSERT_EQ(world_.Start(1, kChunkBytes, {{kA}}), StartResult::kStarted);
  for (uint32_t i = 0; i < FetchPlanner::kResizesMax; ++i) {
    world_.Answer(world_.under_way()[0].attempt, FetchAnswer::kResized, 2 * kChunkBytes + i);
    ASSERT_EQ(world_.under_way().size(), 1u);
    EXPECT_EQ(world_.under_way()[0].bytes, 2 * kChunkBytes + i);
  }
  world_.Answer(world_.under_way()[0].attempt, FetchAnswer::kResized, 5);
  EXPECT_EQ(Finished(1).failure, FetchFailure::kFailed);

  ASSERT_EQ(world_.Start(2, kChunkBytes, {{kA}}), StartResult::kStarted);
  world_.Answer(world_.under_way()[0].attempt, FetchAnswer::kResized, ~uint64_t{0});
  EXPECT_EQ(Finished(2).failure, FetchFailure::kFailed);
}

TEST_F(FetchPlannerTest, WhatIsPredictedIsInTheOrderOfWhatIsMeasured) {
  SeededRandom random(5);
  for (NodeSlot node = 0; node < 12; ++node) {
    world_.AddNode(node, {.latency = absl::Microseconds(100 + random.Below(5000)),
                          .ns_per_byte = 0.1 + 4 * random.Unit(),
                          .jitter = 0.05});
  }
  for (int round = 0; round < 40; ++round) {
    for (NodeSlot node = 0; node < 12; ++node) {
      Teach(node, 1, uint64_t{1} << (12 + random.Below(12)));
      world_.on_disk.insert(PlannerWorld::Name(next_));
      ASSERT_EQ(world_.Start(next_++, uint64_t{1} << (12 + random.Below(12)), {{node, kTierDisk}}),
                StartResult::kStarted);
      world_.Run(absl::Seconds(1));
    }
  }
  for (const uint64_t bytes : {uint64_t{1} << 12, uint64_t{1} << 18, uint64_t{1} << 23}) {
    for (const uint8_t tier : {kTierMemory, kTierDisk}) {
      for (const auto& [node, manner] : world_.manners) {
        const absl::Duration real =
            manner.latency + absl::Nanoseconds(manner.ns_per_byte * static_cast<double>(bytes)) +
            (tier == kTierDisk ? manner.disk_latency : absl::ZeroDuration());
        const double ratio =
            absl::FDivDuration(planner().Predict(node, tier, bytes, world_.now), real);
        EXPECT_GT(ratio, 0.8) << node << " " << bytes << " " << int{tier};
        EXPECT_LT(ratio, 1.25) << node << " " << bytes << " " << int{tier};
      }
    }
  }
}

TEST_F(FetchPlannerTest, TheQuickestIsAskedAndAQueueCounts) {
  world_.AddNode(kA, {.latency = absl::Microseconds(100)});
  world_.AddNode(kB, {.latency = absl::Milliseconds(4)});
  Teach(kA, 20);
  Teach(kB, 20);
  world_.asks.clear();
  for (uint64_t i = 0; i < 40; ++i) (void)world_.Start(i, kChunkBytes, {{kB}, {kA}});
  std::map<NodeSlot, int> asked;
  for (const auto& order : world_.asks) ++asked[order.node];
  EXPECT_EQ(world_.asks[0].node, kA);
  EXPECT_GT(asked[kA], asked[kB]);
  EXPECT_GT(asked[kB], 5) << "its latency is less than the other one's queue";
}

TEST_F(FetchPlannerTest, ANodeThatWasSlowOnceIsTriedAgainSomeDay) {
  world_.AddNode(kA, {.latency = absl::Milliseconds(20)});
  world_.AddNode(kB, {.latency = absl::Milliseconds(2)});
  Teach(kA, 10);
  Teach(kB, 10);
  world_.manners[kA].latency = absl::Microseconds(100);
  for (int i = 0; i < 600; ++i) {
    ASSERT_EQ(world_.Start(next_++, kChunkBytes, {{kA}, {kB}}), StartResult::kStarted);
    world_.Run(absl::Seconds(10));
  }
  EXPECT_EQ(world_.asks.back().node, kA);
}

TEST_F(FetchPlannerTest, ALateChunkIsAskedForElsewhere) {
  world_.AddNode(kA, {});
  world_.AddNode(kB, {.latency = absl::Milliseconds(3)});
  Teach(kA, 64);
  Teach(kB, 64);
  world_.manners[kA].mute = true;
  const MonotonicTime start = world_.now;
  ASSERT_EQ(world_.Start(1, kChunkBytes, {{kA}, {kB}}), StartResult::kStarted);
  EXPECT_EQ(world_.asks.back().node, kA);
  while (world_.open() > 0) world_.Run(absl::Microseconds(100));
  EXPECT_EQ(Finished(1).node, kB);
  EXPECT_LT(world_.now - start, absl::Milliseconds(10));
  EXPECT_EQ(planner().stats().hedges_won, 1u);
  EXPECT_EQ(world_.cancels.size(), 1u);
}

TEST_F(FetchPlannerTest, SecondRequestsAreFew) {
  world_.AddNode(kA, {.slow_chance = 0.3});
  world_.AddNode(kB, {.slow_chance = 0.3});
  for (uint64_t i = 0; i < 2000; ++i) {
    ASSERT_EQ(world_.Start(i, kChunkBytes, {{kA}, {kB}}), StartResult::kStarted);
    world_.Run(absl::Milliseconds(5));
  }
  const FetchPlanner::Stats& stats = planner().stats();
  EXPECT_GT(stats.hedges, 20u);
  EXPECT_LT(static_cast<double>(stats.hedges), 0.03 * static_cast<double>(stats.asked) + 9);
}

TEST_F(FetchPlannerTest, NobodyWaitsForADeadNodeTwice) {
  world_.AddNode(kA, {.mute = true});
  ASSERT_EQ(world_.Start(1, kChunkBytes, {{kA}}), StartResult::kStarted);
  world_.Run(absl::Milliseconds(110));
  EXPECT_EQ(world_.open(), 1u) << "nobody else has it";
  EXPECT_FALSE(planner().MayAsk(kA, world_.now));
  EXPECT_EQ(world_.Start(2, kChunkBytes, {{kA}}), StartResult::kNobody);
  world_.Run(absl::Seconds(1));
  EXPECT_EQ(Finished(1).failure, FetchFailure::kFailed) << "long before its deadline";
  world_.Run(absl::Seconds(60));
  EXPECT_EQ(world_.Start(3, kChunkBytes, {{kA}}), StartResult::kNobody) << "no request is a probe";
  EXPECT_NEAR(static_cast<double>(world_.probes.size()), 61 / 0.2, 2);
  EXPECT_EQ(world_.asks.size(), 1u);

  world_.manners[kA].mute = false;
  world_.Run(PeerBreaker::kProbeInterval + absl::Milliseconds(1));
  for (uint64_t i = 10; i < 20; ++i) {
    EXPECT_EQ(world_.Start(i, kChunkBytes, {{kA}}), StartResult::kStarted);
  }
  world_.Run(absl::Seconds(1));
  for (uint64_t i = 10; i < 20; ++i) EXPECT_EQ(Finished(i).failure, FetchFailure::kNone);
  EXPECT_EQ(planner().StatsOf(kA, world_.now).breaker, PeerBreaker::State::kClosed);
  EXPECT_FALSE(planner().next_wakeup()) << "no more probes";
}

TEST_F(FetchPlannerTest, AStandstillCostsNoChunkThatWasAskedFor) {
  world_.AddNode(kA, {.mute = true});
  for (uint64_t i = 0; i < 8; ++i) {
    ASSERT_EQ(world_.Start(i, kChunkBytes, {{kA}}), StartResult::kStarted);
  }
  world_.Run(absl::Milliseconds(300));
  EXPECT_FALSE(planner().MayAsk(kA, world_.now));
  // It goes on, and answers what came in meanwhile.
  for (const auto& order : world_.under_way()) world_.Answer(order.attempt, FetchAnswer::kOk);
  for (uint64_t i = 0; i < 8; ++i) EXPECT_EQ(Finished(i).failure, FetchFailure::kNone);
  EXPECT_TRUE(planner().MayAsk(kA, world_.now));
}

TEST_F(FetchPlannerTest, WhateverASilentNodeSaysMakesItWorthAsking) {
  world_.AddNode(kA, {.mute = true});
  ASSERT_EQ(world_.Start(1, kChunkBytes, {{kA}}), StartResult::kStarted);
  world_.Run(absl::Seconds(1));
  EXPECT_FALSE(planner().MayAsk(kA, world_.now));
  planner().OnHeard(kA, world_.now);
  EXPECT_TRUE(planner().MayAsk(kA, world_.now));
  // But not for long, if it leaves requests unanswered all the same.
  ASSERT_EQ(world_.Start(2, kChunkBytes, {{kA}}), StartResult::kStarted);
  world_.Run(absl::Milliseconds(110));
  EXPECT_FALSE(planner().MayAsk(kA, world_.now));
}

TEST_F(FetchPlannerTest, ANodeThatTalksButDeliversNothingIsSoonLeftAlone) {
  world_.AddNode(kA, {.stuck = true});
  EXPECT_LE(CountStarted(20, absl::Milliseconds(300)), 10);
  EXPECT_EQ(planner().StatsOf(kA, world_.now).breaker, PeerBreaker::State::kOpen);
}

TEST_F(FetchPlannerTest, ANodeThatFailsIsNotTrustedForTalking) {
  world_.AddNode(kA, {.corrupt_chance = 1});
  for (uint64_t i = 0; i < 2; ++i) {
    ASSERT_EQ(world_.Start(i, kChunkBytes, {{kA}}), StartResult::kStarted);
    world_.Run(absl::Milliseconds(5));
  }
  planner().OnHeard(kA, world_.now);
  EXPECT_FALSE(planner().MayAsk(kA, world_.now));
  EXPECT_TRUE(world_.probes.empty());
}

TEST_F(FetchPlannerTest, ShortDeadlinesOpenTheBreakerToo) {
  world_.AddNode(kA, {});
  Teach(kA, 64);
  world_.manners[kA].mute = true;
  EXPECT_LE(CountStarted(20, absl::Milliseconds(10)), 5);
}

TEST_F(FetchPlannerTest, TheBreakerOpensAndRecovers) {
  world_.AddNode(kA, {.fail_chance = 1});
  for (uint64_t i = 0; i < 3; ++i) {
    ASSERT_EQ(world_.Start(i, kChunkBytes, {{kA}}), StartResult::kStarted);
    world_.Run(absl::Milliseconds(5));
  }
  EXPECT_EQ(world_.Start(10, kChunkBytes, {{kA}}), StartResult::kNobody);
  // Each probe that fails doubles the pause.
  int probes = 0;
  for (uint64_t i = 100; i < 1100; ++i) {
    probes += world_.Start(i, kChunkBytes, {{kA}}) == StartResult::kStarted;
    world_.Run(absl::Milliseconds(10));
  }
  EXPECT_GE(probes, 4);
  EXPECT_LE(probes, 6);
  world_.manners[kA].fail_chance = 0;
  world_.Run(PeerBreaker::kPauseMax);
  EXPECT_EQ(world_.Start(2000, kChunkBytes, {{kA}}), StartResult::kStarted);
  EXPECT_EQ(world_.Start(2001, kChunkBytes, {{kA}}), StartResult::kStarted) << "who else has it?";
  world_.Run(absl::Milliseconds(5));
  EXPECT_EQ(Finished(2000).failure, FetchFailure::kNone);
  EXPECT_EQ(planner().StatsOf(kA, world_.now).breaker, PeerBreaker::State::kClosed);
  EXPECT_EQ(world_.Start(2002, kChunkBytes, {{kA}}), StartResult::kStarted);
  EXPECT_EQ(world_.Start(2003, kChunkBytes, {{kA}}), StartResult::kStarted);
}

TEST_F(FetchPlannerTest, ANodeThatSendsRubbishIsSoonLeftAlone) {
  world_.AddNode(kA, {.corrupt_chance = 0.6});
  world_.AddNode(kB, {.latency = absl::Milliseconds(50)});
  uint64_t number = 0;
  while (planner().StatsOf(kA, world_.now).breaker == PeerBreaker::State::kClosed) {
    ASSERT_LT(++number, 50u);
    ASSERT_EQ(world_.Start(number, kChunkBytes, {{kA}, {kB}}), StartResult::kStarted);
    world_.Run(absl::Seconds(1));
    EXPECT_EQ(Finished(number).failure, FetchFailure::kNone);
  }
  EXPECT_GT(planner().StatsOf(kA, world_.now).corrupt, 1u);
}

TEST_F(FetchPlannerTest, AReconnectedNodeIsTriedAtOnce) {
  world_.AddNode(kA, {.mute = true});
  ASSERT_EQ(world_.Start(1, kChunkBytes, {{kA}}), StartResult::kStarted);
  ASSERT_EQ(world_.Start(2, kChunkBytes, {{kA}}), StartResult::kStarted);
  world_.NodeDown(kA);
  EXPECT_EQ(Finished(1).failure, FetchFailure::kFailed);
  EXPECT_EQ(Finished(2).failure, FetchFailure::kFailed);
  EXPECT_EQ(world_.cancels.size(), 2u);
  world_.AddNode(kA, {});
  ASSERT_EQ(world_.Start(3, kChunkBytes, {{kA}}), StartResult::kStarted);
  world_.Run(absl::Seconds(1));
  EXPECT_EQ(Finished(3).failure, FetchFailure::kNone);
}

TEST_F(FetchPlannerTest, ANodeThatWasSilentAndIsConnectedAgainServesAWholePrefix) {
  world_.AddNode(kA, {.mute = true});
  ASSERT_EQ(world_.Start(1, kChunkBytes, {{kA}}), StartResult::kStarted);
  world_.Run(absl::Seconds(1));
  world_.NodeDown(kA);
  world_.AddNode(kA, {});
  for (uint64_t i = 10; i < 18; ++i) {
    EXPECT_EQ(world_.Start(i, kChunkBytes, {{kA}}), StartResult::kStarted);
  }
  world_.Run(absl::Seconds(1));
  for (uint64_t i = 10; i < 18; ++i) EXPECT_EQ(Finished(i).failure, FetchFailure::kNone);
}

TEST_F(FetchPlannerTest, OneRequestTriesANodeWhileOthersHaveTheChunkToo) {
  world_.AddNode(kA, {.corrupt_chance = 1});
  world_.AddNode(kB, {.latency = absl::Milliseconds(20)});
  for (uint64_t i = 0; i < 2; ++i) {
    ASSERT_EQ(world_.Start(i, kChunkBytes, {{kA}}), StartResult::kStarted);
    world_.Run(absl::Milliseconds(5));
  }
  world_.Run(PeerBreaker::kPauseMin);
  const size_t before = world_.asks.size();
  for (uint64_t i = 10; i < 18; ++i) {
    ASSERT_EQ(world_.Start(i, kChunkBytes, {{kA}, {kB}}), StartResult::kStarted);
  }
  size_t of_a = 0;
  for (size_t i = before; i < world_.asks.size(); ++i) of_a += world_.asks[i].node == kA;
  EXPECT_EQ(of_a, 1u);
}

TEST_F(FetchPlannerTest, AForgottenNodeLeavesItsSlotClean) {
  world_.AddNode(kA, {.fail_chance = 1});
  for (uint64_t i = 0; i < 5; ++i) {
    (void)world_.Start(i, kChunkBytes, {{kA}});
    world_.Run(absl::Milliseconds(5));
  }
  EXPECT_EQ(planner().StatsOf(kA, world_.now).breaker, PeerBreaker::State::kOpen);
  planner().ForgetNode(kA, world_.now);
  EXPECT_EQ(planner().StatsOf(kA, world_.now).asked, 0u);
  EXPECT_EQ(world_.Start(10, kChunkBytes, {{kA}}), StartResult::kNobody);
  world_.AddNode(kA, {});
  EXPECT_EQ(world_.Start(10, kChunkBytes, {{kA}}), StartResult::kStarted);
}

class NarrowPlannerTest : public FetchPlannerTest {
 protected:
  NarrowPlannerTest()
      : FetchPlannerTest({.bytes_per_node_max = 4 * kChunkBytes,
                          .bytes_max = 6 * kChunkBytes,
                          .waiting_max = 20}) {}
};

TEST_F(NarrowPlannerTest, WhatFindsNoRoomWaitsAndComesInOrder) {
  world_.AddNode(kA, {});
  world_.AddNode(kB, {});
  int full = 0;
  for (uint64_t i = 0; i < 50; ++i) {
    full += world_.Start(i, kChunkBytes, {{i % 2 == 0 ? kA : kB}}) == StartResult::kFull;
  }
  EXPECT_EQ(full, 50 - 20 - 6);
  EXPECT_EQ(world_.under_way().size(), 6u);
  EXPECT_EQ(planner().stats().waiting, 20u);
  world_.Run(absl::Seconds(1));
  ASSERT_EQ(world_.arrivals.size(), 26u);
  for (uint64_t i = 2; i < 26; ++i) {
    EXPECT_LT(world_.arrivals[i - 2], world_.arrivals[i]) << "of one node";
  }
}

TEST_F(NarrowPlannerTest, ASlowNodeLosesNothingOfWhatOnlyItHas) {
  // The first answer is later than anybody expects, and so are those behind it.
  world_.AddNode(kA, {.ns_per_byte = 400});
  for (uint64_t i = 0; i < 12; ++i) {
    ASSERT_EQ(world_.Start(i, kChunkBytes, {{kA}}, absl::Seconds(60)), StartResult::kStarted);
  }
  world_.Run(absl::Seconds(59));
  for (uint64_t i = 0; i < 12; ++i) EXPECT_EQ(Finished(i).failure, FetchFailure::kNone) << i;
  EXPECT_EQ(world_.asks.size(), 12u);
}

TEST_F(NarrowPlannerTest, WhoWaitsForANodeThatStandsStillGoesToAnotherOrStays) {
  world_.AddNode(kA, {.mute = true});
  world_.AddNode(kB, {});
  for (uint64_t i = 0; i < 5; ++i) {
    ASSERT_EQ(world_.Start(i, kChunkBytes, {{kA}}), StartResult::kStarted);
  }
  ASSERT_EQ(world_.Start(10, kChunkBytes, {{kA}, {kB}}), StartResult::kStarted);
  ASSERT_EQ(world_.Start(11, kChunkBytes, {{kA}}), StartResult::kStarted);
  world_.Run(absl::Milliseconds(300));
  EXPECT_EQ(Finished(10).node, kB);
  EXPECT_EQ(world_.open(), 6u);
  // It goes on: what waited is asked for.
  world_.manners[kA].mute = false;
  for (const auto& order : world_.under_way()) world_.Answer(order.attempt, FetchAnswer::kOk);
  world_.Run(absl::Milliseconds(100));
  EXPECT_EQ(Finished(11).failure, FetchFailure::kNone);

  world_.manners[kA].mute = true;
  for (uint64_t i = 20; i < 26; ++i) {
    ASSERT_EQ(world_.Start(i, kChunkBytes, {{kA}}), StartResult::kStarted);
  }
  world_.Run(absl::Seconds(4));
  for (uint64_t i = 20; i < 26; ++i) EXPECT_EQ(Finished(i).failure, FetchFailure::kFailed) << i;
}

TEST_F(NarrowPlannerTest, ALargeChunkIsNotPassedByForSmallOnes) {
  world_.AddNode(kA, {});
  for (uint64_t i = 0; i < 3; ++i) (void)world_.Start(i, kChunkBytes, {{kA}});
  (void)world_.Start(3, 4 * kChunkBytes, {{kA}});
  for (uint64_t i = 4; i < 10; ++i) (void)world_.Start(i, kChunkBytes, {{kA}});
  world_.Run(absl::Seconds(1));
  ASSERT_EQ(world_.arrivals.size(), 10u);
  EXPECT_EQ(world_.arrivals[3], PlannerWorld::Name(3));
}

TEST_F(NarrowPlannerTest, WhoWaitsForANodeThatDiesGoesToAnother) {
  world_.AddNode(kB, {.latency = absl::Milliseconds(30)});
  Teach(kB, 20);
  world_.AddNode(kA, {.mute = true});
  for (uint64_t i = 0; i < 4; ++i) (void)world_.Start(i, kChunkBytes, {{kA}});
  (void)world_.Start(10, kChunkBytes, {{kA}, {kB}});
  (void)world_.Start(11, kChunkBytes, {{kA}});
  EXPECT_EQ(planner().stats().waiting, 2u);
  world_.NodeDown(kA);
  EXPECT_EQ(Finished(11).failure, FetchFailure::kFailed);
  world_.Run(absl::Seconds(1));
  EXPECT_EQ(Finished(10).node, kB);
}

// Whatever nodes do, each fetch ends once and in time, and nothing is left. PlannerWorld checks the
// bounds after each step.
TEST(FetchPlannerPropertyTest, RandomClusters) {
  uint64_t ok = 0, hedges = 0, opened = 0, busy = 0;
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    PlannerWorld world({.bytes_per_node_max = (4 + random.Below(60)) << 20,
                        .bytes_max = (8 + random.Below(120)) << 20,
                        .attempts_per_node_max = static_cast<uint32_t>(1 + random.Below(20)),
                        .attempts_max = static_cast<uint32_t>(1 + random.Below(60)),
                        .waiting_max = static_cast<uint32_t>(random.Below(200))},
                       seed);
    const uint64_t nodes = 1 + random.Below(8);
    const auto random_manner = [&] {
      const bool rough = random.Below(3) == 0;
      const double share = rough ? 0.2 : 0.01;
      return NodeManner{.latency = absl::Microseconds(50 + random.Below(5000)),
                        .ns_per_byte = 0.1 + 3 * random.Unit(),
                        .jitter = random.Unit(),
                        .slow_chance = share,
                        .fail_chance = share * random.Unit(),
                        .gone_chance = share * random.Unit(),
                        .corrupt_chance = share * random.Unit(),
                        .busy_chance = share * random.Unit(),
                        .resize_chance = share * random.Unit(),
                        .mute = random.Below(8) == 0};
    };
    for (NodeSlot node = 0; node < nodes; ++node) world.AddNode(node, random_manner());
    for (int step = 0; step < 1500; ++step) {
      const NodeSlot node = static_cast<NodeSlot>(random.Below(nodes));
      switch (random.Below(40)) {
        case 0:
          world.NodeDown(node);
          break;
        case 1:
        case 2:
          world.AddNode(node, random_manner());
          break;
        case 3:
          world.manners[node] = random_manner();
          break;
        default: {
          std::vector<FetchCandidate> candidates;
          for (uint64_t i = random.Below(4); i < 4; ++i) {
            candidates.push_back({static_cast<NodeSlot>(random.Below(nodes)),
                                  static_cast<uint8_t>(1 + random.Below(3))});
          }
          (void)world.Start(random.Below(400), uint64_t{1} << (10 + random.Below(13)), candidates,
                            absl::Microseconds(100 + random.Below(300'000)));
        }
      }
      if (random.Below(3) == 0) world.Run(absl::Microseconds(random.Below(20'000)));
      if (::testing::Test::HasFatalFailure()) return;
    }
    world.Run(absl::Seconds(10));
    EXPECT_EQ(world.open(), 0u);
    const FetchPlanner::Stats& stats = world.planner.stats();
    EXPECT_EQ(stats.in_flight + stats.waiting + stats.fetches, 0u);
    EXPECT_EQ(stats.started, stats.finished_ok + stats.finished_failed + stats.finished_late);
    for (NodeSlot node = 0; node < nodes; ++node) world.NodeDown(node);
    EXPECT_FALSE(world.planner.next_wakeup());
    ok += stats.finished_ok;
    hedges += stats.hedges;
    for (NodeSlot node = 0; node < nodes; ++node) {
      opened += world.planner.StatsOf(node, world.now).breaker_opened;
      busy += world.planner.StatsOf(node, world.now).busy;
    }
  }
  // It was not for nothing.
  EXPECT_GT(ok, 10'000u);
  EXPECT_GT(hedges, 100u);
  EXPECT_GT(opened, 100u);
  EXPECT_GT(busy, 100u);
}

TEST(FetchPlannerPropertyTest, TheSameCallsGiveTheSameOrders) {
  const auto run = [](uint64_t seed) {
    PlannerWorld world({.bytes_per_node_max = 8 << 20, .attempts_max = 10}, seed);
    for (NodeSlot node = 0; node < 5; ++node) {
      world.AddNode(node, {.jitter = 0.5, .slow_chance = 0.1, .fail_chance = 0.05});
    }
    for (uint64_t i = 0; i < 1000; ++i) {
      (void)world.Start(i, 1 << 20, {{static_cast<NodeSlot>(i % 5)}, {3}, {4}});
      world.Run(absl::Microseconds(world.random.Below(1000)));
    }
    world.NodeDown(3);
    std::vector<std::pair<NodeSlot, FetchName>> asks;
    for (const auto& order : world.asks) asks.emplace_back(order.node, order.name);
    return asks;
  };
  EXPECT_EQ(run(7), run(7));
}

}  // namespace
}  // namespace larder
