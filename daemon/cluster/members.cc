#include "daemon/cluster/members.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/status.h"

namespace larder {
namespace {

using nlohmann::json;

constexpr uint64_t kRecordFormat = 1;
constexpr size_t kVersionBytesMax = 64;
constexpr size_t kReasonBytesMax = 256;
// Problems with records that a view names; the others are counted.
constexpr size_t kProblemsShownMax = 3;

bool IsNameCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
}

bool IsPrintable(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

// For people: a stranger chose these bytes.
std::string Shown(absl::string_view bytes) {
  const bool longer = bytes.size() > kMemberNameBytesMax;
  return absl::StrCat("\"", absl::CHexEscape(bytes.substr(0, kMemberNameBytesMax)),
                      longer ? "...\"" : "\"");
}

// One field of a record; null when it is not there.
const json* Find(const json& object, const char* field) {
  const auto found = object.find(field);
  return found == object.end() ? nullptr : &*found;
}

absl::Status ReadText(const json& object, const char* field, std::string* text) {
  const json* value = Find(object, field);
  if (value == nullptr || !value->is_string()) {
    return absl::InvalidArgumentError(absl::StrCat(field, " is missing or no text"));
  }
  *text = value->get_ref<const std::string&>();
  return absl::OkStatus();
}

absl::Status ReadNumber(const json& object, const char* field, uint64_t* number) {
  const json* value = Find(object, field);
  if (value == nullptr || !value->is_number_unsigned()) {
    return absl::InvalidArgumentError(absl::StrCat(field, " is missing or no whole number"));
  }
  *number = value->get<uint64_t>();
  return absl::OkStatus();
}

// Flags are written when they are set only.
absl::Status ReadFlag(const json& object, const char* field, bool* flag) {
  const json* value = Find(object, field);
  if (value != nullptr && !value->is_boolean()) {
    return absl::InvalidArgumentError(absl::StrCat(field, " is neither true nor false"));
  }
  *flag = value != nullptr && value->get<bool>();
  return absl::OkStatus();
}

// A number of 64 bits as text: many readers of JSON keep only 53 of them.
absl::Status ReadEpoch(const json& object, uint64_t* epoch) {
  std::string text;
  RETURN_IF_ERROR(ReadText(object, "epoch", &text));
  const bool digits = std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isxdigit(static_cast<unsigned char>(c));
  });
  if (text.size() != 16 || !digits || !absl::SimpleHexAtoi(text, epoch)) {
    return absl::InvalidArgumentError("epoch is not 16 hexadecimal digits");
  }
  return absl::OkStatus();
}

absl::StatusOr<MemberRecord> ReadRecord(const json& object) {
  if (!object.is_object()) return absl::InvalidArgumentError("is no JSON object");
  uint64_t format = 0;
  RETURN_IF_ERROR(ReadNumber(object, "format", &format));
  if (format != kRecordFormat) {
    return absl::InvalidArgumentError(
        absl::StrCat("format ", format, " is not the known one, ", kRecordFormat));
  }
  MemberRecord record;
  RETURN_IF_ERROR(ReadText(object, "name", &record.name));
  RETURN_IF_ERROR(ReadEpoch(object, &record.epoch));
  RETURN_IF_ERROR(ReadText(object, "peer_address", &record.peer_address));
  RETURN_IF_ERROR(ReadText(object, "rpc_address", &record.rpc_address));
  RETURN_IF_ERROR(ReadFlag(object, "draining", &record.draining));
  RETURN_IF_ERROR(ReadFlag(object, "directory", &record.directory));
  RETURN_IF_ERROR(ReadFlag(object, "leaving", &record.leaving));
  RETURN_IF_ERROR(ReadNumber(object, "memory_bytes", &record.memory_bytes));
  RETURN_IF_ERROR(ReadNumber(object, "disk_bytes", &record.disk_bytes));
  RETURN_IF_ERROR(ReadText(object, "version", &record.version));
  RETURN_IF_ERROR(CheckMember(record));
  return record;
}

}  // namespace

absl::Status CheckMemberName(absl::string_view name) {
  if (name.empty() || name.size() > kMemberNameBytesMax ||
      !std::all_of(name.begin(), name.end(), IsNameCharacter)) {
    return absl::InvalidArgumentError(absl::StrCat("name ", Shown(name), " is not 1 to ",
                                                   kMemberNameBytesMax,
                                                   " bytes of letters, digits, '.', '_' and '-'"));
  }
  return absl::OkStatus();
}

absl::Status CheckMemberAddress(absl::string_view field, absl::string_view address) {
  const size_t colon = address.rfind(':');
  uint32_t port = 0;
  if (address.size() > kMemberAddressBytesMax || !IsPrintable(address) || colon == 0 ||
      colon == absl::string_view::npos || !absl::SimpleAtoi(address.substr(colon + 1), &port) ||
      port == 0 || port > 65535) {
    return absl::InvalidArgumentError(absl::StrCat(field, " ", Shown(address),
                                                   " is not HOST:PORT of at most ",
                                                   kMemberAddressBytesMax, " bytes"));
  }
  return absl::OkStatus();
}

