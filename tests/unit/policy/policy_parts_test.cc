// The parts of the policy, one by one.
#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <vector>

#include "common/hash.h"
#include "common/random.h"
#include "storage/policy/access_monitor.h"
#include "storage/policy/ghost_table.h"
#include "storage/policy/score_queues.h"
#include "storage/policy/trust.h"

namespace larder {
namespace {

TEST(ReuseAgeTest, EachAgeIsInItsBucket) {
  for (uint32_t bucket = 0; bucket + 1 < kAgeBuckets; ++bucket) {
    EXPECT_EQ(AgeBucketOf(kAgeBucketStart[bucket]), bucket);
    EXPECT_EQ(AgeBucketOf(kAgeBucketStart[bucket + 1] - 1), bucket);
  }
  EXPECT_EQ(AgeBucketOf(0xffffffffu), kAgeBuckets - 1);
}

TEST(ReuseStatisticsTest, WhatIsReusedSoonIsWorthMore) {
  ReuseStatistics statistics(2, 2);
  statistics.Assign(0, 0);
  statistics.Assign(1, 1);
  for (int i = 0; i < 5000; ++i) {
    statistics.Begin(0);
    statistics.Reuse(0, 0);
    statistics.Begin(1);
    for (uint32_t bucket = 0; bucket < 20; ++bucket) statistics.Survive(1, bucket);
    statistics.Forget(1, 20);
  }
  EXPECT_GT(statistics.Scores(0)[0], 5 * statistics.Scores(1)[0]);
}

TEST(ReuseStatisticsTest, WithoutObservationsOlderIsWorthLess) {
  ReuseStatistics statistics(1, 1);
  statistics.Assign(0, 0);
  const auto scores = statistics.Scores(0);
  EXPECT_TRUE(std::is_sorted(scores.rbegin(), scores.rend()));
}

// The monitor's list of what a least-recently-used cache holds, against such a cache.
TEST(AccessMonitorTest, KnowsWhatLeastRecentlyUsedOrderKeeps) {
  constexpr size_t kCapacity = 40;
  ReuseStatistics statistics(1, 1);
  statistics.Assign(0, 0);
  AccessMonitor monitor(&statistics);
  monitor.SetCacheSize(kCapacity);
  std::list<uint64_t> order;  // oldest first
  SeededRandom random(5);
  uint32_t now = 0;
  for (int i = 0; i < 20'000; ++i) {
    now += static_cast<uint32_t>(random.Below(5000));
    const uint64_t key = random.Below(2) == 0 ? random.Below(30) : random.Below(300);
    const auto found = std::find(order.begin(), order.end(), key);
    const bool expected = found != order.end();
    if (expected) order.erase(found);
    order.push_back(key);
    if (order.size() > kCapacity) order.pop_front();
    monitor.Advance(now);
    ASSERT_TRUE(monitor.Samples(key));
    ASSERT_EQ(monitor.Use(key, 0, now), expected) << "use " << i;
  }
  EXPECT_GT(statistics.reuses(), 10'000u);
}

TEST(AccessMonitorTest, ThinsItsSampleForLargeCaches) {
  ReuseStatistics statistics(1, 1);
  statistics.Assign(0, 0);
  AccessMonitor monitor(&statistics);
  monitor.SetCacheSize(1'000'000);
  size_t sampled = 0;
  for (uint64_t number = 0; number < 100'000; ++number) {
    const uint64_t key = HashBytes({reinterpret_cast<const uint8_t*>(&number), sizeof(number)}).low;
    if (!monitor.Samples(key)) continue;
    ++sampled;
    monitor.Use(key, 0, 0);
  }
  const double expected = 100'000.0 / static_cast<double>(1u << monitor.sample_shift());
  EXPECT_GT(monitor.sample_shift(), 4u);
  EXPECT_NEAR(static_cast<double>(sampled), expected, expected / 5);
}

TEST(GhostTableTest, RemembersWhatWentAndForgetsTheOldest) {
  GhostTable ghosts;
  EXPECT_EQ(ghosts.Find(1).uses, 0u);
  ghosts.Reserve(1);
  ghosts.Remember(1, {.uses = 3, .last_use = 512}, 600);
  EXPECT_EQ(ghosts.Find(1).uses, 3u);
  EXPECT_EQ(ghosts.Take(1).last_use, 512u);
  EXPECT_EQ(ghosts.Find(1).uses, 0u) << "taken";
  for (uint32_t key = 2; key < 7; ++key) {  // five in a set of four
    ghosts.Remember(key, {.uses = 1, .last_use = key * 1024}, 10'000);
  }
  EXPECT_EQ(ghosts.Find(2).uses, 0u);
  EXPECT_EQ(ghosts.Find(3).uses, 1u);
  EXPECT_EQ(ghosts.Find(6).uses, 1u);
}

// Queues and levels against the plainest form of the same.
TEST(ScoreQueuesTest, TheLowestLevelIsFound) {
  constexpr uint32_t kItems = 60, kClasses = 3;
  SeededRandom random(11);
  ScoreQueues::Links links;
  ScoreQueues queues(kClasses, &links);
  std::vector<int> cell_of(kItems, -1);
  std::vector<uint8_t> levels(kClasses * kAgeBuckets);
  for (int step = 0; step < 20'000; ++step) {
    const auto item = static_cast<uint32_t>(random.Below(kItems));
    const auto cell = static_cast<uint16_t>(random.Below(levels.size()));
    if (random.Below(3) == 0) {
      levels[cell] = static_cast<uint8_t>(random.Below(256));
      queues.SetLevel(cell, levels[cell]);
    } else {
      queues.Remove(item);
      cell_of[item] = -1;
      if (random.Below(2) == 0) {
        random.Below(2) == 0 ? queues.PushNewest(item, cell) : queues.PushOldest(item, cell);
        cell_of[item] = cell;
      }
    }
    int lowest = 256;
    for (const int used : cell_of) {
      if (used >= 0) lowest = std::min<int>(lowest, levels[static_cast<size_t>(used)]);
    }
    const ScoreQueues::CellIndex found = queues.LowestCell();
    ASSERT_EQ(found == ScoreQueues::kNoCell ? 256 : levels[found], lowest) << "step " << step;
    if (found != ScoreQueues::kNoCell) {
      ASSERT_EQ(cell_of[queues.oldest(found)], found);
      ASSERT_NE(queues.oldest(queues.NextInUse(cell)), ScoreQueues::kNone);
    }
  }
}

TEST(ScoreQueuesTest, TheNextCellInUseGoesRound) {
  constexpr uint32_t kItems = 8;
  constexpr size_t kClasses = 256;
  constexpr uint32_t kCells = kClasses * kAgeBuckets;
  SeededRandom random(12);
  ScoreQueues::Links links;
  ScoreQueues queues(kClasses, &links);
  std::vector<uint32_t> cell_of(kItems, kCells);
  for (int step = 0; step < 5000; ++step) {
    const auto item = static_cast<uint32_t>(random.Below(kItems));
    queues.Remove(item);
    cell_of[item] = kCells;
    if (random.Below(2) == 0) {
      // Often near others, also in the same word.
      cell_of[item] = static_cast<uint32_t>(random.Below(step % 3 == 0 ? 200 : kCells));
      queues.PushNewest(item, static_cast<uint16_t>(cell_of[item]));
    }
    const auto cell = static_cast<uint32_t>(random.Below(step % 2 == 0 ? 200 : kCells));
    uint32_t nearest = kCells;  // how far behind `cell` the next one is, less one
    uint32_t expected = ScoreQueues::kNoCell;
    for (const uint32_t used : cell_of) {
      const uint32_t distance = (used + kCells - cell - 1) % kCells;
      if (used == kCells || distance >= nearest) continue;
      nearest = distance;
      expected = used;
    }
    ASSERT_EQ(queues.NextInUse(static_cast<uint16_t>(cell)), expected) << "step " << step;
  }
}

TEST(TrustTest, IsLostWithHitsAndComesBack) {
  Trust trust;
  const auto use = [&](bool hit, bool lru_hit) { trust.RecordUse(hit, lru_hit, 1, 5000, 1000); };
  use(false, false);
  EXPECT_TRUE(trust.trusted());
  uint64_t losses = 0;
  while (trust.trusted()) {
    use(false, true);
    ASSERT_LT(++losses, 1000u);
  }
  EXPECT_EQ(trust.suspensions(), 1u);
  uint64_t waited = 0;
  while (!trust.trusted()) {
    use(true, true);
    ASSERT_LT(++waited, 100'000u);
  }
  EXPECT_GT(waited, 10'000u);
}

TEST(TrustTest, NeedsObservations) {
  Trust trust;
  for (int i = 0; i < 1000; ++i) trust.RecordUse(true, false, 1, 10, 1000);
  EXPECT_FALSE(trust.trusted());
}

}  // namespace
}  // namespace larder
