#include <gtest/gtest.h>

#include <vector>

#include "storage/catalog/catalog.h"

namespace larder {
namespace {

constexpr uint32_t kLooksMax = 1 << 15;

KeyHash Key(uint64_t number) { return {number, ~number}; }

// In either order.
class CatalogHintsTest : public testing::TestWithParam<OrderKind> {
 protected:
  // A visible chunk that was used two seconds after the last one.
  ChunkIndex Add(uint64_t key, uint64_t parent = 0, uint32_t depth = 0, uint32_t space = 0) {
    Wait(2);
    const ChunkTraits traits{.key = Catalog::PolicyKey(space, Key(key)), .depth = depth};
    const ChunkIndex chunk =
        catalog_.Insert(space, Key(key), parent == 0 ? KeyHash{} : Key(parent), traits, now_);
    catalog_.SetVisible(chunk);
    catalog_.Touch(chunk, now_);
    return chunk;
  }
  void Wait(int seconds) { now_ = now_ + absl::Seconds(seconds); }
  ChunkIndex Victim(GroupIndex group = 0) { return catalog_.Victim(group, now_, kLooksMax); }
  std::vector<ChunkIndex> EvictAll() {
    std::vector<ChunkIndex> order;
    for (ChunkIndex victim = Victim(); victim != kNoChunk; victim = Victim()) {
      order.push_back(victim);
      EXPECT_TRUE(catalog_.Unlink(victim));
      catalog_.Erase(victim);
    }
    return order;
  }
  using Chunks = std::vector<ChunkIndex>;

  Catalog catalog_{1, GetParam()};
  MonotonicTime now_{1};
};

TEST_P(CatalogHintsTest, WhatIsKeptStaysUntilItsTimeIsOver) {
  const ChunkIndex a = Add(1), b = Add(2);
  catalog_.Keep(a, now_ + absl::Seconds(10), 100);
  EXPECT_EQ(catalog_.KeptBytes(0), 100u);
  EXPECT_EQ(Victim(), b);
  Wait(9);
  catalog_.EndKeeps(now_);
  EXPECT_EQ(Victim(), b);
  Wait(1);
  catalog_.EndKeeps(now_);
  EXPECT_EQ(catalog_.KeptBytes(0), 0u);
  EXPECT_EQ(EvictAll(), (Chunks{a, b}));
}

TEST_P(CatalogHintsTest, AKeepGivesWayWhereNothingElseMayGo) {
  const ChunkIndex root = Add(1), leaf = Add(2, 1, 1), later = Add(3);
  catalog_.Keep(root, now_ + absl::Seconds(10), 1);
  catalog_.Keep(leaf, now_ + absl::Seconds(10), 1);
  catalog_.Keep(later, now_ + absl::Seconds(20), 1);
  EXPECT_EQ(Victim(), leaf) << "of one time the deepest first";
  EXPECT_TRUE(catalog_.chunk(root).kept);
  EXPECT_TRUE(catalog_.chunk(later).kept);
  EXPECT_EQ(EvictAll(), (Chunks{leaf, root, later}));
  EXPECT_EQ(catalog_.KeptBytes(0), 0u);
}

TEST_P(CatalogHintsTest, AKeepIsReplacedNotAdded) {
  const ChunkIndex a = Add(1);
  catalog_.Keep(a, now_ + absl::Seconds(10), 7);
  catalog_.Keep(a, now_ + absl::Seconds(1), 5);
  EXPECT_EQ(catalog_.KeptBytes(0), 5u);
  EXPECT_EQ(catalog_.KeptBytesOf(a), 5u);
  Wait(1);
  catalog_.EndKeeps(now_);
  EXPECT_FALSE(catalog_.chunk(a).kept);
}

TEST_P(CatalogHintsTest, WhatIsNotUsedAgainLeavesFirstWithItsPrefix) {
  const ChunkIndex other = Add(1), root = Add(2), leaf = Add(3, 2, 1), last = Add(4);
  catalog_.LetGoFirst(root);
  catalog_.LetGoFirst(leaf);
  EXPECT_EQ(EvictAll(), (Chunks{leaf, root, other, last}));
}

TEST_P(CatalogHintsTest, AUseTakesThatBack) {
  const ChunkIndex a = Add(1), b = Add(2);
  catalog_.LetGoFirst(b);
  Wait(2);
  catalog_.Touch(b, now_);
  EXPECT_EQ(EvictAll(), (Chunks{a, b}));
}

TEST_P(CatalogHintsTest, LowPriorityLeavesFirstEvenAfterAUse) {
  const ChunkIndex a = Add(1), b = Add(2);
  catalog_.SetPriority(b, ChunkPriority::kLow);
  Wait(2);
  catalog_.Touch(b, now_);
  EXPECT_EQ(Victim(), b);
  catalog_.SetPriority(b, ChunkPriority::kNormal);
  Wait(2);
  catalog_.Touch(b, now_);
  EXPECT_EQ(EvictAll(), (Chunks{a, b}));
}

TEST_P(CatalogHintsTest, HighPriorityIsKeptAnewAfterEachUse) {
  const ChunkIndex a = Add(1), b = Add(2);
  catalog_.SetPriority(a, ChunkPriority::kHigh);
  catalog_.Keep(a, now_ + Catalog::kHighPriorityKeep, 1);
  Wait(60);
  catalog_.Touch(a, now_);
  Wait(90);
  catalog_.EndKeeps(now_);
  EXPECT_TRUE(catalog_.chunk(a).kept) << "used 90 s ago";
  EXPECT_EQ(Victim(), b);
  Wait(31);
  catalog_.EndKeeps(now_);
  EXPECT_FALSE(catalog_.chunk(a).kept);
  EXPECT_EQ(catalog_.KeptBytes(0), 0u);
}

TEST_P(CatalogHintsTest, GroupsHaveOrdersOfTheirOwn) {
  const GroupIndex group = catalog_.AddGroup();
  catalog_.SetGroup(1, group);
  const ChunkIndex a = Add(1), b = Add(1, 0, 0, 1), c = Add(2), d = Add(2, 0, 0, 1);
  EXPECT_EQ(Victim(group), b);
  catalog_.Keep(b, now_ + absl::Seconds(5), 3);
  EXPECT_EQ(catalog_.KeptBytes(0), 0u);
  EXPECT_EQ(catalog_.KeptBytes(group), 3u);
  EXPECT_EQ(Victim(group), d);
  EXPECT_EQ(EvictAll(), (Chunks{a, c})) << "of group 0";
}

INSTANTIATE_TEST_SUITE_P(Orders, CatalogHintsTest,
                         testing::Values(OrderKind::kLearned, OrderKind::kLru),
                         [](const auto& kind) {
                           return kind.param == OrderKind::kLearned ? "Learned" : "Lru";
                         });

}  // namespace
}  // namespace larder
