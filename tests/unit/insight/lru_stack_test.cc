#include "storage/insight/lru_stack.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "storage/insight/hit_curve.h"

namespace larder {
namespace {

// The same as a plain list, newest first.
class PlainStack {
 public:
  void Use(uint64_t key, uint64_t bytes) {
    Remove(key);
    keys_.emplace_front(key, bytes);
  }
  void Remove(uint64_t key) {
    keys_.remove_if([key](const auto& entry) { return entry.first == key; });
  }
  bool Contains(uint64_t key) const {
    return std::any_of(keys_.begin(), keys_.end(),
                       [key](const auto& entry) { return entry.first == key; });
  }
  uint64_t BytesSince(uint64_t key) const {
    uint64_t bytes = 0;
    for (const auto& entry : keys_) {
      if (entry.first == key) break;
      bytes += entry.second;
    }
    return bytes;
  }
  uint64_t oldest() const { return keys_.back().first; }
  size_t size() const { return keys_.size(); }

 private:
  std::list<std::pair<uint64_t, uint64_t>> keys_;
};

TEST(LruStackTest, IsThatOfAPlainList) {
  for (const uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    constexpr size_t kKeysMax = 40;
    LruStack stack(kKeysMax);
    PlainStack plain;
    for (PolicyTicks step = 0; step < 5000; ++step) {
      const uint64_t key = random.Below(60);
      const uint64_t bytes = 1 + random.Below(1000);
      const uint32_t slot = stack.Find(key);
      ASSERT_EQ(slot != LruStack::kNone, plain.Contains(key));
      if (slot == LruStack::kNone) {
        if (stack.size() == kKeysMax) {
          ASSERT_EQ(stack.key(stack.oldest()), plain.oldest());
          plain.Remove(stack.key(stack.oldest()));
          stack.Remove(stack.oldest());
        }
        ASSERT_LT(stack.Insert(key, bytes, step), kKeysMax);
        plain.Use(key, bytes);
      } else {
        ASSERT_EQ(stack.BytesSince(slot), plain.BytesSince(key));
        if (random.Below(10) == 0) {
          stack.Remove(slot);
          plain.Remove(key);
        } else {
          stack.Touch(slot, bytes, step);
          ASSERT_EQ(stack.last_use(slot), step);
          plain.Use(key, bytes);
        }
      }
      ASSERT_EQ(stack.size(), plain.size());
    }
  }
}

TEST(LruStackTest, CountsItsBytes) {
  LruStack stack(2);
  const uint32_t first = stack.Insert(7, 100, 0);
  const uint32_t second = stack.Insert(8, 1000, 0);
  EXPECT_EQ(stack.bytes(), 1100u);
  EXPECT_EQ(stack.BytesSince(first), 1000u);
  stack.Touch(first, 10, 1);
  EXPECT_EQ(stack.bytes(), 1010u);
  stack.Remove(second);
  EXPECT_EQ(stack.bytes(), 10u);
  EXPECT_FALSE(stack.in_use(second));
}

TEST(HitCurveTest, ReadsWhatWasAdded) {
  HitCurve curve;
  curve.Add(1e6, 2);
  curve.Add(1e9, 3);
  curve.Add(1e30, 1);  // more than any cache has
  EXPECT_EQ(curve.Within(0), 0);
  EXPECT_EQ(curve.Within(9e5), 0);
  EXPECT_EQ(curve.Within(1.1e6), 2);
  EXPECT_EQ(curve.Within(1.1e9), 5);
  EXPECT_EQ(curve.total(), 6);
  EXPECT_NEAR(curve.CapacityFor(2), 1e6, 5e4);
  EXPECT_NEAR(curve.CapacityFor(4), 1e9, 5e7);
  EXPECT_EQ(curve.CapacityFor(0), 0);
  curve.Fade(0.5);
  EXPECT_EQ(curve.Within(1.1e9), 2.5);
}

}  // namespace
}  // namespace larder
