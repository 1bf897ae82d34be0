// Who is in the cluster, as pure code: a member's record, its bytes in etcd, and the table that
// turns what a source of records says, and time, into the members that this node goes by.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/clock.h"

namespace larder {

// Members that a table keeps besides this node; more are left out and reported.
inline constexpr size_t kMembersMax = 1024;
// A record's bytes in etcd.
inline constexpr size_t kMemberBytesMax = 4096;
inline constexpr size_t kMemberNameBytesMax = 64;
inline constexpr size_t kMemberAddressBytesMax = 255;

// What a node says of itself.
struct MemberRecord {
  std::string name;           // [A-Za-z0-9._-], 1 to 64 bytes, unique in the cluster
  uint64_t epoch = 0;         // another one after each start of the node
  std::string peer_address;   // HOST:PORT of its peer transport
  std::string rpc_address;    // HOST:PORT of its gRPC services
  bool draining = false;      // takes no new chunks and is about to go
  bool directory = false;     // follows all nodes' indexes, answers for others
  bool leaving = false;       // its last word: not a member any more
  uint64_t memory_bytes = 0;  // capacity of its memory tier
  uint64_t disk_bytes = 0;    // capacity of its disk tier
  std::string version;        // of its program, for people; printable, up to 64 bytes

  friend bool operator==(const MemberRecord&, const MemberRecord&) = default;
};

// The members as a source knows them at one moment.
struct MemberView {
  std::vector<MemberRecord> members;  // this node too, sorted by name
  bool source_reachable = false;      // false: members are as last known
  absl::Duration source_silent_for;   // 0 when reachable
  std::string problem;                // for people; empty: none
  uint64_t revision = 0;              // grows with every change of the above, silence excepted
};

// Names of nodes and clusters. INVALID_ARGUMENT says what is wrong.
absl::Status CheckMemberName(absl::string_view name);
// INVALID_ARGUMENT names the field that is out of bounds.
absl::Status CheckMember(const MemberRecord& record);
// HOST:PORT; `field` is what messages call it.
absl::Status CheckMemberAddress(absl::string_view field, absl::string_view address);
// Whether the node of this name asks directory nodes instead of following all others: there are
// some, and it is none.
bool AsksDirectory(absl::string_view self, std::span<const MemberRecord> members);
// Why `next` cannot replace `current` as what a running node says of itself; empty: it can.
std::string RefuseReplacement(const MemberRecord& current, const MemberRecord& next);

// What another program says of a failure, for people: bounded, without bytes that are no text.
std::string ShownReason(absl::string_view text);

// The value of a member's key in etcd: JSON, docs/formats/member.md. REQUIRES: CheckMember(record).
std::string EncodeMember(const MemberRecord& record);
// The record that `value` holds, where `name` is the last part of its key. Any bytes may come.
absl::StatusOr<MemberRecord> DecodeMember(absl::string_view name, absl::string_view value);

// Not thread-safe. This node is always a member of its own view.
//
// A member goes when its record does, with two exceptions: while the source is away nobody goes,
// and when it is back, members whose records are gone get `grace` from then on to come again (their
// leases may have run out only because nobody could renew them). Who said that it leaves goes at
// once. A record that was overwritten with something else counts for `grace` longer.
class MemberTable {
 public:
  struct Entry {
    std::string name;
    std::string value;
    int64_t revision = 0;  // the source's, of the record's last change
  };

  // REQUIRES: CheckMember(self).
  MemberTable(MemberRecord self, absl::Duration grace, MonotonicTime now);

  // As MemberSource::Publish says.
  void SetSelf(const MemberRecord& self);
  const MemberRecord& self() const { return self_; }

  // The source answers, and this is all that it has. `more`: it had more, which was not read.
  void OnList(const std::vector<Entry>& entries, bool more, MonotonicTime now);
  void OnPut(const Entry& entry, MonotonicTime now);
  void OnDelete(absl::string_view name, int64_t revision, MonotonicTime now);
  // The source answered, whatever it said.
  void OnHeard(MonotonicTime now) { last_heard_ = now; }
  // The source does not answer (any more), or refuses.
  void OnLost(absl::string_view problem);

  // Drops members whose time is up; when next, if ever.
  void Tick(MonotonicTime now);
  std::optional<MonotonicTime> next_wakeup() const;

  // True when this node's record is to be written at the source: it is not there, or not what it
  // should be. False when a node that started later has the name: that is a problem instead.
  bool must_publish() const;
  // Another node has the name: nothing of it at the source is to be touched.
  bool name_taken() const { return own_ == OwnRecord::kTaken; }
  // This was written at that revision of the source; it may have changed meanwhile.
  void OnPublished(const MemberRecord& record, int64_t revision);
  // This node's record is about to go from the source, or is gone.
  void OnUnpublished();

  MemberView View(MonotonicTime now) const;
  bool reachable() const { return reachable_; }
  uint64_t revision() const { return revision_; }

 private:
  enum class OwnRecord { kMissing, kOutdated, kCurrent, kTaken };
  struct Known {
    MemberRecord record;
    std::optional<MonotonicTime> drop_at;  // set: its record is gone
  };

  void Put(const Entry& entry, MonotonicTime now);
  void PutOwn(const Entry& entry);
  void PutOther(MemberRecord record);
  void SetOwn(OwnRecord own);
  void Vanish(absl::string_view name, MonotonicTime drop_at);
  void Report(absl::string_view name, absl::string_view why);
  std::string Problem() const;

  MemberRecord self_;
  const absl::Duration grace_;
  uint64_t revision_ = 1;
  absl::btree_map<std::string, Known> known_;      // without this node
  absl::btree_map<std::string, std::string> bad_;  // what is no member: its name for people, why
  bool more_ = false;
  bool reachable_ = false;
  bool ever_reached_ = false;
  std::string lost_because_ = "not reached yet";
  MonotonicTime last_heard_;
  MonotonicTime settled_at_;  // from then on, members go with their records
  OwnRecord own_ = OwnRecord::kMissing;
  int64_t own_revision_ = 0;  // older news of the own record is no news
  bool ever_published_ = false;
  std::string taken_by_;
  std::string refused_self_;
};

}  // namespace larder
