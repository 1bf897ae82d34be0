#include "storage/policy/tenant_shares.h"

#include <algorithm>

namespace larder {

TenantShares::TenantShares(uint64_t capacity_bytes, std::span<const TierLimits> limits)
    : capacity_bytes_(capacity_bytes), groups_(1) {
  for (const TierLimits& tier : limits) {
    groups_.push_back({.limits = tier});
    guaranteed_bytes_ += tier.guaranteed;
  }
}

const std::vector<size_t>& TenantShares::Donors(size_t group) {
  donors_.clear();
  for (size_t i = 0; i < groups_.size(); ++i) {
    if (Surplus(i) > 0) donors_.push_back(i);
  }
  std::sort(donors_.begin(), donors_.end(), [this](size_t a, size_t b) {
    return Surplus(a) != Surplus(b) ? Surplus(a) > Surplus(b) : a < b;
  });
  if (Surplus(group) == 0) donors_.push_back(group);
  return donors_;
}

uint64_t TenantShares::ShareBytes(size_t group) const {
  const TierLimits& tier = groups_[group].limits;
  if (tier.guaranteed > 0) return tier.guaranteed;
  const uint64_t lent = capacity_bytes_ - std::min(capacity_bytes_, guaranteed_bytes_);
  return std::min(tier.ceiling, lent);
}

}  // namespace larder
