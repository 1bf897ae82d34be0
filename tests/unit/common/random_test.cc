#include "common/random.h"

#include <gtest/gtest.h>

#include <array>
#include <set>

namespace larder {
namespace {

// Expected values: an independent transcription to Python of the authors' reference code
// (prng.di.unimi.it, xoshiro256starstar.c seeded with four outputs of splitmix64.c).
TEST(RandomTest, SeededSequenceIsXoshiro256StarStar) {
  constexpr std::array<uint64_t, 5> kOfZero = {0x99ec5f36cb75f2b4u, 0xbf6e1f784956452au,
                                               0x1a5f849d4933e6e0u, 0x6aa594f1262d2d2cu,
                                               0xbba5ad4a1f842e59u};
  constexpr std::array<uint64_t, 5> kOf42 = {0x15780b2e0c2ec716u, 0x6104d9866d113a7eu,
                                             0xae17533239e499a1u, 0xecb8ad4703b360a1u,
                                             0xfde6dc7fe2ec5e64u};
  SeededRandom of_zero(0), of_42(42);
  for (const uint64_t expected : kOfZero) EXPECT_EQ(of_zero.Next(), expected);
  for (const uint64_t expected : kOf42) EXPECT_EQ(of_42.Next(), expected);
}

// Answers one fixed word, to try the ends of the ranges.
class FixedRandom final : public Random {
 public:
  explicit FixedRandom(uint64_t word) : word_(word) {}
  uint64_t Next() override { return word_; }

 private:
  const uint64_t word_;
};

TEST(RandomTest, BelowStaysBelowAtBothEnds) {
  FixedRandom smallest(0), largest(~uint64_t{0});
  for (const uint64_t bound : {uint64_t{1}, uint64_t{2}, uint64_t{10}, ~uint64_t{0}}) {
    EXPECT_EQ(smallest.Below(bound), 0u);
    EXPECT_EQ(largest.Below(bound), bound - 1);
  }
}

TEST(RandomTest, UnitStaysBelowOne) {
  FixedRandom smallest(0), largest(~uint64_t{0});
  EXPECT_EQ(smallest.Unit(), 0.0);
  EXPECT_LT(largest.Unit(), 1.0);
  EXPECT_GT(largest.Unit(), 0.999999);
}

TEST(RandomTest, BelowIsUniform) {
  constexpr uint64_t kSeed = 3;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  constexpr int kDraws = 100'000;
  SeededRandom random(kSeed);
  std::array<int, 10> counts{};
  for (int i = 0; i < kDraws; ++i) ++counts[random.Below(counts.size())];
  // Five standard deviations of a binomial count around its mean.
  for (const int count : counts) EXPECT_NEAR(count, kDraws / 10.0, 475);
}

TEST(RandomTest, SystemRandomDoesNotRepeat) {
  SystemRandom random;
  std::set<uint64_t> seen;
  for (int i = 0; i < 1000; ++i) seen.insert(random.Next());
  EXPECT_EQ(seen.size(), 1000u);
}

}  // namespace
}  // namespace larder
