#include "storage/catalog/hash_index.h"

#include <cstdint>
#include <map>
#include <set>

#include "common/random.h"
#include "gtest/gtest.h"

namespace larder {
namespace {

using Model = std::map<uint32_t, std::set<uint32_t>>;  // values by tag

// Everything in the model is found, and what Find offers under a tag is exactly the model's.
void ExpectEqual(const HashIndex& index, const Model& model) {
  size_t size = 0;
  for (const auto& [tag, values] : model) {
    std::set<uint32_t> offered;
    EXPECT_EQ(index.Find(tag,
                         [&offered](uint32_t value) {
                           EXPECT_TRUE(offered.insert(value).second) << "twice: " << value;
                           return false;
                         }),
              HashIndex::kNone);
    EXPECT_EQ(offered, values) << "tag " << tag;
    size += values.size();
  }
  EXPECT_EQ(index.size(), size);
}

// Tags from a few clusters, one of which wraps around the end of the table: long runs, where
// erasing is hard.
uint32_t ClusteredTag(Random& random) {
  constexpr uint32_t kClusters[] = {0, 0x80000000u, 0xffff0000u, 0xfffffff0u};
  const uint32_t base = kClusters[random.Below(4)];
  return base + static_cast<uint32_t>(random.Below(random.Below(2) == 0 ? 4 : 0x8000));
}

TEST(HashIndexTest, RandomOperationsOnCollidingTagsMatchAModel) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    SeededRandom random(seed);
    HashIndex index(random.Next());
    Model model;
    uint32_t next_value = 0;
    const uint64_t erase_per_ten = random.Below(7);
    for (int step = 0; step < 300; ++step) {
      if (random.Below(10) >= erase_per_ten || model.empty()) {
        const uint32_t tag = ClusteredTag(random);
        index.Insert(tag, next_value);
        model[tag].insert(next_value++);
      } else {
        auto at = model.lower_bound(ClusteredTag(random));
        if (at == model.end()) at = model.begin();
        const uint32_t value = *at->second.begin();
        index.Erase(at->first, value);
        at->second.erase(value);
        if (at->second.empty()) model.erase(at);
      }
      if (step % 16 == 0) ExpectEqual(index, model);
      if (testing::Test::HasFailure()) return;
    }
    ExpectEqual(index, model);
  }
}

TEST(HashIndexTest, GrowsFarBeyondItsFirstSizeAndEmptiesAgain) {
  SeededRandom random(7);
  HashIndex index(random.Next());
  std::map<uint32_t, KeyHash> keys;
  for (uint32_t value = 0; value < 50'000; ++value) {
    keys[value] = {random.Next(), random.Next()};
    index.Insert(index.TagOf(value % 3, keys[value]), value);
  }
  EXPECT_EQ(index.size(), 50'000u);
  for (const auto& [value, key] : keys) {
    const uint32_t wanted = value;
    EXPECT_EQ(index.Find(index.TagOf(value % 3, key),
                         [wanted](uint32_t candidate) { return candidate == wanted; }),
              value);
  }
  for (const auto& [value, key] : keys) index.Erase(index.TagOf(value % 3, key), value);
  EXPECT_EQ(index.size(), 0u);
  for (const auto& [value, key] : keys) {
    EXPECT_EQ(index.Find(index.TagOf(value % 3, key), [](uint32_t) { return true; }),
              HashIndex::kNone);
  }
}

TEST(HashIndexTest, TheLargestValueAndTagAreOrdinary) {
  HashIndex index(1);
  index.Insert(0xffffffffu, 0xfffffffeu);
  EXPECT_EQ(index.Find(0xffffffffu, [](uint32_t) { return true; }), 0xfffffffeu);
  index.Erase(0xffffffffu, 0xfffffffeu);
  EXPECT_EQ(index.size(), 0u);
}

// What keeps chosen keys from meeting: the tag depends on seed, space and both halves of the key.
TEST(HashIndexTest, TagsDependOnEverything) {
  SeededRandom random(3);
  int equal = 0;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t seed = random.Next();
    const HashIndex index(seed);
    const HashIndex other(seed + 1);
    const KeyHash key{random.Next(), random.Next()};
    const uint32_t tag = index.TagOf(1, key);
    equal += tag == other.TagOf(1, key);
    equal += tag == index.TagOf(2, key);
    equal += tag == index.TagOf(1, {key.low + 1, key.high});
    equal += tag == index.TagOf(1, {key.low, key.high + 2});
    EXPECT_EQ(tag, HashIndex(seed).TagOf(1, key));
  }
  EXPECT_LE(equal, 1);  // 4,000 chances of one in 2^32
}

// Keys that differ only in a few low bits, as counters do, spread over the whole table.
TEST(HashIndexTest, SequentialKeysSpread) {
  const HashIndex index(0x123456789abcdefu);
  std::set<uint32_t> homes;
  for (uint64_t i = 0; i < 4096; ++i) homes.insert(index.TagOf(0, {i, 0}) >> 20);
  EXPECT_GT(homes.size(), 2000u);  // 4,096 random throws into 4,096 bins hit 2,589 of them
}

}  // namespace
}  // namespace larder
