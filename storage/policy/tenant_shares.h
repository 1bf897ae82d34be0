// Who has to give way when memory is short: guarantees and ceilings of tenants.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace larder {

// Bytes of one tier that a tenant is sure of, and the most that it may have.
struct TierLimits {
  uint64_t guaranteed = 0;
  uint64_t ceiling = ~uint64_t{0};
};
struct TenantLimits {
  std::string tenant;
  TierLimits memory;
  TierLimits disk;
};

// Counts the bytes of each group of chunks (storage/catalog/catalog.h) and says from whom room is
// taken. What a tenant does not use of its guarantee is lent to the others, and taken back from
// whoever is furthest above its own: so those above have equal surplus in the end, whatever they
// ask for. Nobody but the tenant itself takes from what is guaranteed. Pure; not thread-safe.
class TenantShares {
 public:
  // Group 0 is everybody else and has neither guarantee nor ceiling; group i + 1 has limits[i].
  TenantShares(uint64_t capacity_bytes, std::span<const TierLimits> limits);

  void Add(size_t group, uint64_t bytes) { groups_[group].used += bytes; }
  void Subtract(size_t group, uint64_t bytes) { groups_[group].used -= bytes; }

  // Whether the group stays below its ceiling with so many bytes more.
  bool Fits(size_t group, uint64_t bytes) const {
    const Group& asking = groups_[group];
    return asking.used <= asking.limits.ceiling && bytes <= asking.limits.ceiling - asking.used;
  }
  bool IsBelowGuarantee(size_t group) const {
    return groups_[group].used < groups_[group].limits.guaranteed;
  }
  // From whom the group may take, in this order; itself at the end at the latest. Valid until the
  // next call.
  const std::vector<size_t>& Donors(size_t group);

  // What the group has under pressure at least: what pins and hints of its own are a share of.
  uint64_t ShareBytes(size_t group) const;
  uint64_t used_bytes(size_t group) const { return groups_[group].used; }
  const TierLimits& limits(size_t group) const { return groups_[group].limits; }
  size_t size() const { return groups_.size(); }

 private:
  struct Group {
    TierLimits limits;
    uint64_t used = 0;
  };
  uint64_t Surplus(size_t group) const {
    const Group& g = groups_[group];
    return g.used > g.limits.guaranteed ? g.used - g.limits.guaranteed : 0;
  }

  uint64_t capacity_bytes_;
  uint64_t guaranteed_bytes_ = 0;  // of all
  std::vector<Group> groups_;
  std::vector<size_t> donors_;
};

}  // namespace larder
