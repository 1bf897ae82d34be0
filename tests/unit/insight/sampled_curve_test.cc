#include "storage/insight/sampled_curve.h"

#include <gtest/gtest.h>

#include <cmath>
#include <list>
#include <unordered_map>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/random.h"

namespace larder {
namespace {

constexpr uint64_t kChunkBytes = 1 << 20;

uint64_t Spread(uint64_t key) { return SeededRandom(key).Next(); }

// A cache of equal chunks in least-recently-used order, that counts a chunk as hit with all before
// it.
class PlainCache {
 public:
  explicit PlainCache(size_t chunks_max) : chunks_max_(chunks_max) {}

  void Serve(const std::vector<uint64_t>& keys) {
    size_t hits = 0;
    while (hits < keys.size() && where_.count(keys[hits]) != 0) ++hits;
    hits_ += hits;
    uses_ += keys.size();
    for (size_t i = keys.size(); i-- > 0;) {
      if (const auto found = where_.find(keys[i]); found != where_.end())
        order_.erase(found->second);
      order_.push_front(keys[i]);
      where_[keys[i]] = order_.begin();
      if (order_.size() > chunks_max_) {
        where_.erase(order_.back());
        order_.pop_back();
      }
    }
  }
  double hit_ratio() const { return static_cast<double>(hits_) / static_cast<double>(uses_); }

