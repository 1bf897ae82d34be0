#include "storage/insight/insight.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace larder {
namespace {

// Counts fade in so many steps per half-life.
constexpr int kFadeSteps = 32;

constexpr std::array<double, 3> kShadowFactors = {0.75, 1, 1.25};
// Where curves are read, in capacities of their tier.
constexpr std::array<double, 9> kCurveFactors = {0.125, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 2, 4};
constexpr double kMostHits = 0.9;
// What counts as a cache without limit, in sizes of all tiers: its sample remembers eight times as
// much at least (sampled_curve.h).
constexpr uint64_t kUnlimitedFactor = 4;

// Spreads numbers evenly (the finaliser of MurmurHash3).
uint64_t Mix(uint64_t hash) {
  hash ^= hash >> 33;
  hash *= 0xff51afd7ed558ccdu;
  hash ^= hash >> 33;
  hash *= 0xc4ceb9fe1a85ec53u;
  return hash ^ hash >> 33;
}

double Share(double part, double whole) { return whole <= 0 ? 0 : part / whole; }

std::vector<CapacityInsight> ReadCurve(const SampledCurve& curve, uint64_t capacity_bytes) {
  std::vector<CapacityInsight> points;
  for (const double factor : kCurveFactors) {
    const double bytes = static_cast<double>(capacity_bytes) * factor;
    points.push_back({.capacity_bytes = bytes, .hit_ratio = curve.HitRatio(bytes)});
  }
  return points;
}

}  // namespace

Insight::Insight(const InsightOptions& options)
    : options_(options),
      memory_(kTierSampleMax, options.memory_bytes, options.memory_bytes),
      unlimited_(kTierSampleMax, options.memory_bytes * kUnlimitedFactor, options.memory_bytes) {}

void Insight::SetDiskBytes(uint64_t disk_bytes) {
  const uint64_t all_bytes = options_.memory_bytes + disk_bytes;
  all_.emplace(kTierSampleMax, all_bytes, std::max(options_.memory_bytes, disk_bytes));
  unlimited_ = Tier(kTierSampleMax, all_bytes * kUnlimitedFactor, all_bytes);
}

void Insight::AddSpace(uint32_t space, absl::string_view tenant) {
  size_t number = std::min(tenants_.size(), kTenantsMax);
  if (const auto known = tenant_by_name_.find(tenant); known != tenant_by_name_.end()) {
    number = known->second;
  } else if (tenants_.size() <= kTenantsMax) {
    // The last one stands for all further ones.
    const bool is_rest = tenants_.size() == kTenantsMax;
    if (!is_rest) tenant_by_name_[tenant] = number;
    tenants_.push_back(
        std::make_unique<Tenant>(std::string(is_rest ? "" : tenant), options_.memory_bytes));
  }
  if (space >= tenant_of_space_.size()) tenant_of_space_.resize(space + size_t{1});
  tenant_of_space_[space] = number;
}

void Insight::OnRequest(const InsightRequest& request, MonotonicTime now) {
  if (request.keys.empty()) return;
  if (!started_) started_ = faded_ = now;
  const size_t tenant = tenant_of_space_[request.space];
  const size_t chunks = TakeSample(
      request,
      std::max({memory_.curve.threshold(), tenants_[tenant]->tier.curve.threshold(),
                unlimited_.curve.threshold(), all_ ? all_->curve.threshold() : uint64_t{0}}));
  waiting_.push_back({.time = now,
                      .tenant = tenant,
                      .chunks = chunks,
                      .total = request.keys.size(),
                      .chunk_bytes = request.chunk_bytes,
                      .found_in_memory = request.found_in_memory,
                      .found = request.found});
  while (waiting_.size() > kWaitingRequestsMax || waiting_chunks_.size() > kWaitingChunksMax) {
    (void)Study();
  }
}

bool Insight::Study() {
  if (waiting_.empty()) return false;
  const Waiting& request = waiting_.front();
  if (shadows_.empty()) MakeShadows();
  FadeTo(request.time);
  Tenant& tenant = *tenants_[request.tenant];
  for (Found* found : {&found_, &tenant.found}) {
    found->uses += static_cast<double>(request.total);
    found->in_memory += request.found_in_memory;
    found->in_any += request.found;
  }
  const auto forget_nothing = [](uint32_t) {};
  Feed(
      request, [this](uint32_t slot) { ForgetInShadows(slot); }, &memory_);
  if (all_) Feed(request, forget_nothing, &*all_);
  Feed(request, forget_nothing, &unlimited_);
  Feed(request, forget_nothing, &tenant.tier);
  FeedShadows(request.time);
  waiting_chunks_.erase(waiting_chunks_.begin(),
                        waiting_chunks_.begin() + static_cast<ptrdiff_t>(request.chunks));
  waiting_.pop_front();
  return true;
}

void Insight::MakeShadows() {
  for (const double factor : kShadowFactors) {
    shadows_.push_back(
        {.policy = "larder", .capacity_factor = factor, .cache = MakePolicyShadow()});
  }
  shadows_.push_back({.policy = "s3fifo", .capacity_factor = 1, .cache = MakeS3FifoShadow()});
}

