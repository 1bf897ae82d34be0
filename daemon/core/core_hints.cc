// Hints: what callers say of chunks beforehand.
#include <algorithm>

#include "daemon/core/core.h"

namespace larder {
namespace {

// A next use is expected "in about" so long: it may well be a bit later.
constexpr double kNextUseSlack = 1.25;
constexpr absl::Duration kNextUseSlackMin = absl::Seconds(1);

}  // namespace

absl::StatusOr<HintReport> Core::Hint(SpaceHandle handle, std::span<const KeyHash> keys,
                                      const Hints& hints, MonotonicTime now) {
  RETURN_IF_ERROR(SpaceOf(handle).status());
  for (const std::optional<absl::Duration>& duration : {hints.keep, hints.next_use, hints.ttl}) {
    if (duration && *duration <= absl::ZeroDuration()) {
      return absl::InvalidArgumentError("a hint's duration must be positive");
    }
  }
  if ((hints.no_next_use || hints.session_end) && (hints.keep || hints.next_use || hints.pin)) {
    return absl::InvalidArgumentError("a hint asks to keep chunks and to let them go");
  }
  HintReport report;
  const auto apply = [&](ChunkIndex chunk, const Hints& applied) {
    ++report.found;
    const HintAnswer answer = HintOne(chunk, applied, now);
    ++(answer == HintAnswer::kAccepted  ? report.accepted
       : answer == HintAnswer::kClipped ? report.clipped
                                        : report.refused);
  };
  Hints applied = hints;
  applied.no_next_use |= hints.session_end;
  // Budgets are for the beginning of a prefix first: its end is of no use without it.
  for (const KeyHash& key : keys) {
    const ChunkIndex chunk = FindUnexpired(handle, key, now);
    if (chunk == kNoChunk) continue;
    Hints one = applied;
    // What has two successors belongs to another session, too.
    if (hints.session_end && catalog_.chunk(chunk).children > 1) one.no_next_use = false;
    apply(chunk, one);
  }
  stats_.hints_accepted += report.accepted;
  stats_.hints_clipped += report.clipped;
  stats_.hints_refused += report.refused;
  return report;
}

Core::HintAnswer Core::HintOne(ChunkIndex chunk, const Hints& hints, MonotonicTime now) {
  HintAnswer worst = HintAnswer::kAccepted;
  const auto note = [&](HintAnswer answer) { worst = std::max(worst, answer); };
  if (hints.ttl) LimitExpiry(chunk, now + std::min(*hints.ttl, kTtlMax));
  if (hints.priority) {
    catalog_.SetPriority(chunk, *hints.priority);
    if (*hints.priority == ChunkPriority::kHigh) {
      const HintAnswer answer = KeepFor(chunk, Catalog::kHighPriorityKeep, now);
      if (answer == HintAnswer::kRefused) catalog_.SetPriority(chunk, ChunkPriority::kNormal);
      note(answer);
    }
  }
  std::optional<absl::Duration> keep = hints.keep;
  if (hints.next_use) {
    const absl::Duration until = *hints.next_use * kNextUseSlack + kNextUseSlackMin;
    keep = std::max(keep.value_or(until), until);
  }
  if (keep) note(KeepFor(chunk, *keep, now));
  if (hints.no_next_use) catalog_.LetGoFirst(chunk);
  if (hints.pin) {
    const Chunk& pinned = catalog_.chunk(chunk);
    const KeyHash key = pinned.key;
    if (!SetPinned(pinned.space, std::span(&key, 1), true).ok()) note(HintAnswer::kRefused);
  }
  return worst;
}

Core::HintAnswer Core::KeepFor(ChunkIndex chunk, absl::Duration duration, MonotonicTime now) {
  const GroupIndex group = catalog_.GroupOf(catalog_.chunk(chunk).space);
  const auto kept_bytes_max = static_cast<uint64_t>(options_.hints.kept_fraction_max *
                                                    static_cast<double>(shares_.ShareBytes(group)));
  const uint64_t bytes = ChunkBytes(chunk);
  const uint64_t others = catalog_.KeptBytes(group) - catalog_.KeptBytesOf(chunk);
  if (others + bytes > kept_bytes_max) return HintAnswer::kRefused;
  catalog_.Keep(chunk, now + std::min(duration, options_.hints.keep_max), bytes);
  return duration > options_.hints.keep_max ? HintAnswer::kClipped : HintAnswer::kAccepted;
}

}  // namespace larder
