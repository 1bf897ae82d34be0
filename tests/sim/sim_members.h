// Where the nodes of the simulation learn of each other: records under leases, as in etcd.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/clock.h"
#include "daemon/cluster/members.h"

namespace larder {

// Not thread-safe.
class SimEtcd {
 public:
  static constexpr absl::Duration kLease = absl::Seconds(3);

  // Who cannot reach it; or nobody can.
  bool away = false;
  std::set<std::string> cut_off;
  bool Reaches(const std::string& node) const { return !away && !cut_off.contains(node); }

  // Writes the record under the node's lease; returns the revision.
  int64_t Put(const std::string& node, std::string value, MonotonicTime now) {
    records_[node] = {.value = std::move(value), .revision = ++revision_, .until = now + kLease};
    return revision_;
  }
  void KeepAlive(const std::string& node, MonotonicTime now) {
    const auto found = records_.find(node);
    if (found != records_.end() && found->second.until > now) found->second.until = now + kLease;
  }
  void Delete(const std::string& node) { records_.erase(node); }
  std::vector<MemberTable::Entry> List(MonotonicTime now) {
    // While it is away no lease runs out: it was not there to see it.
    std::erase_if(records_, [&](const auto& entry) { return entry.second.until <= now; });
    std::vector<MemberTable::Entry> entries;
    for (const auto& [name, record] : records_) {
      entries.push_back({.name = name, .value = record.value, .revision = record.revision});
    }
    return entries;
  }

 private:
  struct Record {
    std::string value;
    int64_t revision = 0;
    MonotonicTime until;
  };
  std::map<std::string, Record> records_;
  int64_t revision_ = 0;
};

}  // namespace larder