void Insight::FadeTo(MonotonicTime now) {
  if (options_.half_life == absl::InfiniteDuration()) return;
  const absl::Duration step = options_.half_life / kFadeSteps;
  absl::Duration rest;
  const int64_t steps = absl::IDivDuration(now - faded_, step, &rest);
  if (steps <= 0) return;
  faded_ = faded_ + (now - faded_ - rest);
  const double factor = std::exp2(-static_cast<double>(steps) / kFadeSteps);
  for (Shadow& shadow : shadows_) shadow.hits *= factor;
  if (memory_.curve.Fade(factor, [this](uint32_t slot) { ForgetInShadows(slot); })) {
    for (Shadow& shadow : shadows_) shadow.hits = 0;
  }
  const auto forget_nothing = [](uint32_t) {};
  if (all_) (void)all_->curve.Fade(factor, forget_nothing);
  (void)unlimited_.curve.Fade(factor, forget_nothing);
  found_.Fade(factor);
  for (const auto& tenant : tenants_) {
    tenant->found.Fade(factor);
    (void)tenant->tier.curve.Fade(factor, forget_nothing);
  }
}

size_t Insight::TakeSample(const InsightRequest& request, uint64_t threshold) {
  const size_t before = waiting_chunks_.size();
  // Callers know neither the seed nor, therefore, which keys are in the sample.
  const uint64_t seed = Mix(options_.seed + (request.space + uint64_t{1}) * 0x9e3779b97f4a7c15u);
  for (size_t i = 0; i < request.keys.size(); ++i) {
    const uint64_t hash = Mix(request.keys[i].low ^ seed);
    if (hash > threshold) continue;
    const double first_token = static_cast<double>(i) * request.tokens_per_chunk;
    waiting_chunks_.push_back(
        {.hash = hash,
         .bytes = request.chunk_bytes,
         .recompute_cost = options_.cost.Range(first_token, first_token + request.tokens_per_chunk),
         .depth = static_cast<uint32_t>(i),
         .category = request.categories.empty() ? uint8_t{0} : request.categories[i],
         .slot = LruStack::kNone});
  }
  return waiting_chunks_.size() - before;
}

void Insight::Feed(const Waiting& request, SampledCurve::Forget forget, Tier* tier) {
  tier->chunks.assign(waiting_chunks_.begin(),
                      waiting_chunks_.begin() + static_cast<ptrdiff_t>(request.chunks));
  tier->curve.Begin(request.total, request.total * request.chunk_bytes, &tier->chunks, forget);
  tier->curve.Use(tier->chunks, ToTicks(request.time));
}

void Insight::FeedShadows(MonotonicTime now) {
  const double bytes = static_cast<double>(options_.memory_bytes) * memory_.curve.rate();
  for (Shadow& shadow : shadows_) {
    shadow.cache->SetCapacity(static_cast<uint64_t>(bytes * shadow.capacity_factor));
    if (memory_.chunks.empty()) continue;
    shadow.hits +=
        static_cast<double>(shadow.cache->Serve(memory_.chunks, now)) * memory_.curve.weight();
  }
}

void Insight::ForgetInShadows(uint32_t slot) {
  for (Shadow& shadow : shadows_) shadow.cache->Forget(slot);
}

TierInsight Insight::ReportTier(const Tier& tier, double found) const {
  return {.capacity_bytes = tier.capacity_bytes,
          .found_ratio = Share(found, found_.uses),
          .lru_hit_ratio = tier.curve.HitRatio(static_cast<double>(tier.capacity_bytes)),
          .lru_hit_ratio_min = tier.curve.HitRatio(static_cast<double>(tier.largest_bytes)),
          .lru_curve = ReadCurve(tier.curve, tier.capacity_bytes),
          .filled = tier.curve.Fills(tier.capacity_bytes),
          .sample_rate = tier.curve.rate(),
          .sampled_uses = tier.curve.uses() * tier.curve.rate()};
}

InsightReport Insight::Report(MonotonicTime now) {
  while (Study()) {
  }
  InsightReport report;
  if (!started_) return report;
  FadeTo(now);
  report.observed = now - *started_;
  report.half_life = options_.half_life;
  report.uses = found_.uses;
  report.tiers.push_back(ReportTier(memory_, found_.in_memory));
  if (all_) report.tiers.push_back(ReportTier(*all_, found_.in_any));
  const SampledCurve& curve = memory_.curve;
  for (const Shadow& shadow : shadows_) {
    const double hit_ratio = Share(shadow.hits + curve.adjustment(), curve.uses());
    report.policies.push_back({.policy = shadow.policy,
                               .capacity_factor = shadow.capacity_factor,
                               .hit_ratio = std::clamp(hit_ratio, 0.0, 1.0)});
  }
  for (const double factor : kShadowFactors) {
    const double bytes = static_cast<double>(options_.memory_bytes) * factor;
    report.policies.push_back(
        {.policy = "lru", .capacity_factor = factor, .hit_ratio = curve.HitRatio(bytes)});
  }
  for (const auto& tenant : tenants_) {
    const SampledCurve& own = tenant->tier.curve;
    report.tenants.push_back(
        {.tenant = tenant->name,
         .is_rest = report.tenants.size() == kTenantsMax,
         .use_share = Share(tenant->found.uses, found_.uses),
         .found_ratio = Share(tenant->found.in_any, tenant->found.uses),
         .lru_curve = ReadCurve(own, options_.memory_bytes),
         .unlimited_hit_ratio = own.UnlimitedHitRatio(),
         .bytes_for_most_hits = own.CapacityFor(kMostHits * own.UnlimitedHitRatio()),
         .sampled_uses = own.uses() * own.rate()});
  }
  const SampledCurve& longest = unlimited_.curve;
  report.unlimited_hit_ratio = longest.UnlimitedHitRatio();
  report.first_use_ratio = 1 - report.unlimited_hit_ratio;
  double weights = 0;
  for (const double weight : longest.reuse_ages()) weights += weight;
  for (size_t age = 0; age < kAgeBuckets; ++age) {
    report.reuse_ages[age] = Share(longest.reuse_ages()[age], weights) * report.unlimited_hit_ratio;
  }
  return report;
}

}  // namespace larder
