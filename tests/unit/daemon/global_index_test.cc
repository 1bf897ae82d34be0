#include "daemon/index/global_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "tests/unit/daemon/index_testing.h"

namespace larder {
namespace {

using Holders = std::map<NodeSlot, uint8_t>;

TEST(GlobalIndexTest, WhatANodeHoldsIsFoundUntilItSaysOtherwise) {
  const auto index = MakeIndex(1000);
  index->Apply(3, Held(1, kTierMemory, 12));
  index->Apply(4, Held(1, kTierDisk, 12));
  EXPECT_EQ(HoldersOf(*index, SpaceOf(0), KeyOf(1)), (Holders{{3, kTierMemory}, {4, kTierDisk}}));
  index->Apply(3, Held(1, kTiersAll, 12));
  EXPECT_EQ(HoldersOf(*index, SpaceOf(0), KeyOf(1)), (Holders{{3, kTiersAll}, {4, kTierDisk}}));
  index->Apply(3, Gone(1));
  index->Apply(3, Gone(1));
  EXPECT_EQ(HoldersOf(*index, SpaceOf(0), KeyOf(1)), (Holders{{4, kTierDisk}}));
  EXPECT_FALSE(index->Contains(SpaceOf(1), KeyOf(1)));
  index->Apply(4, Gone(1));
  EXPECT_FALSE(index->Contains(SpaceOf(0), KeyOf(1)));
  EXPECT_EQ(index->stats().entries, 0u);
  EXPECT_EQ(index->stats().spaces, 0u);
}

TEST(GlobalIndexTest, AMatchEndsAtTheFirstUnknownKey) {
  const auto index = MakeIndex(1000);
  std::vector<KeyHash> keys;
  for (uint64_t i = 0; i < 100; ++i) {
    keys.push_back(KeyOf(i));
    if (i != 60) index->Apply(1, Held(i, kTierMemory, 7));
  }
  FoundChunks found;
  index->Find(SpaceOf(0), keys, /*stop_at_first_unknown=*/true, &found);
  ASSERT_EQ(found.chunks.size(), 60u);
  EXPECT_EQ(found.chunks[59].pages, 7u);
  index->Find(SpaceOf(0), keys, /*stop_at_first_unknown=*/false, &found);
  ASSERT_EQ(found.chunks.size(), 100u);
  EXPECT_EQ(found.chunks[60].holder_count, 0u);
  EXPECT_EQ(found.HoldersOf(found.chunks[61])[0], (ChunkHolder{1, kTierMemory}));
  index->Find(SpaceOf(5), keys, /*stop_at_first_unknown=*/true, &found);
  EXPECT_TRUE(found.chunks.empty());
  index->Find(SpaceOf(5), keys, /*stop_at_first_unknown=*/false, &found);
  EXPECT_EQ(found.chunks.size(), 100u);
}

TEST(GlobalIndexTest, WhetherAnyoneElseHoldsAChunk) {
  const auto index = MakeIndex(1000);
  index->Apply(1, Held(5));
  EXPECT_FALSE(index->HeldByOther(SpaceOf(0), KeyOf(5), 1));
  EXPECT_TRUE(index->HeldByOther(SpaceOf(0), KeyOf(5), 2));
  index->Apply(2, Held(5));
  EXPECT_TRUE(index->HeldByOther(SpaceOf(0), KeyOf(5), 1));
  index->HideNode(2);
  EXPECT_FALSE(index->HeldByOther(SpaceOf(0), KeyOf(5), 1));
  EXPECT_FALSE(index->HeldByOther(SpaceOf(0), KeyOf(6), 1));
}

TEST(GlobalIndexTest, AChunkMayBeHeldByAllNodes) {
  const auto index = MakeIndex(1000);
  for (size_t node = 0; node < kNodesMax; ++node) {
    index->Apply(static_cast<NodeSlot>(node), Held(8));
  }
  EXPECT_EQ(HoldersOf(*index, SpaceOf(0), KeyOf(8)).size(), kNodesMax);
  EXPECT_EQ(index->stats().entries, 1u);
  for (size_t node = 0; node < kNodesMax; node += 2) {
    index->Apply(static_cast<NodeSlot>(node), Gone(8));
  }
  EXPECT_EQ(HoldersOf(*index, SpaceOf(0), KeyOf(8)).size(), kNodesMax / 2);
  EXPECT_EQ(HoldersOf(*index, SpaceOf(0), KeyOf(8)).begin()->first, 1);
  for (size_t node = 1; node < kNodesMax; node += 2) {
    index->Apply(static_cast<NodeSlot>(node), Gone(8));
  }
  EXPECT_EQ(index->stats().entries, 0u);
}

TEST(GlobalIndexTest, BeyondItsBoundNewEntriesAreDroppedAndCounted) {
  const auto index = MakeIndex(100);
  for (uint64_t i = 0; i < 150; ++i) index->Apply(1, Held(i));
  EXPECT_EQ(index->stats().entries, 100u);
  EXPECT_EQ(index->stats().dropped, 50u);
  index->Apply(2, Held(99));  // another holder takes no entry
  EXPECT_EQ(index->stats().dropped, 50u);
  index->Apply(1, Gone(0));
  index->Apply(1, Held(149));
  EXPECT_TRUE(index->Contains(SpaceOf(0), KeyOf(149)));
  EXPECT_EQ(index->stats().dropped, 50u);
  // A space of which nothing was kept is not kept either.
  ChunkEvent other = Held(200);
  other.space = SpaceOf(3);
  index->Apply(1, other);
  EXPECT_EQ(index->stats().dropped, 51u);
  EXPECT_EQ(index->stats().spaces, 1u);
}

TEST(GlobalIndexTest, NoSpaceBeyondTheirBoundIsTaken) {
  const auto index = MakeIndex(SpaceNumbers::kSpacesMax + 10);
  for (size_t i = 0; i < SpaceNumbers::kSpacesMax + 5; ++i) {
    ChunkEvent event = Held(1);
    event.space = SpaceOf(i);
    index->Apply(1, event);
  }
  EXPECT_EQ(index->stats().spaces, SpaceNumbers::kSpacesMax);
  EXPECT_EQ(index->stats().dropped, 5u);
  EXPECT_TRUE(index->Contains(SpaceOf(7), KeyOf(1)));
  EXPECT_FALSE(index->Contains(SpaceOf(SpaceNumbers::kSpacesMax), KeyOf(1)));
}

TEST(GlobalIndexTest, SizesAreCountedForEachNodeAndTier) {
  const auto index = MakeIndex(1000);
  index->Apply(1, Held(1, kTierMemory, 10));
  index->Apply(1, Held(2, kTiersAll, 5));
  index->Apply(2, Held(1, kTierDisk, 8));  // stored smaller there: the latest word counts
  EXPECT_EQ(index->NodeStats(1).memory_pages, 13u);
  EXPECT_EQ(index->NodeStats(1).disk_pages, 5u);
  EXPECT_EQ(index->NodeStats(1).entries, 2u);
  EXPECT_EQ(index->NodeStats(2).disk_pages, 8u);
  index->Apply(1, Gone(1));
  index->Apply(1, Gone(2));
  EXPECT_EQ(index->NodeStats(1).memory_pages, 0u);
  EXPECT_EQ(index->NodeStats(1).disk_pages, 0u);
  EXPECT_EQ(index->NodeStats(1).entries, 0u);
}

TEST(GlobalIndexTest, AHiddenNodeIsForgottenInBoundedSteps) {
  const auto index = MakeIndex(100'000);
  for (uint64_t i = 0; i < 20'000; ++i) {
    index->Apply(static_cast<NodeSlot>(i % 2), Held(i));
    if (i % 5 == 0) index->Apply(2, Held(i));
  }
  index->HideNode(0);
  EXPECT_FALSE(index->Contains(SpaceOf(0), KeyOf(2)));
  EXPECT_EQ(HoldersOf(*index, SpaceOf(0), KeyOf(10)), (Holders{{2, kTierMemory}}));
  index->Apply(0, Held(50'000));  // it is not listened to meanwhile
  EXPECT_FALSE(index->Contains(SpaceOf(0), KeyOf(50'000)));
  int steps = 1;
  while (index->ForgetStep(0, 1000)) {
    // Others' events in between, so that entries move.
    index->Apply(1, Held(100'000 + steps));
    index->Apply(1, Gone(2 * steps + 1));
    ++steps;
  }
  EXPECT_GT(steps, 20);
  EXPECT_LT(steps, 100);
  EXPECT_EQ(index->NodeStats(0).entries, 0u);
  EXPECT_EQ(index->NodeStats(2).entries, 4000u);
  index->Apply(0, Held(50'000));
  EXPECT_TRUE(index->Contains(SpaceOf(0), KeyOf(50'000)));
}

TEST(GlobalIndexTest, ASnapshotLeavesOnlyWhatItNamed) {
  const auto index = MakeIndex(1000);
  for (uint64_t i = 0; i < 100; ++i) index->Apply(1, Held(i));
  ASSERT_TRUE(index->BeginSnapshot(1));
  for (uint64_t i = 50; i < 120; ++i) index->Apply(1, Held(i));
  EXPECT_TRUE(index->Contains(SpaceOf(0), KeyOf(3)));  // until the snapshot is complete
  EXPECT_EQ(index->NodeStats(1).stale_entries, 50u);
  EXPECT_FALSE(index->BeginSnapshot(1));
  while (index->ForgetStep(1, 100)) {
  }
  for (uint64_t i = 0; i < 120; ++i) {
    EXPECT_EQ(index->Contains(SpaceOf(0), KeyOf(i)), i >= 50) << i;
  }
  EXPECT_TRUE(index->BeginSnapshot(1));
}

TEST(GlobalIndexTest, ImpossibleSizesAreRefused) {
  EXPECT_EQ(GlobalIndex::Create({.entries_max = 0}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GlobalIndex::Create({.entries_max = size_t{1} << 60}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

// --- the same calls on the index and on a plain map, with the same answers ---

class IndexModel {
 public:
  IndexModel(uint64_t seed, uint64_t keys, size_t nodes)
      : random_(seed), keys_(keys), nodes_(nodes), index_(MakeIndex(1'000'000, seed)) {}

  void Run(int steps) {
    for (int i = 0; i < steps; ++i) {
      const uint64_t what = random_.Below(1000);
      if (what < 3) {
        Hide();
      } else if (what < 6) {
        Snapshot();
      } else if (what < 20) {
        Forget();
      } else {
        Events();
      }
      if (i % 64 == 0) Check();
    }
    Check();
  }

 private:
  struct State {
    uint8_t tiers = 0;
    bool stale = false;
  };
  using Name = std::pair<uint64_t, uint64_t>;  // space, key
  struct Node {
    bool hidden = false;
    std::map<Name, State> chunks;
  };

  NodeSlot AnyNode() { return static_cast<NodeSlot>(random_.Below(nodes_)); }

  void Events() {
    const NodeSlot node = AnyNode();
    std::vector<ChunkEvent> events;
    for (uint64_t count = random_.Below(100); count > 0; --count) {
      const Name name{random_.Below(3), random_.Below(keys_)};
      ChunkEvent event{.space = SpaceOf(name.first), .key = KeyOf(name.second)};
      // Phases in which the table grows, and some in which it empties.
      const uint64_t bound = growing_ ? 6 : 40;
      event.tiers = static_cast<uint8_t>(random_.Below(bound) % bound);
      if (event.tiers > kTiersAll) event.tiers = growing_ ? kTierMemory : 0;
      event.pages = event.tiers == 0 ? 0 : static_cast<uint32_t>(1 + random_.Below(50));
      events.push_back(event);
      if (state_[node].hidden) continue;
      if (event.tiers == 0) {
        state_[node].chunks.erase(name);
      } else {
        state_[node].chunks[name] = {.tiers = event.tiers};
        pages_[name] = event.pages;
      }
    }
    index_->Apply(node, events);
    if (random_.Below(500) == 0) growing_ = !growing_;
  }

  void Hide() {
    const NodeSlot node = AnyNode();
    index_->HideNode(node);
    state_[node].hidden = true;
  }

  void Snapshot() {
    const NodeSlot node = AnyNode();
    Node& state = state_[node];
    const bool wanted =
        !state.hidden && std::none_of(state.chunks.begin(), state.chunks.end(),
                                      [](const auto& chunk) { return chunk.second.stale; });
    ASSERT_EQ(index_->BeginSnapshot(node), wanted);
    if (!wanted) return;
    for (auto& [name, chunk] : state.chunks) chunk.stale = true;
  }

  // To the end: halfway a hidden node's entries are invisible anyway, stale ones may be or not.
  void Forget() {
    const NodeSlot node = AnyNode();
    Node& state = state_[node];
    int steps = 0;
    while (index_->ForgetStep(node, 512)) ASSERT_LT(++steps, 100'000);
    if (state.hidden) state.chunks.clear();
    state.hidden = false;
    std::erase_if(state.chunks, [](const auto& chunk) { return chunk.second.stale; });
  }

  void Check() {
    const uint64_t space = random_.Below(3);
    std::vector<KeyHash> keys;
    const uint64_t first = random_.Below(keys_);
    for (uint64_t i = 0; i < 100; ++i) keys.push_back(KeyOf(first + i));
    FoundChunks found;
    index_->Find(SpaceOf(space), keys, /*stop_at_first_unknown=*/false, &found);
    ASSERT_EQ(found.chunks.size(), keys.size());
    size_t prefix = keys.size();
    for (uint64_t i = 0; i < keys.size(); ++i) {
      const Name name{space, first + i};
      Holders wanted, got;
      for (auto& [node, state] : state_) {
        const auto chunk = state.chunks.find(name);
        if (!state.hidden && chunk != state.chunks.end()) {
          wanted.emplace(node, chunk->second.tiers);
        }
      }
      for (const ChunkHolder& holder : found.HoldersOf(found.chunks[i])) {
        got.emplace(holder.node, holder.tiers);
      }
      ASSERT_EQ(got, wanted) << "key " << first + i;
      ASSERT_EQ(got.size(), found.chunks[i].holder_count);
      ASSERT_EQ(found.chunks[i].pages, wanted.empty() ? 0 : pages_[name]);
      if (wanted.empty()) prefix = std::min<size_t>(prefix, i);
    }
    index_->Find(SpaceOf(space), keys, /*stop_at_first_unknown=*/true, &found);
    ASSERT_EQ(found.chunks.size(), prefix);
    CheckCounts();
  }

  void CheckCounts() {
    std::set<Name> names;
    for (auto& [node, state] : state_) {
      uint64_t memory = 0, disk = 0;
      for (const auto& [name, chunk] : state.chunks) {
        names.insert(name);
        if (chunk.tiers & kTierMemory) memory += pages_[name];
        if (chunk.tiers & kTierDisk) disk += pages_[name];
      }
      const IndexNodeStats stats = index_->NodeStats(node);
      ASSERT_EQ(stats.entries, state.chunks.size());
      ASSERT_EQ(stats.memory_pages, memory);
      ASSERT_EQ(stats.disk_pages, disk);
    }
    ASSERT_EQ(index_->stats().entries, names.size());
    ASSERT_EQ(index_->stats().dropped, 0u);
  }

  SeededRandom random_;
  const uint64_t keys_;
  const size_t nodes_;
  const std::unique_ptr<GlobalIndex> index_;
  std::map<NodeSlot, Node> state_;
  std::map<Name, uint32_t> pages_;
  bool growing_ = true;
};

TEST(GlobalIndexModelTest, AgreesWithAPlainMap) {
  struct Case {
    uint64_t keys;
    size_t nodes;
    int steps;
  };
  // Few keys: many holders of each. Many keys: the table grows again and again.
  const Case cases[] = {{50, 40, 3000}, {3000, 6, 3000}, {200'000, 3, 3000}};
  for (const Case& each : cases) {
    for (uint64_t seed = 1; seed <= 2; ++seed) {
      SCOPED_TRACE(absl::StrCat("seed ", seed, ", keys ", each.keys));
      IndexModel(seed, each.keys, each.nodes).Run(each.steps);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace larder
