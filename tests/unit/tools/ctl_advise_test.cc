#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tools/ctl/advise.h"

namespace larder {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

v1::TierInsight TierOf(uint64_t bytes, double found, double lru) {
  v1::TierInsight tier;
  tier.set_capacity_bytes(bytes);
  tier.set_found_ratio(found);
  tier.set_lru_hit_ratio(lru);
  tier.set_filled(true);
  tier.set_sample_rate(1.0 / 16);
  tier.set_sampled_uses(1e5);
  for (const double factor : {0.75, 1.0, 1.25, 4.0}) {
    v1::CapacityInsight* point = tier.add_lru_curve();
    point->set_capacity_bytes(static_cast<uint64_t>(factor * static_cast<double>(bytes)));
    point->set_hit_ratio(lru + (factor - 1) / 10);
  }
  return tier;
}

v1::InsightResponse Typical() {
  v1::InsightResponse insight;
  insight.set_observed_ms(3 * 3600 * 1000);
  insight.set_half_life_ms(3600 * 1000);
  insight.set_uses(1.6e6);
  insight.set_unlimited_hit_ratio(0.962);
  insight.set_first_use_ratio(0.038);
  *insight.add_tiers() = TierOf(uint64_t{64} << 30, 0.58, 0.582);
  const auto add = [&](const char* policy, double factor, double hits) {
    v1::PolicyInsight* one = insight.add_policies();
    one->set_policy(policy);
    one->set_capacity_factor(factor);
    one->set_hit_ratio(hits);
  };
  add("larder", 0.75, 0.56);
  add("larder", 1, 0.594);
  add("larder", 1.25, 0.625);
  add("s3fifo", 1, 0.592);
  add("lru", 0.75, 0.555);
  add("lru", 1, 0.582);
  add("lru", 1.25, 0.609);
  v1::ReuseAge* soon = insight.add_reuse_ages();
  soon->set_below_ms(40'000);
  soon->set_ratio(0.6);
  v1::ReuseAge* later = insight.add_reuse_ages();
  later->set_from_ms(40'000);
  later->set_below_ms(540'000);
  later->set_ratio(0.36);
  return insight;
}

TEST(CtlAdvise, SaysWhatItIsWorth) {
  EXPECT_THAT(
      Advice(Typical()),
      ElementsAre("An infinite cache would have hit 96.2%, 58.0% were found.",
                  "In memory of this size, Larder's policy would have had 59.4%.",
                  "LRU would have hit 1.2 points less.", "S3-FIFO would have hit about as often.",
                  "+25% memory (80.0 GiB): +3.1 points; with LRU +2.7 points.",
                  "-25% memory (48.0 GiB): -3.4 points; with LRU -2.7 points.",
                  "A disk of 256 GiB would bring +30.0 points, with LRU."));
}

TEST(CtlAdvise, ShowsTheFiguresBehindIt) {
  const std::string text = AdviseText(Typical());
  EXPECT_THAT(text, HasSubstr("3 h 00 min, what is older by 1 h 00 min counts half"));
  EXPECT_THAT(text, HasSubstr("1,600,000 chunks, 3.8% for the first time"));
  EXPECT_THAT(text, HasSubstr("1 in 16 chunks"));
  EXPECT_THAT(text, HasSubstr("64.0 GiB, found 58.0%"));
  EXPECT_THAT(text, HasSubstr("half within 40.0 s, nine tenths within 9 min 00 s"));
  EXPECT_THAT(text, HasSubstr("LRU would have hit 1.2 points less.\n"));
  EXPECT_THAT(text, Not(HasSubstr("TENANT")));
}

TEST(CtlAdvise, ADiskThatIsThere) {
  v1::InsightResponse insight = Typical();
  *insight.add_tiers() = TierOf(uint64_t{1} << 40, 0.81, 0.8);
  EXPECT_THAT(Advice(insight), Contains("The disk brought +23.0 points."));
  EXPECT_THAT(Advice(insight), Contains("+25% memory and disk: +2.5 points, with LRU."));
  insight.mutable_tiers(1)->set_filled(false);
  EXPECT_THAT(Advice(insight).back(), HasSubstr("fits in memory and disk"));
  EXPECT_THAT(AdviseText(insight), HasSubstr("1.00 TiB, found 81.0%"));
}

TEST(CtlAdvise, SaysWhenTooLittleWasSeen) {
  EXPECT_THAT(Advice(v1::InsightResponse()), ElementsAre(HasSubstr("Nothing was asked for")));
  v1::InsightResponse insight = Typical();
  insight.mutable_tiers(0)->set_sampled_uses(150);
  EXPECT_THAT(Advice(insight),
              ElementsAre("Too little was seen to say anything: 150 chunks asked for are in the "
                          "sample, and it takes 2,000."));
  insight = Typical();
  insight.mutable_tiers(0)->set_filled(false);
  EXPECT_THAT(Advice(insight), ElementsAre(HasSubstr("infinite"), HasSubstr("fits in memory")));
}

TEST(CtlAdvise, Tenants) {
  v1::InsightResponse insight = Typical();
  for (const char* name : {"small", "large\x1b[2J"}) {
    v1::TenantInsight* tenant = insight.add_tenants();
    tenant->set_tenant(name);
    tenant->set_use_ratio(insight.tenants_size() == 1 ? 0.1 : 0.9);
    tenant->set_found_ratio(0.5);
    tenant->set_unlimited_hit_ratio(0.77);
    tenant->set_bytes_for_most_hits(uint64_t{12} << 30);
    tenant->set_sampled_uses(insight.tenants_size() == 1 ? 10 : 1e4);
  }
  const std::string text = AdviseText(insight);
  EXPECT_THAT(text, HasSubstr("large?[2J      90.0%  50.0%            77.0%           12.0 GiB"));
  EXPECT_THAT(text, HasSubstr("too little seen"));
  EXPECT_LT(text.find("large"), text.find("small"));
}

}  // namespace
}  // namespace larder
