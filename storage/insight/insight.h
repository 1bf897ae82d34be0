// What other sizes and policies of the cache would be worth, from what is asked of this one.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/ids.h"
#include "storage/insight/sampled_curve.h"
#include "storage/insight/shadow_cache.h"
#include "storage/policy/recompute_cost.h"

namespace larder {

struct InsightOptions {
  uint64_t memory_bytes = 0;
  // Chooses the sample, so that callers cannot.
  uint64_t seed = 0;
  // What is older by this counts half.
  absl::Duration half_life = absl::Hours(1);
  CostModel cost = {};
};

// A prefix that was asked for.
struct InsightRequest {
  uint32_t space = 0;  // from AddSpace
  std::span<const KeyHash> keys;
  uint64_t chunk_bytes = 1;
  uint32_t tokens_per_chunk = 1;
  // How many of the keys were stored, from the first on: in memory, in either tier.
  uint32_t found_in_memory = 0;
  uint32_t found = 0;
  // The category of each chunk; empty: 0.
  std::span<const uint8_t> categories = {};
};

struct CapacityInsight {
  double capacity_bytes = 0;
  double hit_ratio = 0;
};

// Ratios are shares of the chunks that were asked for.
struct TierInsight {
  uint64_t capacity_bytes = 0;  // of this tier with those above it
  double found_ratio = 0;       // what was found indeed
  // Estimates for one cache of that size in least-recently-used order, then of other sizes. A chunk
  // that came back from disk is in both tiers; so they are less than one cache of both their sizes,
  // and at least one as large as the larger tier, which is lru_hit_ratio_min.
  double lru_hit_ratio = 0;
  double lru_hit_ratio_min = 0;
  std::vector<CapacityInsight> lru_curve;
  bool filled = false;      // as many different bytes were asked for as the tier holds
  double sample_rate = 0;   // the share of all chunks
  double sampled_uses = 0;  // faded
};

struct PolicyInsight {
  const char* policy = "";
  double capacity_factor = 1;  // of the memory
  double hit_ratio = 0;
};

struct TenantInsight {
  std::string tenant;
  bool is_rest = false;  // several tenants, which have no name here
  double use_share = 0;  // of all chunks asked for
  double found_ratio = 0;
  // Estimates for a cache of the tenant's own in least-recently-used order.
  std::vector<CapacityInsight> lru_curve;
  double unlimited_hit_ratio = 0;
  double bytes_for_most_hits = 0;  // the size that gives nine tenths of that
  double sampled_uses = 0;
};

struct InsightReport {
  absl::Duration observed;  // since the first request
  absl::Duration half_life;
  double uses = 0;                 // chunks asked for, faded
  std::vector<TierInsight> tiers;  // memory; memory and disk, where there is one
  std::vector<PolicyInsight> policies;
  std::vector<TenantInsight> tenants;
  double unlimited_hit_ratio = 0;  // of a cache that forgets nothing
  // The shares of uses that were first ones, and that came when the chunk had that age.
  double first_use_ratio = 0;
  std::array<double, kAgeBuckets> reuse_ages{};
};

// Fed with every request for a prefix; looks at a sample of the chunks, which it runs through
// stack distances (sampled_curve.h) and through small copies of caches (shadow_cache.h). It takes
// what is not found as computed and stored, and chunks of one space as equally large. All counts
// fade, so that they follow the load.
//
// Pure: time comes in as an argument and never goes back; equal calls give equal answers. Not
// thread-safe. A chunk outside the samples costs a hash and a comparison. Memory: a fixed amount,
// see docs/POLICY.md.
class Insight {
 public:
  // Chunks in each of the three samples (for the memory, for both tiers, for a cache without
  // limit), and in each tenant's.
  static constexpr size_t kTierSampleMax = 1 << 14;
  static constexpr size_t kTenantSampleMax = 1 << 10;
  // Those that come first have a curve each, all others have one together.
  static constexpr size_t kTenantsMax = 16;

  explicit Insight(const InsightOptions& options);

  // There is a disk below the memory. What was learned about both together is forgotten.
  void SetDiskBytes(uint64_t disk_bytes);
  // Says whose space it is. REQUIRES: handles are small numbers, each given once.
  void AddSpace(uint32_t space, absl::string_view tenant);

  // REQUIRES: the space was added.
  void OnRequest(const InsightRequest& request, MonotonicTime now);

  InsightReport Report(MonotonicTime now) const;

 private:
  struct Found {
    double uses = 0, in_memory = 0, in_any = 0;
    void Fade(double factor) {
      uses *= factor;
      in_memory *= factor;
      in_any *= factor;
    }
  };
  struct Tier {
    Tier(size_t keys_max, uint64_t bytes, uint64_t largest)
        : capacity_bytes(bytes), largest_bytes(largest), curve(keys_max, bytes) {}
    uint64_t capacity_bytes;
    uint64_t largest_bytes;  // of the tiers in it
    SampledCurve curve;
    std::vector<SampledChunk> chunks;  // of the present request
  };
  struct Tenant {
    Tenant(std::string name_in, uint64_t bytes)
        : name(std::move(name_in)), tier(kTenantSampleMax, bytes, bytes) {}
    std::string name;
    Found found;
    Tier tier;
  };
  struct Shadow {
    const char* policy;
    double capacity_factor;
    std::unique_ptr<ShadowCache> cache;
    double hits = 0;  // weights, faded
  };

  void FadeTo(MonotonicTime now);
  void TakeSample(const InsightRequest& request, uint64_t threshold);
  static void Feed(const InsightRequest& request, std::span<const SampledChunk> sample,
                   PolicyTicks now, SampledCurve::Forget forget, Tier* tier);
  void FeedShadows(MonotonicTime now);
  void ForgetInShadows(uint32_t slot);
  TierInsight ReportTier(const Tier& tier, double found) const;

  const InsightOptions options_;
  Tier memory_;
  std::optional<Tier> all_;  // memory and disk
  Tier unlimited_;
  std::vector<Shadow> shadows_;  // on the memory's sample
  Found found_;
  std::vector<std::unique_ptr<Tenant>> tenants_;
  absl::flat_hash_map<std::string, size_t> tenant_by_name_;
  std::vector<size_t> tenant_of_space_;
  std::vector<SampledChunk> sample_;  // of the present request, for the largest of the samples
  std::optional<MonotonicTime> started_;
  MonotonicTime faded_;
};

}  // namespace larder