absl::Status CheckMember(const MemberRecord& record) {
  RETURN_IF_ERROR(CheckMemberName(record.name));
  RETURN_IF_ERROR(CheckMemberAddress("peer_address", record.peer_address));
  RETURN_IF_ERROR(CheckMemberAddress("rpc_address", record.rpc_address));
  if (record.version.size() > kVersionBytesMax || !IsPrintable(record.version)) {
    return absl::InvalidArgumentError(absl::StrCat("version ", Shown(record.version),
                                                   " is not at most ", kVersionBytesMax,
                                                   " printable bytes"));
  }
  return absl::OkStatus();
}

bool AsksDirectory(absl::string_view self, std::span<const MemberRecord> members) {
  bool asks = false;
  for (const MemberRecord& member : members) {
    if (!member.directory) continue;
    if (member.name == self) return false;
    asks = true;
  }
  return asks;
}

std::string RefuseReplacement(const MemberRecord& current, const MemberRecord& next) {
  if (next.name != current.name || next.epoch != current.epoch) return "its name or epoch changed";
  return std::string(CheckMember(next).message());
}

std::string ShownReason(absl::string_view text) {
  return absl::CHexEscape(text.substr(0, kReasonBytesMax));
}

std::string EncodeMember(const MemberRecord& record) {
  json object = {{"format", kRecordFormat},
                 {"name", record.name},
                 {"epoch", absl::StrFormat("%016x", record.epoch)},
                 {"peer_address", record.peer_address},
                 {"rpc_address", record.rpc_address},
                 {"memory_bytes", record.memory_bytes},
                 {"disk_bytes", record.disk_bytes},
                 {"version", record.version}};
  if (record.draining) object["draining"] = true;
  if (record.directory) object["directory"] = true;
  if (record.leaving) object["leaving"] = true;
  return object.dump();
}

absl::StatusOr<MemberRecord> DecodeMember(absl::string_view name, absl::string_view value) {
  RETURN_IF_ERROR(CheckMemberName(name));
  if (value.size() > kMemberBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", value.size(), " bytes, over ", kMemberBytesMax));
  }
  const json object = json::parse(value.begin(), value.end(), nullptr, /*allow_exceptions=*/false);
  if (object.is_discarded()) return absl::InvalidArgumentError("is no JSON");
  ASSIGN_OR_RETURN(MemberRecord record, ReadRecord(object));
  if (record.name != name) {
    return absl::InvalidArgumentError(
        absl::StrCat("is the record of another name, ", Shown(record.name)));
  }
  return record;
}

MemberTable::MemberTable(MemberRecord self, absl::Duration grace, MonotonicTime now)
    : self_(std::move(self)), grace_(grace), last_heard_(now), settled_at_(now) {}

void MemberTable::SetSelf(const MemberRecord& self) {
  std::string refused = RefuseReplacement(self_, self);
  if (refused == refused_self_ && self == self_) return;
  ++revision_;
  refused_self_ = std::move(refused);
  if (!refused_self_.empty()) return;
  self_ = self;
  if (own_ == OwnRecord::kCurrent) own_ = OwnRecord::kOutdated;
}

void MemberTable::OnList(const std::vector<Entry>& entries, bool more, MonotonicTime now) {
  OnHeard(now);
  if (!reachable_ && ever_reached_) {
    settled_at_ = now + grace_;
    // Also for those who had no time to come again before the source went away once more.
    for (auto& [name, known] : known_) {
      if (known.drop_at) known.drop_at = settled_at_;
    }
  }
  if (!reachable_ || more != more_ || !bad_.empty()) ++revision_;
  reachable_ = ever_reached_ = true;
  more_ = more;
  bad_.clear();
  own_revision_ = 0;
  const bool was_taken = name_taken();
  own_ = OwnRecord::kMissing;
  absl::flat_hash_set<absl::string_view> listed;
  for (const Entry& entry : entries) {
    listed.insert(entry.name);
    Put(entry, now);
  }
  if (was_taken != name_taken()) ++revision_;
  for (auto& [name, known] : known_) {
    if (!listed.contains(name) && !known.drop_at) known.drop_at = std::max(now, settled_at_);
  }
  Tick(now);
}

void MemberTable::OnPut(const Entry& entry, MonotonicTime now) {
  OnHeard(now);
  Put(entry, now);
  Tick(now);
}

void MemberTable::Put(const Entry& entry, MonotonicTime now) {
  if (entry.name == self_.name) return PutOwn(entry);
  if (bad_.erase(Shown(entry.name)) > 0) ++revision_;
  absl::StatusOr<MemberRecord> record = DecodeMember(entry.name, entry.value);
  if (!record.ok()) {
    Report(entry.name, record.status().message());
    // Its node, if it lives, puts it right; a lease no longer says whether it does.
    Vanish(entry.name, now + grace_);
    return;
  }
  PutOther(*std::move(record));
}

