#include "daemon/cluster/static_table.h"

#include <utility>

#include "absl/container/btree_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace larder {
namespace {

// Problems that a view names; the others are counted.
constexpr size_t kProblemsShownMax = 4;

std::string Join(std::vector<std::string> problems) {
  if (problems.size() > kProblemsShownMax) {
    const size_t others = problems.size() - kProblemsShownMax;
    problems.resize(kProblemsShownMax);
    problems.push_back(absl::StrCat("and ", others, " more"));
  }
  return absl::StrJoin(problems, "; ");
}

}  // namespace

StaticTable::StaticTable(MemberRecord self, std::vector<std::string> addresses,
                         absl::Duration member_timeout)
    : self_(std::move(self)), member_timeout_(member_timeout) {
  for (std::string& address : addresses) {
    addresses_.push_back({.host_port = std::move(address),
                          .record = std::nullopt,
                          .heard = {},
                          .failure = "not reached yet"});
  }
  view_.source_reachable = true;
  Refresh();
}

void StaticTable::SetSelf(const MemberRecord& self) {
  refused_self_ = RefuseReplacement(self_, self);
  if (refused_self_.empty()) self_ = self;
  Refresh();
}

void StaticTable::OnAnswer(size_t address, const MemberRecord& record, MonotonicTime now) {
  if (const absl::Status valid = CheckMember(record); !valid.ok()) {
    return OnFailure(address, valid.message(), now);
  }
  Address& asked = addresses_[address];
  asked.heard = now;
  if (asked.record == record && asked.failure.empty()) return;
  asked.record = record;
  asked.failure.clear();
  Refresh();
}

void StaticTable::OnFailure(size_t address, absl::string_view why, MonotonicTime now) {
  Address& asked = addresses_[address];
  const bool gone = asked.record && now - asked.heard >= member_timeout_;
  if (gone) asked.record.reset();
  if (!gone && asked.failure == why) return;
  asked.failure = std::string(why);
  Refresh();
}

void StaticTable::Tick(MonotonicTime now) {
  bool changed = false;
  for (Address& address : addresses_) {
    if (!address.record || now - address.heard < member_timeout_) continue;
    address.record.reset();
    if (address.failure.empty()) address.failure = "silent";
    changed = true;
  }
  if (changed) Refresh();
}

void StaticTable::Refresh() {
  absl::btree_map<absl::string_view, const MemberRecord*> by_name = {{self_.name, &self_}};
  std::vector<std::string> problems;
  if (!refused_self_.empty()) {
    problems.push_back(absl::StrCat("this node's record is not published: ", refused_self_));
  }
  for (const Address& address : addresses_) {
    if (!address.failure.empty()) {
      problems.push_back(absl::StrCat(address.host_port, ": ", address.failure));
    }
    if (!address.record) continue;
    const auto [found, added] = by_name.emplace(address.record->name, &*address.record);
    if (!added && found->second->epoch != address.record->epoch) {
      problems.push_back(absl::StrCat("two nodes are called ", address.record->name,
                                      ": the one at ", address.host_port, " is left out"));
    }
  }
  std::vector<MemberRecord> members;
  members.reserve(by_name.size());
  for (const auto& [name, record] : by_name) members.push_back(*record);
  std::string problem = Join(std::move(problems));
  if (members == view_.members && problem == view_.problem) return;
  view_.members = std::move(members);
  view_.problem = std::move(problem);
  ++view_.revision;
}

}  // namespace larder
