#include "storage/catalog/catalog.h"

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "gtest/gtest.h"

namespace larder {
namespace {

constexpr uint32_t kManyLooks = 1'000'000;

KeyHash Key(uint64_t number) { return {number, ~number}; }
MonotonicTime At(int64_t nanoseconds) { return {nanoseconds}; }

struct ModelChunk {
  uint32_t space = 0;
  KeyHash key;
  uint32_t depth = 0;
  std::optional<ChunkIndex> parent;  // only while both are linked
  uint32_t leases = 0;
  bool visible = false, pinned = false, doomed = false, touched = false;
  MonotonicTime last_use, expiry;
  std::vector<BlockIndex> blocks;
};

// Drives a catalog and the plainest possible twin through the same random operations.
class Twins {
 public:
  explicit Twins(uint64_t seed)
      : random_(seed),
        catalog_(random_.Next(), seed % 2 == 0 ? OrderKind::kLearned : OrderKind::kLru) {}

  void Step() {
    now_.nanoseconds += static_cast<int64_t>(random_.Below(3));
    switch (random_.Below(14)) {
      case 0:
      case 1:
      case 2:
        return Insert();
      case 3:
        return AddBlock();
      case 4:
        return WithLinked([this](ChunkIndex chunk) {
          catalog_.SetVisible(chunk);
          chunks_[chunk].visible = true;
        });
      case 5:
        return WithLinked([this](ChunkIndex chunk) { SetExpiry(chunk); });
      case 6:
      case 7:
        return WithLinked([this](ChunkIndex chunk) {
          catalog_.Touch(chunk, now_);
          chunks_[chunk].touched = true;
          chunks_[chunk].last_use = now_;
        });
      case 8:
        return WithLinked([this](ChunkIndex chunk) {
          catalog_.AddLease(chunk);
          ++chunks_[chunk].leases;
        });
      case 9:
        return DropLease();
      case 10:
        return WithLinked([this](ChunkIndex chunk) {
          chunks_[chunk].pinned = random_.Below(3) == 0;
          catalog_.SetPinned(chunk, chunks_[chunk].pinned);
        });
      case 11:
        return WithLinked([this](ChunkIndex chunk) { Unlink(chunk); });
      case 12:
        return Evict();
      case 13:
        return LinkParent();
    }
  }

  void Check() {
    size_t linked = 0;
    MonotonicTime first_expiry;
    for (const auto& [index, model] : chunks_) {
      const Chunk& chunk = catalog_.chunk(index);
      SCOPED_TRACE(absl::StrCat("chunk ", index));
      EXPECT_EQ(chunk.key, model.key);
      EXPECT_EQ(chunk.space, model.space);
      EXPECT_EQ(chunk.leases, model.leases);
      EXPECT_EQ(chunk.expiry, model.expiry);
      EXPECT_EQ(BlocksOf(index), model.blocks);
      if (model.doomed) {
        EXPECT_EQ(chunk.state, Chunk::State::kDoomed);
        EXPECT_NE(catalog_.Find(model.space, model.key), index);
        continue;
      }
      ++linked;
      EXPECT_EQ(chunk.state, model.visible ? Chunk::State::kVisible : Chunk::State::kPartial);
      EXPECT_EQ(catalog_.Find(model.space, model.key), index);
      EXPECT_EQ(chunk.children, ChildrenOf(index));
      EXPECT_EQ(chunk.pinned, model.pinned);
      EXPECT_EQ(chunk.last_use, ToTicks(model.last_use));
      const MonotonicTime expiry = model.expiry;
      if (expiry > At(0) && (first_expiry == At(0) || expiry < first_expiry)) first_expiry = expiry;
    }
    EXPECT_EQ(catalog_.chunk_count(), linked);
    const ChunkIndex expired = catalog_.FirstExpired(now_);
    if (first_expiry == At(0) || first_expiry > now_) {
      EXPECT_EQ(expired, kNoChunk);
    } else {
      ASSERT_NE(expired, kNoChunk);
      EXPECT_EQ(chunks_.at(expired).expiry, first_expiry);
    }
    CheckPrefix();
  }