void MemberTable::PutOther(MemberRecord record) {
  const auto found = known_.find(record.name);
  if (record.leaving) {
    if (found == known_.end()) return;
    known_.erase(found);
    ++revision_;
    return;
  }
  if (found == known_.end()) {
    if (known_.size() >= kMembersMax) {
      return Report(record.name, absl::StrCat("is one member too many, over ", kMembersMax));
    }
    std::string name = record.name;
    known_.emplace(std::move(name), Known{std::move(record), std::nullopt});
    ++revision_;
    return;
  }
  found->second.drop_at.reset();
  if (found->second.record == record) return;
  found->second.record = std::move(record);
  ++revision_;
}

void MemberTable::PutOwn(const Entry& entry) {
  if (entry.revision < own_revision_) return;  // from before this node wrote it
  absl::StatusOr<MemberRecord> record = DecodeMember(entry.name, entry.value);
  if (!record.ok()) return SetOwn(OwnRecord::kOutdated);
  if (record->epoch == self_.epoch) {
    return SetOwn(*record == self_ ? OwnRecord::kCurrent : OwnRecord::kOutdated);
  }
  if (record->leaving) return SetOwn(OwnRecord::kMissing);
  taken_by_ = absl::StrCat("at ", record->peer_address, ", epoch ", record->epoch);
  SetOwn(OwnRecord::kTaken);
}

void MemberTable::SetOwn(OwnRecord own) {
  if ((own == OwnRecord::kTaken) != name_taken()) ++revision_;
  own_ = own;
}

void MemberTable::OnDelete(absl::string_view name, int64_t revision, MonotonicTime now) {
  OnHeard(now);
  if (name == self_.name) {
    if (revision > own_revision_) SetOwn(OwnRecord::kMissing);
    return;
  }
  if (bad_.erase(Shown(name)) > 0) ++revision_;
  Vanish(name, std::max(now, settled_at_));
  Tick(now);
}

void MemberTable::Vanish(absl::string_view name, MonotonicTime drop_at) {
  const auto found = known_.find(name);
  if (found != known_.end() && !found->second.drop_at) found->second.drop_at = drop_at;
}

void MemberTable::Report(absl::string_view name, absl::string_view why) {
  if (bad_.size() < kMembersMax && bad_.emplace(Shown(name), why).second) ++revision_;
}

void MemberTable::OnLost(absl::string_view problem) {
  if (reachable_ || lost_because_ != problem) ++revision_;
  reachable_ = false;
  lost_because_ = std::string(problem);
}

void MemberTable::Tick(MonotonicTime now) {
  if (!reachable_) return;
  const size_t dropped = absl::erase_if(known_, [now](const auto& item) {
    return item.second.drop_at && *item.second.drop_at <= now;
  });
  if (dropped > 0) ++revision_;
}

std::optional<MonotonicTime> MemberTable::next_wakeup() const {
  std::optional<MonotonicTime> next;
  if (!reachable_) return next;
  for (const auto& [name, known] : known_) {
    if (known.drop_at && (!next || *known.drop_at < *next)) next = known.drop_at;
  }
  return next;
}

bool MemberTable::must_publish() const {
  if (own_ == OwnRecord::kTaken) return !ever_published_;
  return own_ != OwnRecord::kCurrent;
}

void MemberTable::OnPublished(const MemberRecord& record, int64_t revision) {
  ever_published_ = true;
  own_revision_ = revision;
  SetOwn(record == self_ ? OwnRecord::kCurrent : OwnRecord::kOutdated);
}

void MemberTable::OnUnpublished() {
  if (own_ != OwnRecord::kTaken) own_ = OwnRecord::kMissing;
}

MemberView MemberTable::View(MonotonicTime now) const {
  MemberView view;
  view.members.reserve(known_.size() + 1);
  for (const auto& [name, known] : known_) view.members.push_back(known.record);
  const auto after_self = std::lower_bound(
      view.members.begin(), view.members.end(), self_.name,
      [](const MemberRecord& member, const std::string& name) { return member.name < name; });
  view.members.insert(after_self, self_);
  view.source_reachable = reachable_;
  if (!reachable_) view.source_silent_for = std::max(now - last_heard_, absl::ZeroDuration());
  view.problem = Problem();
  view.revision = revision_;
  return view;
}

std::string MemberTable::Problem() const {
  std::vector<std::string> problems;
  if (!reachable_) problems.push_back(lost_because_);
  if (name_taken() && ever_published_) {
    problems.push_back(absl::StrCat("another node took the name ", self_.name, " (", taken_by_,
                                    "): this one is no member to the others"));
  }
  if (!refused_self_.empty()) {
    problems.push_back(absl::StrCat("this node's record is not published: ", refused_self_));
  }
  for (const auto& [name, why] : bad_) {
    if (problems.size() >= kProblemsShownMax) break;
    problems.push_back(absl::StrCat("record ", name, " ", why));
  }
  if (bad_.size() > kProblemsShownMax) {
    problems.push_back(absl::StrCat(bad_.size(), " such records in all"));
  }
  if (more_) problems.push_back("there are more records than are read");
  return absl::StrJoin(problems, "; ");
}

}  // namespace larder
