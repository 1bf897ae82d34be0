#include "storage/insight/insight.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/random.h"

namespace larder {
namespace {

constexpr uint64_t kChunkBytes = 1 << 20;

std::vector<KeyHash> Keys(uint64_t first, size_t count) {
  std::vector<KeyHash> keys;
  for (size_t i = 0; i < count; ++i) keys.push_back({.low = first + i, .high = 1});
  return keys;
}

InsightRequest Request(const std::vector<KeyHash>& keys, uint32_t found = 0, uint32_t space = 0) {
  return {.space = space,
          .keys = keys,
          .chunk_bytes = kChunkBytes,
          .tokens_per_chunk = 256,
          .found_in_memory = found,
          .found = found};
}

MonotonicTime At(double seconds) { return {static_cast<int64_t>(seconds * 1e9)}; }

double Of(const InsightReport& report, absl::string_view policy, double factor = 1) {
  for (const PolicyInsight& insight : report.policies) {
    if (insight.policy == policy && insight.capacity_factor == factor) return insight.hit_ratio;
  }
  ADD_FAILURE() << "no " << policy << " at " << factor;
  return -1;
}

TEST(InsightTest, ALoopOfAFewChunks) {
  Insight insight({.memory_bytes = 100 * kChunkBytes});
  insight.AddSpace(0, "a");
  // 120 chunks in turn: too many for LRU at 100, not for one at 125.
  for (uint64_t i = 0; i < 12'000; ++i) {
    insight.OnRequest(Request(Keys(i % 120, 1)), At(static_cast<double>(i)));
  }
  const InsightReport report = insight.Report(At(12'000));
  ASSERT_EQ(report.tiers.size(), 1u);
  EXPECT_TRUE(report.tiers[0].filled);
  EXPECT_EQ(report.tiers[0].found_ratio, 0);
  EXPECT_LT(report.tiers[0].lru_hit_ratio, 0.01);
  EXPECT_LT(Of(report, "lru"), 0.01);
  EXPECT_GT(Of(report, "lru", 1.25), 0.98);
  EXPECT_GT(Of(report, "larder"), 0.15);
  EXPECT_GT(report.unlimited_hit_ratio, 0.98);
  EXPECT_NEAR(report.reuse_ages[AgeBucketOf(ToTicks(At(120)))], 1, 0.02);
  EXPECT_EQ(report.observed, absl::Seconds(12'000));
}

TEST(InsightTest, NothingSeen) {
  Insight insight({.memory_bytes = kChunkBytes});
  const InsightReport report = insight.Report(At(1));
  EXPECT_EQ(report.uses, 0);
  EXPECT_TRUE(report.tiers.empty());
  EXPECT_TRUE(report.tenants.empty());
}

TEST(InsightTest, BothTiersAndWhatWasFound) {
  Insight insight({.memory_bytes = 10 * kChunkBytes});
  insight.SetDiskBytes(90 * kChunkBytes);
  insight.AddSpace(0, "a");
  InsightRequest request;
  for (uint64_t i = 0; i < 1000; ++i) {
    const std::vector<KeyHash> keys = Keys(i % 5 * 100, 10);
    request = Request(keys);
    request.found_in_memory = 1;
    request.found = 6;
    insight.OnRequest(request, At(static_cast<double>(i)));
  }
  const InsightReport report = insight.Report(At(1000));
  ASSERT_EQ(report.tiers.size(), 2u);
  EXPECT_NEAR(report.tiers[0].found_ratio, 0.1, 1e-9);
  EXPECT_NEAR(report.tiers[1].found_ratio, 0.6, 1e-9);
  EXPECT_EQ(report.tiers[1].capacity_bytes, 100 * kChunkBytes);
  EXPECT_LT(report.tiers[0].lru_hit_ratio, 0.05);
  EXPECT_GT(report.tiers[1].lru_hit_ratio, 0.95);
}

TEST(InsightTest, TenantsHaveCurvesOfTheirOwnUpToABound) {
  Insight insight({.memory_bytes = 100 * kChunkBytes});
  constexpr uint32_t kSpaces = 40;
  for (uint32_t space = 0; space < kSpaces; ++space) {
    insight.AddSpace(space, absl::StrCat("tenant ", space / 2));
  }
  for (uint64_t i = 0; i < 20'000; ++i) {
    const auto space = static_cast<uint32_t>(i % kSpaces);
    // The first tenant repeats itself, the others never do.
    const std::vector<KeyHash> keys = Keys(space < 2 ? i / kSpaces % 20 : i * 1000, 1);
    insight.OnRequest(Request(keys, 0, space), At(static_cast<double>(i)));
  }
  const InsightReport report = insight.Report(At(20'000));
  ASSERT_EQ(report.tenants.size(), Insight::kTenantsMax + 1);
  EXPECT_EQ(report.tenants[0].tenant, "tenant 0");
  EXPECT_NEAR(report.tenants[0].use_share, 0.05, 0.001);
  EXPECT_GT(report.tenants[0].unlimited_hit_ratio, 0.95);
  EXPECT_GT(report.tenants[0].bytes_for_most_hits, 15.0 * kChunkBytes);
  EXPECT_LT(report.tenants[0].bytes_for_most_hits, 50.0 * kChunkBytes);
  EXPECT_EQ(report.tenants[1].unlimited_hit_ratio, 0);
  EXPECT_FALSE(report.tenants[15].is_rest);
  EXPECT_TRUE(report.tenants[16].is_rest);
  EXPECT_EQ(report.tenants[16].tenant, "");
  EXPECT_NEAR(report.tenants[16].use_share, 4.0 / 20, 0.01);
}

TEST(InsightTest, OldLoadIsForgotten) {
  Insight insight({.memory_bytes = 100 * kChunkBytes, .half_life = absl::Minutes(10)});
  insight.AddSpace(0, "a");
  double time = 0;
  for (int i = 0; i < 5000; ++i) insight.OnRequest(Request(Keys(0, 4), 4), At(time += 1));
  EXPECT_GT(Of(insight.Report(At(time)), "larder"), 0.99);
  EXPECT_GT(insight.Report(At(time)).tiers[0].found_ratio, 0.99);
  // Two hours of chunks that are wanted once.
  for (uint64_t i = 0; i < 7200; ++i) {
    insight.OnRequest(Request(Keys(1'000'000 + i * 4, 4)), At(time += 1));
  }
  const InsightReport report = insight.Report(At(time));
  for (const char* policy : {"larder", "lru", "s3fifo"}) EXPECT_LT(Of(report, policy), 0.01);
  EXPECT_LT(report.tiers[0].found_ratio, 0.01);
  EXPECT_LT(report.unlimited_hit_ratio, 0.01);
}

TEST(InsightTest, EqualCallsGiveEqualAnswers) {
  const auto run = [](uint64_t seed) {
    Insight insight({.memory_bytes = 5000 * kChunkBytes, .seed = seed});
    insight.AddSpace(0, "a");
    SeededRandom random(5);
    for (int i = 0; i < 4000; ++i) {
      insight.OnRequest(Request(Keys(random.Below(3000) * 32, 1 + random.Below(32))), At(i));
    }
    return insight.Report(At(4000));
  };
  const InsightReport first = run(1), again = run(1), other = run(2);
  ASSERT_EQ(first.policies.size(), again.policies.size());
  for (size_t i = 0; i < first.policies.size(); ++i) {
    EXPECT_EQ(first.policies[i].hit_ratio, again.policies[i].hit_ratio);
    // Another sample says about the same.
    EXPECT_NEAR(first.policies[i].hit_ratio, other.policies[i].hit_ratio, 0.05);
  }
  EXPECT_LT(first.tiers[0].sample_rate, 0.5);
  EXPECT_NE(first.tiers[0].lru_hit_ratio, other.tiers[0].lru_hit_ratio);
}

// Whatever is asked for, ratios stay ratios and nothing grows.
TEST(InsightTest, SenselessRequests) {
  for (const uint64_t seed : {1, 2, 3}) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    Insight insight({.memory_bytes = 300 * kChunkBytes, .seed = seed});
    insight.SetDiskBytes(kChunkBytes);
    for (uint32_t space = 0; space < 3; ++space) insight.AddSpace(space, absl::StrCat(space));
    MonotonicTime now;
    for (int i = 0; i < 300; ++i) {
      std::vector<KeyHash> keys;
      const uint64_t count = random.Below(20) == 0 ? random.Below(4096) : random.Below(8);
      const uint64_t distinct = uint64_t{1} << random.Below(14);
      for (uint64_t k = 0; k < count; ++k) {
        keys.push_back({.low = random.Below(distinct), .high = random.Next()});
      }
      InsightRequest request = Request(keys, 0, static_cast<uint32_t>(random.Below(3)));
      request.chunk_bytes = uint64_t{1} << random.Below(40);
      now = now + absl::Milliseconds(random.Below(100'000));
      insight.OnRequest(request, now);
    }
    const InsightReport report = insight.Report(now);
    for (const PolicyInsight& policy : report.policies) {
      EXPECT_GE(policy.hit_ratio, 0);
      EXPECT_LE(policy.hit_ratio, 1);
    }
    for (const TierInsight& tier : report.tiers) {
      EXPECT_GT(tier.sample_rate, 0);
      double last = 0;
      for (const CapacityInsight& point : tier.lru_curve) {
        EXPECT_GE(point.hit_ratio, last);
        EXPECT_LE(point.hit_ratio, 1);
        last = point.hit_ratio;
      }
    }
  }
}

TEST(InsightTest, AnswersDoNotDependOnWhenItStudies) {
  const auto run = [](bool at_once) {
    Insight insight({.memory_bytes = 300 * kChunkBytes});
    insight.AddSpace(0, "a");
    SeededRandom random(7);
    for (int i = 0; i < 3000; ++i) {
      insight.OnRequest(Request(Keys(random.Below(100) * 32, 1 + random.Below(32))), At(i));
      while (at_once && insight.Study()) {
      }
    }
    return insight.Report(At(3000));
  };
  const InsightReport at_once = run(true), later = run(false);
  EXPECT_EQ(at_once.uses, later.uses);
  for (size_t i = 0; i < at_once.policies.size(); ++i) {
    EXPECT_EQ(at_once.policies[i].hit_ratio, later.policies[i].hit_ratio);
  }
  EXPECT_EQ(at_once.reuse_ages, later.reuse_ages);
}

// What malloc has handed out, mapped regions too.
size_t AllocatedBytes() {
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

// The bound on time is generous, because other processes and sanitizers share the machine; what was
// measured is printed, and is in docs/POLICY.md.
TEST(InsightTest, MemoryIsBoundedAndMostChunksCostNextToNothing) {
  const size_t allocated_before = AllocatedBytes();
  // A million chunks fit in memory, four million were asked for.
  constexpr uint64_t kSessions = 166'000, kSession = 24;
  Insight insight({.memory_bytes = 1'000'000 * kChunkBytes});
  insight.SetDiskBytes(10'000'000 * kChunkBytes);
  for (uint32_t space = 0; space < 30; ++space) insight.AddSpace(space, absl::StrCat(space));
  SeededRandom random(1);
  MonotonicTime now;
  std::vector<int64_t> picking;
  int64_t studying = 0;
  constexpr int kRequests = 100'000;
  for (int i = 0; i < kRequests; ++i) {
    now = now + absl::Milliseconds(20);
    const uint64_t session = random.Below(kSessions);
    const std::vector<KeyHash> keys = Keys(session * kSession, kSession);
    const auto start = std::chrono::steady_clock::now();
    insight.OnRequest(Request(keys, 0, static_cast<uint32_t>(session % 30)), now);
    const auto picked = std::chrono::steady_clock::now();
    (void)insight.Study();
    const auto studied = std::chrono::steady_clock::now();
    if (i < kRequests / 2) continue;
    picking.push_back((picked - start).count() / static_cast<int64_t>(kSession));
    studying += (studied - picked).count() / static_cast<int64_t>(kSession);
  }
  const size_t mib = (AllocatedBytes() - allocated_before) >> 20;
  const InsightReport report = insight.Report(now);
  std::sort(picking.begin(), picking.end());
  const int64_t median = picking[picking.size() / 2];
  std::printf(
      "%zu MiB; an access: %lld ns (median of requests), studied later: %lld ns (mean); "
      "1 in %.0f\n",
      mib, static_cast<long long>(median),
      static_cast<long long>(studying / static_cast<int64_t>(picking.size())),
      1 / report.tiers[0].sample_rate);
  EXPECT_LT(mib, 24u);
  EXPECT_LT(median, 5000);
}

}  // namespace
}  // namespace larder