  // With nothing in its way, every touched chunk goes in the end, each after its children.
  void EvictEverything() {
    for (auto& [index, model] : chunks_) {
      if (!model.doomed && model.pinned) catalog_.SetPinned(index, model.pinned = false);
    }
    while (true) {
      const auto leased = std::find_if(chunks_.begin(), chunks_.end(),
                                       [](const auto& entry) { return entry.second.leases > 0; });
      if (leased == chunks_.end()) break;
      DropLeaseOf(leased->first);
    }
    for (auto& [index, model] : chunks_) {
      if (!model.touched) catalog_.Touch(index, now_);
      model.touched = true;
    }
    while (!chunks_.empty() && !testing::Test::HasFailure()) {
      const size_t before = chunks_.size();
      Evict();
      ASSERT_EQ(chunks_.size(), before - 1);
    }
    EXPECT_EQ(catalog_.chunk_count(), 0u);
    EXPECT_EQ(catalog_.Victim(0, now_, kManyLooks), kNoChunk);
  }

 private:
  void WithLinked(const std::function<void(ChunkIndex)>& action) {
    std::vector<ChunkIndex> linked;
    for (const auto& [index, model] : chunks_) {
      if (!model.doomed) linked.push_back(index);
    }
    if (!linked.empty()) action(linked[random_.Below(linked.size())]);
  }

  void Insert() {
    const auto space = static_cast<uint32_t>(random_.Below(2));
    const KeyHash key = Key(1 + random_.Below(40));
    const ChunkIndex known = catalog_.Find(space, key);
    ASSERT_EQ(known, ModelFind(space, key));
    if (known != kNoChunk) return;
    const KeyHash parent = random_.Below(4) == 0 ? KeyHash{} : Key(1 + random_.Below(40));
    const auto depth = static_cast<uint32_t>(random_.Below(5));
    const ChunkTraits traits{.key = Catalog::PolicyKey(space, key), .depth = depth};
    const ChunkIndex index = catalog_.Insert(space, key, parent, traits, now_);
    ASSERT_FALSE(chunks_.contains(index)) << "an index in use was given out again";
    ModelChunk& model = chunks_[index];
    model.space = space;
    model.key = key;
    model.depth = depth;
    model.last_use = now_;
    ModelLink(model, parent);
  }

  void LinkParent() {
    WithLinked([this](ChunkIndex chunk) {
      ModelChunk& model = chunks_[chunk];
      if (catalog_.chunk(chunk).parent != kNoChunk) return;
      const KeyHash parent = Key(1 + random_.Below(40));
      catalog_.LinkParent(chunk, parent);
      ModelLink(model, parent);
    });
  }

  void ModelLink(ModelChunk& model, const KeyHash& parent) {
    if (parent.IsZero()) return;
    const ChunkIndex index = ModelFind(model.space, parent);
    if (index != kNoChunk && chunks_[index].depth < model.depth) model.parent = index;
  }

  void AddBlock() {
    WithLinked([this](ChunkIndex chunk) {
      const BlockIndex block = next_block_++;
      catalog_.AddBlock(chunk, block);
      chunks_[chunk].blocks.insert(chunks_[chunk].blocks.begin(), block);
    });
  }

  void SetExpiry(ChunkIndex chunk) {
    const MonotonicTime expiry =
        random_.Below(3) == 0 ? At(0)
                              : At(now_.nanoseconds + 1 + static_cast<int64_t>(random_.Below(50)));
    catalog_.SetExpiry(chunk, expiry);
    chunks_[chunk].expiry = expiry;
  }

  void DropLease() {
    std::vector<ChunkIndex> leased;
    for (const auto& [index, model] : chunks_) {
      if (model.leases > 0) leased.push_back(index);
    }
    if (!leased.empty()) DropLeaseOf(leased[random_.Below(leased.size())]);
  }

  void DropLeaseOf(ChunkIndex chunk) {
    ModelChunk& model = chunks_[chunk];
    --model.leases;
    const bool last_of_doomed = model.doomed && model.leases == 0;
    ASSERT_EQ(catalog_.DropLease(chunk), last_of_doomed);
    if (last_of_doomed) Erase(chunk);
  }

