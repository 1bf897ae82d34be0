#include "daemon/rpc/insight_messages.h"

#include <cmath>

#include "daemon/node/utf8.h"

namespace larder {
namespace {

uint64_t ToMs(PolicyTicks ticks) {
  return static_cast<uint64_t>(std::llround(ticks / kTicksPerSecond * 1000));
}

template <typename Points>
void FillCurve(const std::vector<CapacityInsight>& curve, Points* points) {
  for (const CapacityInsight& point : curve) {
    v1::CapacityInsight* added = points->Add();
    added->set_capacity_bytes(static_cast<uint64_t>(point.capacity_bytes));
    added->set_hit_ratio(point.hit_ratio);
  }
}

void FillTier(const TierInsight& tier, v1::TierInsight* message) {
  message->set_capacity_bytes(tier.capacity_bytes);
  message->set_found_ratio(tier.found_ratio);
  message->set_lru_hit_ratio(tier.lru_hit_ratio);
  message->set_lru_hit_ratio_min(tier.lru_hit_ratio_min);
  FillCurve(tier.lru_curve, message->mutable_lru_curve());
  message->set_filled(tier.filled);
  message->set_sample_rate(tier.sample_rate);
  message->set_sampled_uses(tier.sampled_uses);
}

void FillTenant(const TenantInsight& tenant, v1::TenantInsight* message) {
  message->set_tenant(ToUtf8(tenant.tenant));
  message->set_rest(tenant.is_rest);
  message->set_use_ratio(tenant.use_share);
  message->set_found_ratio(tenant.found_ratio);
  FillCurve(tenant.lru_curve, message->mutable_lru_curve());
  message->set_unlimited_hit_ratio(tenant.unlimited_hit_ratio);
  message->set_bytes_for_most_hits(static_cast<uint64_t>(tenant.bytes_for_most_hits));
  message->set_sampled_uses(tenant.sampled_uses);
}

}  // namespace

void FillInsight(const InsightReport& report, v1::InsightResponse* response) {
  response->set_observed_ms(static_cast<uint64_t>(absl::ToInt64Milliseconds(report.observed)));
  response->set_half_life_ms(static_cast<uint64_t>(absl::ToInt64Milliseconds(report.half_life)));
  response->set_uses(report.uses);
  for (const TierInsight& tier : report.tiers) FillTier(tier, response->add_tiers());
  for (const PolicyInsight& policy : report.policies) {
    v1::PolicyInsight* message = response->add_policies();
    message->set_policy(policy.policy);
    message->set_capacity_factor(policy.capacity_factor);
    message->set_hit_ratio(policy.hit_ratio);
  }
  response->set_unlimited_hit_ratio(report.unlimited_hit_ratio);
  response->set_first_use_ratio(report.first_use_ratio);
  for (size_t bucket = 0; bucket < kAgeBuckets; ++bucket) {
    if (report.reuse_ages[bucket] <= 0) continue;
    v1::ReuseAge* age = response->add_reuse_ages();
    age->set_from_ms(ToMs(kAgeBucketStart[bucket]));
    age->set_below_ms(ToMs(kAgeBucketStart[bucket + 1]));
    age->set_ratio(report.reuse_ages[bucket]);
  }
  for (const TenantInsight& tenant : report.tenants) FillTenant(tenant, response->add_tenants());
}

}  // namespace larder
