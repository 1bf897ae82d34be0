#include "storage/policy/tenant_shares.h"

#include <gtest/gtest.h>

#include <vector>

#include "common/random.h"

namespace larder {
namespace {

using Groups = std::vector<size_t>;

TEST(TenantSharesTest, WhoIsFurthestAboveItsGuaranteeGivesFirst) {
  TenantShares shares(100, std::vector<TierLimits>{{.guaranteed = 30}, {.guaranteed = 10}});
  shares.Add(0, 20);
  shares.Add(1, 60);
  shares.Add(2, 20);
  EXPECT_EQ(shares.Donors(0), (Groups{1, 0, 2}));
  shares.Subtract(1, 30);
  EXPECT_EQ(shares.Donors(0), (Groups{0, 2})) << "what is guaranteed is not taken";
  EXPECT_EQ(shares.Donors(1), (Groups{0, 2, 1})) << "but by oneself";
}

TEST(TenantSharesTest, ACeilingIsACeiling) {
  TenantShares shares(100, std::vector<TierLimits>{{.guaranteed = 10, .ceiling = 40}});
  EXPECT_TRUE(shares.Fits(1, 40));
  EXPECT_FALSE(shares.Fits(1, 41));
  shares.Add(1, 39);
  EXPECT_FALSE(shares.Fits(1, 2));
  EXPECT_FALSE(shares.Fits(1, ~uint64_t{0})) << "no overflow";
  EXPECT_TRUE(shares.Fits(0, 1000)) << "the others have none";
}

TEST(TenantSharesTest, HintsAndPinsAreSharesOfWhatOneIsSureOf) {
  const TenantShares shares(
      100, std::vector<TierLimits>{{.guaranteed = 30}, {.guaranteed = 0, .ceiling = 20}});
  EXPECT_EQ(shares.ShareBytes(1), 30u);
  EXPECT_EQ(shares.ShareBytes(2), 20u);
  EXPECT_EQ(shares.ShareBytes(0), 70u);
}

// Whoever asks, whatever is taken: none falls below its guarantee through another's request, and in
// the end those above have equal surplus.
TEST(TenantSharesTest, UnderPressureSurplusesBecomeEqual) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    SeededRandom random(seed);
    constexpr uint64_t kCapacity = 1000;
    const std::vector<TierLimits> limits{{.guaranteed = random.Below(300)},
                                         {.guaranteed = random.Below(300)},
                                         {.guaranteed = random.Below(300)}};
    TenantShares shares(kCapacity, limits);
    uint64_t used = 0;
    for (int step = 0; step < 30'000; ++step) {
      const size_t group = random.Below(4);
      if (used == kCapacity) {
        const size_t donor = shares.Donors(group).front();
        if (donor != group) {
          ASSERT_GT(shares.used_bytes(donor), shares.limits(donor).guaranteed);
        }
        shares.Subtract(donor, 1);
        --used;
      }
      shares.Add(group, 1);
      ++used;
    }
    const auto surplus = [&](size_t group) {
      return shares.used_bytes(group) - shares.limits(group).guaranteed;
    };
    for (size_t group = 1; group < 4; ++group) {
      EXPECT_NEAR(static_cast<double>(surplus(group)), static_cast<double>(surplus(0)), 2.5);
    }
  }
}

}  // namespace
}  // namespace larder
