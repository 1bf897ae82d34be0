// The members behind a fixed list of addresses, as pure code.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "daemon/cluster/members.h"

namespace larder {

// Not thread-safe. An address counts while it answered within `member_timeout`. Several may lead to
// one node; this node may be among them. Of two nodes with one name, the first in the list counts.
class StaticTable {
 public:
  // REQUIRES: CheckMember(self).
  StaticTable(MemberRecord self, std::vector<std::string> addresses, absl::Duration member_timeout);

  // As MemberSource::Publish says.
  void SetSelf(const MemberRecord& self);

  // What the address of that index said of itself; any record may come.
  void OnAnswer(size_t address, const MemberRecord& record, MonotonicTime now);
  void OnFailure(size_t address, absl::string_view why, MonotonicTime now);
  // Drops whom nothing was heard of for too long.
  void Tick(MonotonicTime now);

  const MemberView& view() const { return view_; }

 private:
  struct Address {
    std::string host_port;
    std::optional<MemberRecord> record;  // while it counts
    MonotonicTime heard;
    std::string failure;
  };

  // Makes the view anew; its revision grows when it is another one.
  void Refresh();

  MemberRecord self_;
  std::string refused_self_;
  std::vector<Address> addresses_;
  const absl::Duration member_timeout_;
  MemberView view_;
};

}  // namespace larder