  void Unlink(ChunkIndex chunk) {
    ModelChunk& model = chunks_[chunk];
    const bool at_once = model.leases == 0;
    ASSERT_EQ(catalog_.Unlink(chunk), at_once);
    model.parent.reset();
    model.expiry = {};
    model.doomed = !at_once;
    if (at_once) Erase(chunk);
  }

  void Erase(ChunkIndex chunk) {
    catalog_.Erase(chunk);
    chunks_.erase(chunk);
    for (auto& [index, model] : chunks_) {
      if (model.parent == chunk) model.parent.reset();
    }
  }

  void Evict() {
    const ChunkIndex victim = catalog_.Victim(0, now_, kManyLooks);
    if (victim == kNoChunk) {
      for (const auto& [index, model] : chunks_) EXPECT_FALSE(MayGo(index, model)) << index;
      return;
    }
    ASSERT_TRUE(chunks_.contains(victim));
    EXPECT_TRUE(MayGo(victim, chunks_[victim]));
    Unlink(victim);
  }

  bool MayGo(ChunkIndex index, const ModelChunk& model) const {
    return !model.doomed && model.touched && !model.pinned && model.leases == 0 &&
           ChildrenOf(index) == 0;
  }

  uint32_t ChildrenOf(ChunkIndex parent) const {
    return static_cast<uint32_t>(
        std::count_if(chunks_.begin(), chunks_.end(),
                      [parent](const auto& entry) { return entry.second.parent == parent; }));
  }

  ChunkIndex ModelFind(uint32_t space, const KeyHash& key) const {
    for (const auto& [index, model] : chunks_) {
      if (!model.doomed && model.space == space && model.key == key) return index;
    }
    return kNoChunk;
  }

  std::vector<BlockIndex> BlocksOf(ChunkIndex chunk) const {
    std::vector<BlockIndex> blocks;
    catalog_.ForEachBlock(chunk, [&](BlockIndex block) { blocks.push_back(block); });
    return blocks;
  }

  void CheckPrefix() {
    const auto space = static_cast<uint32_t>(random_.Below(2));
    std::vector<KeyHash> keys;
    std::vector<ChunkIndex> expected;
    bool broken = false;
    for (uint64_t i = random_.Below(40); i > 0; --i) {
      // Mostly keys that are there, so that prefixes are long.
      KeyHash key = Key(1 + random_.Below(40));
      for (int tries = 0; tries < 8 && !IsReadable(ModelFind(space, key)); ++tries) {
        key = Key(1 + random_.Below(40));
      }
      keys.push_back(key);
      const ChunkIndex index = ModelFind(space, key);
      broken = broken || !IsReadable(index);
      if (!broken) expected.push_back(index);
    }
    std::vector<ChunkIndex> found;
    catalog_.FindPrefix(space, keys, now_, &found);
    EXPECT_EQ(found, expected);
  }

  bool IsReadable(ChunkIndex index) const {
    if (index == kNoChunk) return false;
    const ModelChunk& model = chunks_.at(index);
    return model.visible && (model.expiry == At(0) || model.expiry > now_);
  }

  SeededRandom random_;
  Catalog catalog_;
  MonotonicTime now_ = At(1);
  BlockIndex next_block_ = 0;
  std::map<ChunkIndex, ModelChunk> chunks_;
};

TEST(CatalogTest, RandomOperationsMatchAModel) {
  for (uint64_t seed = 1; seed <= 400; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    Twins twins(seed);
    for (int step = 0; step < 250 && !testing::Test::HasFailure(); ++step) {
      SCOPED_TRACE(absl::StrCat("step ", step));
      twins.Step();
      twins.Check();
    }
    twins.EvictEverything();
    if (testing::Test::HasFailure()) return;
  }
}

class CatalogScenarioTest : public testing::Test {
 protected:
  // A visible chunk that was used at `time`.
  ChunkIndex Add(uint64_t key, uint64_t parent, uint32_t depth, int64_t time) {
    now_ = At(time);
    const ChunkTraits traits{.key = Catalog::PolicyKey(0, Key(key)), .depth = depth};
    const ChunkIndex chunk =
        catalog_.Insert(0, Key(key), parent == 0 ? KeyHash{} : Key(parent), traits, now_);
    catalog_.SetVisible(chunk);
    catalog_.Touch(chunk, At(time));
    return chunk;
  }