 private:
  const size_t chunks_max_;
  std::list<uint64_t> order_;  // newest first
  std::unordered_map<uint64_t, std::list<uint64_t>::iterator> where_;
  size_t hits_ = 0, uses_ = 0;
};

// Prefixes with common beginnings: of `trees`, some of which are far more wanted than others.
std::vector<uint64_t> RandomPrefix(uint64_t trees, SeededRandom& random) {
  const double unit = random.Unit();
  const auto tree = static_cast<uint64_t>(unit * unit * unit * static_cast<double>(trees));
  const uint64_t branch = random.Below(4);
  const uint64_t length = 1 + random.Below(12);
  std::vector<uint64_t> keys;
  for (uint64_t depth = 0; depth < length; ++depth) {
    keys.push_back((tree * 4 + (depth < 4 ? 0 : branch)) * 16 + depth);
  }
  return keys;
}

void Feed(SampledCurve& curve, const std::vector<uint64_t>& keys,
          uint64_t chunk_bytes = kChunkBytes, PolicyTicks now = 0, uint32_t* forgotten = nullptr) {
  std::vector<SampledChunk> chunks;
  for (size_t i = 0; i < keys.size(); ++i) {
    chunks.push_back({.hash = Spread(keys[i]),
                      .bytes = chunk_bytes,
                      .recompute_cost = 1,
                      .depth = static_cast<uint32_t>(i),
                      .category = 0});
  }
  curve.Begin(keys.size(), keys.size() * chunk_bytes, &chunks, [forgotten](uint32_t) {
    if (forgotten != nullptr) ++*forgotten;
  });
  curve.Use(chunks, now);
}

TEST(SampledCurveTest, IsExactWhenAllChunksAreInTheSample) {
  for (const uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    SampledCurve curve(1 << 14, 100 * kChunkBytes);
    PlainCache small(16), large(256);
    for (int i = 0; i < 4000; ++i) {
      const std::vector<uint64_t> keys = RandomPrefix(100, random);
      Feed(curve, keys);
      small.Serve(keys);
      large.Serve(keys);
    }
    EXPECT_EQ(curve.rate(), 1);
    // Powers of two are the ends of buckets.
    EXPECT_NEAR(curve.HitRatio(16 * kChunkBytes), small.hit_ratio(), 1e-9);
    EXPECT_NEAR(curve.HitRatio(256 * kChunkBytes), large.hit_ratio(), 1e-9);
    EXPECT_GT(large.hit_ratio(), small.hit_ratio());
  }
}

TEST(SampledCurveTest, ASmallSampleIsNearTheTruth) {
  for (const uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    SampledCurve curve(1 << 12, 4096 * kChunkBytes);
    PlainCache half(2048), one(4096), twice(8192);
    uint32_t forgotten = 0;
    for (int i = 0; i < 60'000; ++i) {
      const std::vector<uint64_t> keys = RandomPrefix(6000, random);
      Feed(curve, keys, kChunkBytes, 0, &forgotten);
      for (PlainCache* cache : {&half, &one, &twice}) cache->Serve(keys);
    }
    EXPECT_LT(curve.rate(), 0.2);
    EXPECT_GT(forgotten, 4096u);
    EXPECT_NEAR(curve.HitRatio(2048 * kChunkBytes), half.hit_ratio(), 0.02);
    EXPECT_NEAR(curve.HitRatio(4096 * kChunkBytes), one.hit_ratio(), 0.02);
    EXPECT_NEAR(curve.HitRatio(8192 * kChunkBytes), twice.hit_ratio(), 0.02);
    EXPECT_GT(twice.hit_ratio(), half.hit_ratio() + 0.05);
    EXPECT_LE(curve.HitRatio(1e15), curve.UnlimitedHitRatio());
    EXPECT_TRUE(curve.Fills(8192 * kChunkBytes));
  }
}

TEST(SampledCurveTest, NothingSeenIsNoHit) {
  const SampledCurve curve(16, 100);
  EXPECT_EQ(curve.HitRatio(1e9), 0);
  EXPECT_EQ(curve.UnlimitedHitRatio(), 0);
  EXPECT_FALSE(curve.Fills(1));
}

TEST(SampledCurveTest, FadingFollowsTheLoad) {
  SampledCurve curve(1 << 12, 64 * kChunkBytes);
  uint64_t fresh = 1000;
  for (int i = 0; i < 1000; ++i) Feed(curve, {1, 2, 3, 4});
  EXPECT_GT(curve.HitRatio(64 * kChunkBytes), 0.99);
  for (int i = 0; i < 10; ++i) EXPECT_FALSE(curve.Fade(0.5, [](uint32_t) {}));
  for (int i = 0; i < 1000; ++i) Feed(curve, {++fresh});
  EXPECT_LT(curve.HitRatio(64 * kChunkBytes), 0.01);
  EXPECT_LT(curve.UnlimitedHitRatio(), 0.01);
}

TEST(SampledCurveTest, MuchLargerChunksStartItAnew) {
  // Tiny chunks by the thousand thin the sample far too much for the large ones after them.
  SampledCurve curve(1 << 8, 1000 * kChunkBytes);
  for (uint64_t key = 0; key < 200'000; ++key) Feed(curve, {key}, kChunkBytes / 4096);
  EXPECT_LT(curve.rate(), 0.002);
  uint32_t forgotten = 0;
  const auto forget = [&](uint32_t) { ++forgotten; };
  EXPECT_FALSE(curve.Fade(1e-6, forget));
  for (uint64_t key = 0; key < 2000; ++key) Feed(curve, {key % 100}, kChunkBytes);
  EXPECT_TRUE(curve.Fade(1, forget));
  EXPECT_GT(forgotten, 0u);
  EXPECT_EQ(curve.uses(), 0);
  for (uint64_t key = 0; key < 2000; ++key) Feed(curve, {key % 100}, kChunkBytes);
  EXPECT_EQ(curve.rate(), 1);
  EXPECT_NEAR(curve.HitRatio(1000 * kChunkBytes), 0.95, 1e-9);
}

TEST(SampledCurveTest, ALoadThatNeverFitsStartsItAnewEverMoreRarely) {
  // A few large chunks that are used all the time, and tiny ones that fill the sample.
  SampledCurve curve(1 << 8, 1000 * kChunkBytes);
  uint64_t fresh = 1000;
  int starts = 0;
  for (int fade = 0; fade < 200; ++fade) {
    for (int i = 0; i < 5000; ++i) {
      Feed(curve, {++fresh}, kChunkBytes / 4096);
      Feed(curve, {fresh % 10}, kChunkBytes);
    }
    if (curve.Fade(0.9, [](uint32_t) {})) ++starts;
  }
  EXPECT_GE(starts, 2);
  EXPECT_LE(starts, 4);
}

TEST(SampledCurveTest, RequestsLargerThanTheSample) {
  SampledCurve curve(64, 10 * kChunkBytes);
  std::vector<uint64_t> keys;
  for (uint64_t key = 0; key < 4096; ++key) keys.push_back(key);
  for (int i = 0; i < 3; ++i) Feed(curve, keys);
  EXPECT_LE(curve.rate(), 1.0 / 128);
  EXPECT_GT(curve.rate(), 1.0 / 256);
  // One chunk named again and again thins it no further.
  const double rate = curve.rate();
  for (uint64_t key = 0; key < 4096; ++key) Feed(curve, std::vector<uint64_t>(4096, key));
  EXPECT_GT(curve.rate(), rate / 4);
}

TEST(SampledCurveTest, ReuseAges) {
  SampledCurve curve(64, 10 * kChunkBytes);
  Feed(curve, {1, 2}, kChunkBytes, 0);
  Feed(curve, {1, 2}, kChunkBytes, 5000);
  Feed(curve, {1, 3}, kChunkBytes, 5010);
  EXPECT_EQ(curve.reuse_ages()[AgeBucketOf(5000)], 2);
  EXPECT_EQ(curve.reuse_ages()[0], 1);
  EXPECT_EQ(curve.first_uses(), 3);
}

}  // namespace
}  // namespace larder
