// What other sizes and policies of the cache would be worth, from what is asked of this one.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
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
// what is not found as computed and stored. All counts fade, so that they follow the load.
//
// OnRequest only picks the sample out, at the cost of a hash and a comparison a chunk. The work on
// it, one to two microseconds a sampled chunk, is done by Study, when there is time; a bounded
// number of requests wait for it.
//
// Pure: time comes in as an argument and never goes back; equal calls give equal answers. Not
// thread-safe. Memory: a fixed amount, from the first request on; see docs/POLICY.md.
class Insight {
 public:
  // Chunks in each of the three samples (for the memory, for both tiers, for a cache without
  // limit), and in each tenant's.
  static constexpr size_t kTierSampleMax = 1 << 14;
  static constexpr size_t kTenantSampleMax = 1 << 10;
  // Those that come first have a curve each, all others have one together.
  static constexpr size_t kTenantsMax = 16;
  // What waits for Study at most; what is more is worked on at once.
  static constexpr size_t kWaitingRequestsMax = 1024;
  static constexpr size_t kWaitingChunksMax = 1024;

  explicit Insight(const InsightOptions& options);

  // There is a disk below the memory. Call it before the first request.
  void SetDiskBytes(uint64_t disk_bytes);
  // Says whose space it is. REQUIRES: handles are small numbers, each given once.
  void AddSpace(uint32_t space, absl::string_view tenant);

  // REQUIRES: the space was added.
  void OnRequest(const InsightRequest& request, MonotonicTime now);
  // Works on the request that waits longest; false if there is none.
  bool Study();

  // Studies all that waits first.
  InsightReport Report(MonotonicTime now);

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
    std::vector<SampledChunk> chunks;  // of the request that is studied
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

  // A request of which the sample is in waiting_chunks_.
  struct Waiting {
    MonotonicTime time;
    size_t tenant;
    size_t chunks;  // in the sample
    uint64_t total;
    uint64_t chunk_bytes;
    uint32_t found_in_memory;
    uint32_t found;
  };

  void MakeShadows();
  void FadeTo(MonotonicTime now);
  // How many chunks were put into waiting_chunks_.
  size_t TakeSample(const InsightRequest& request, uint64_t threshold);
  void Feed(const Waiting& request, SampledCurve::Forget forget, Tier* tier);
  void FeedShadows(MonotonicTime now);
  void ForgetInShadows(uint32_t slot);
  TierInsight ReportTier(const Tier& tier, double found) const;

  const InsightOptions options_;
  Tier memory_;
  std::optional<Tier> all_;  // memory and disk
  Tier unlimited_;
  std::vector<Shadow> shadows_;  // on the memory's sample; made with the first request
  Found found_;
  std::vector<std::unique_ptr<Tenant>> tenants_;
  absl::flat_hash_map<std::string, size_t> tenant_by_name_;
  std::vector<size_t> tenant_of_space_;
  std::deque<Waiting> waiting_;
  std::deque<SampledChunk> waiting_chunks_;  // for the largest of the samples
  std::optional<MonotonicTime> started_;
  MonotonicTime faded_;
};

}  // namespace larder