  std::vector<ChunkIndex> EvictAll() {
    std::vector<ChunkIndex> order;
    for (ChunkIndex victim = catalog_.Victim(0, now_, kManyLooks); victim != kNoChunk;
         victim = catalog_.Victim(0, now_, kManyLooks)) {
      order.push_back(victim);
      EXPECT_TRUE(catalog_.Unlink(victim));
      catalog_.Erase(victim);
    }
    return order;
  }

  Catalog catalog_{1};
  MonotonicTime now_;
};

TEST_F(CatalogScenarioTest, ChunksWithoutTiesLeaveInOrderOfUse) {
  std::vector<ChunkIndex> chunks;
  for (int i = 1; i <= 5; ++i) chunks.push_back(Add(i, 0, 0, i));
  catalog_.Touch(chunks[0], At(10));
  EXPECT_EQ(EvictAll(),
            (std::vector<ChunkIndex>{chunks[1], chunks[2], chunks[3], chunks[4], chunks[0]}));
}

TEST_F(CatalogScenarioTest, LeavesLeaveBeforeParentsWhateverTheOrderOfUse) {
  const ChunkIndex root = Add(1, 0, 0, 1);
  const ChunkIndex middle = Add(2, 1, 1, 2);
  const ChunkIndex leaf = Add(3, 2, 2, 3);
  const ChunkIndex other = Add(4, 0, 0, 4);
  EXPECT_EQ(EvictAll(), (std::vector<ChunkIndex>{leaf, middle, root, other}));
}

TEST_F(CatalogScenarioTest, AVictimIsFoundInBoundedSteps) {
  for (uint64_t key = 1; key <= 10; ++key) catalog_.SetPinned(Add(key, 0, 0, 1), true);
  const ChunkIndex free = Add(11, 0, 0, 2);
  EXPECT_EQ(catalog_.Victim(0, now_, 4), kNoChunk);
  EXPECT_EQ(catalog_.Victim(0, now_, 4), kNoChunk);
  EXPECT_EQ(catalog_.Victim(0, now_, 4), free);  // what was passed over is not looked at again
}

TEST_F(CatalogScenarioTest, AnUnpinnedChunkIsAVictimAgain) {
  const ChunkIndex pinned = Add(1, 0, 0, 1);
  catalog_.SetPinned(pinned, true);
  const ChunkIndex other = Add(2, 0, 0, 2);
  EXPECT_EQ(catalog_.Victim(0, now_, kManyLooks), other);
  catalog_.SetPinned(pinned, false);
  EXPECT_EQ(catalog_.Victim(0, now_, kManyLooks), pinned);
}

TEST_F(CatalogScenarioTest, ParentsThatAreNotShallowerAreNotLinked) {
  const ChunkIndex a = Add(1, 0, 3, 1);
  const ChunkIndex b = Add(2, 1, 3, 2);
  EXPECT_EQ(catalog_.chunk(a).children, 0u);
  EXPECT_EQ(catalog_.chunk(b).parent, kNoChunk);
  const ChunkIndex itself = Add(3, 3, 7, 3);
  catalog_.LinkParent(itself, Key(3));
  EXPECT_EQ(catalog_.chunk(itself).children, 0u);
  EXPECT_EQ(EvictAll().size(), 3u);
}

TEST_F(CatalogScenarioTest, AReusedIndexIsNotTakenForTheParentThatHadIt) {
  const ChunkIndex parent = Add(1, 0, 0, 1);
  const ChunkIndex child = Add(2, 1, 1, 2);
  ASSERT_TRUE(catalog_.Unlink(parent));
  catalog_.Erase(parent);
  const ChunkIndex stranger = Add(9, 0, 0, 3);
  ASSERT_EQ(stranger, parent);
  const ChunkIndex its_child = Add(10, 9, 1, 4);
  EXPECT_EQ(catalog_.chunk(stranger).children, 1u);
  ASSERT_TRUE(catalog_.Unlink(child));  // must not be counted as the stranger's
  catalog_.Erase(child);
  EXPECT_EQ(catalog_.chunk(stranger).children, 1u);
  EXPECT_EQ(EvictAll(), (std::vector<ChunkIndex>{its_child, stranger}));
}

}  // namespace
}  // namespace larder
