#include "daemon/rpc/explanation.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "daemon/node/utf8.h"
#include "daemon/rpc/chunk_listing.h"

namespace larder {
namespace {

// The enumerations are numbered alike, so that one addition translates them.
static_assert(v1::ABSENCE_REASON_CAPACITY == static_cast<int>(AbsenceReason::kCapacity) + 1);
static_assert(v1::ABSENCE_REASON_DISK_CORRUPT == static_cast<int>(AbsenceReason::kDiskCorrupt) + 1);
static_assert(v1::EVICTION_RULE_LEAST_RECENT == static_cast<int>(StandingRule::kLeastRecent) + 1);
static_assert(v1::EVICTION_RULE_HINT == static_cast<int>(StandingRule::kGoesFirst) + 1);

// "3m20s": no more exact than anybody cares.
std::string Rounded(absl::Duration duration) {
  const bool short_one = duration < absl::Minutes(1);
  return absl::FormatDuration(
      absl::Trunc(duration, short_one ? absl::Milliseconds(100) : absl::Seconds(1)));
}

absl::Duration FromTicks(PolicyTicks ticks) { return absl::Seconds(ticks / kTicksPerSecond); }

bool WasEvicted(AbsenceReason reason) {
  return reason == AbsenceReason::kCapacity || reason == AbsenceReason::kDemoted ||
         reason == AbsenceReason::kQuota;
}

std::string ReasonText(AbsenceReason reason) {
  switch (reason) {
    case AbsenceReason::kCapacity:
      return "evicted from memory to make room";
    case AbsenceReason::kExpired:
      return "its time to live was over";
    case AbsenceReason::kRemoved:
      return "a caller removed it";
    case AbsenceReason::kCleared:
      return "its space was cleared";
    case AbsenceReason::kCorrupt:
      return "its bytes in memory were damaged, so it was taken out";
    case AbsenceReason::kDemoted:
      return "evicted from memory while it was on disk, and no longer there since";
    case AbsenceReason::kQuota:
      return "evicted because its tenant was at its ceiling";
    case AbsenceReason::kRefused:
      return "not let in: what would have had to go was expected to be of more use";
    case AbsenceReason::kDiskReclaimed:
      return "dropped from disk, where its segment was needed again";
    case AbsenceReason::kDiskCorrupt:
      return "its record on disk could not be read back whole";
  }
  return "";
}

std::string RuleText(const Standing& standing) {
  switch (standing.rule) {
    case StandingRule::kLeastRecent:
      return "it was not used for longest";
    case StandingRule::kLearned:
      return absl::StrFormat("the fewest uses were expected of it (score %.3g)", standing.worth);
    case StandingRule::kGoesFirst:
      return "a hint had let it go first";
  }
  return "";
}

std::string DepartureText(const Explanation& explanation) {
  const Departure& departure = *explanation.departure;
  const auto reason = static_cast<AbsenceReason>(departure.reason);
  std::string text =
      absl::StrCat("gone for ", Rounded(explanation.gone_for), ": ", ReasonText(reason));
  if (WasEvicted(reason)) {
    absl::StrAppend(&text, "; ", RuleText(departure.standing), ", unused for ",
                    Rounded(FromTicks(departure.idle)), " after ", departure.uses,
                    departure.uses == 1 ? " use" : " uses");
  }
  return text;
}

// How another space differs from the one that was asked about.
std::string SpaceDifference(const Space& asked, const Space& other) {
  std::vector<std::string> parts;
  if (asked.description.tenant != other.description.tenant) {
    parts.push_back(
        absl::StrCat("tenant: ", asked.description.tenant, " and ", other.description.tenant));
  }
  if (asked.description.salt != other.description.salt) parts.push_back("salt");
  if (!(asked.description.manifest == other.description.manifest)) {
    parts.push_back(DescribeDifference(asked.description.manifest, other.description.manifest));
  }
  return ToUtf8(absl::StrJoin(parts, "; "));
}

v1::ChunkState StateOf(const Explanation& explanation) {
  if (explanation.chunk && explanation.chunk->visible) return v1::CHUNK_STATE_STORED;
  if (explanation.loading) return v1::CHUNK_STATE_LOADING;
  if (explanation.chunk) return v1::CHUNK_STATE_INCOMPLETE;
  if (explanation.departure) return v1::CHUNK_STATE_GONE;
  return v1::CHUNK_STATE_UNKNOWN;
}

std::string LevelsText(const ChunkInfo& chunk) {
  if (chunk.dropped_levels == 0) return "";
  return absl::StrCat(", without its ", chunk.dropped_levels,
                      chunk.dropped_levels == 1 ? " finest level" : " finest levels",
                      ", which made room for others");
}

std::string StateText(const Explanation& explanation, v1::ChunkState state) {
  switch (state) {
    case v1::CHUNK_STATE_STORED:
      return absl::StrCat("stored, ",
                          !explanation.chunk->in_memory ? "on disk"
                          : explanation.chunk->on_disk  ? "in memory and on disk"
                                                        : "in memory",
                          LevelsText(*explanation.chunk));
    case v1::CHUNK_STATE_LOADING:
      return "on its way from disk into memory";
    case v1::CHUNK_STATE_INCOMPLETE:
      return absl::StrCat("incomplete: only ", explanation.chunk->extents.size(),
                          " of its parts are stored");
    case v1::CHUNK_STATE_GONE:
      return DepartureText(explanation);
    default:
      return "never stored here, or gone for so long that nobody remembers";
  }
}

}  // namespace

void FillExplanation(const Core& core, const Space& space, const Explanation& explanation,
                     MonotonicTime now, v1::Explanation* message) {
  const v1::ChunkState state = StateOf(explanation);
  message->set_key_hash(ToString(explanation.key));
  message->set_state(state);
  if (explanation.chunk) FillChunk(space, *explanation.chunk, now, message->mutable_chunk());
  if (explanation.departure) {
    const Departure& departure = *explanation.departure;
    const auto reason = static_cast<AbsenceReason>(departure.reason);
    message->set_reason(static_cast<v1::AbsenceReason>(departure.reason + 1));
    message->set_gone_for_ms(
        static_cast<uint64_t>(absl::ToInt64Milliseconds(explanation.gone_for)));
    message->set_idle_ms(
        static_cast<uint64_t>(absl::ToInt64Milliseconds(FromTicks(departure.idle))));
    message->set_uses(departure.uses);
    if (WasEvicted(reason)) {
      message->set_rule(
          static_cast<v1::EvictionRule>(static_cast<int>(departure.standing.rule) + 1));
      message->set_worth(departure.standing.worth);
    }
  }
  std::string text = StateText(explanation, state);
  for (const SpaceHandle handle : explanation.elsewhere) {
    const Space& other = *core.FindSpace(handle);
    v1::OtherSpace* elsewhere = message->add_elsewhere();
    elsewhere->set_space_id(ToString(other.id));
    elsewhere->set_difference(SpaceDifference(space, other));
    absl::StrAppend(&text, "; stored in space ", elsewhere->space_id(), ", which differs in ",
                    elsewhere->difference());
  }
  message->set_text(text);
}

}  // namespace larder
