// Why a chunk is there or not.
#include "absl/strings/str_cat.h"
#include "daemon/core/core.h"

namespace larder {

void Core::RecordDeparture(SpaceHandle space, const KeyHash& key, AbsenceReason reason,
                           Departure departure) {
  departure.reason = static_cast<uint8_t>(reason);
  departures_.Add(Catalog::PolicyKey(space, key), departure);
}

void Core::TakeDiskDepartures() {
  for (const DiskTier::Dropped& dropped : disk_->TakeDropped()) {
    NoteChange(dropped.space, dropped.key);
    // What is in memory, too, has not left.
    if (catalog_.Find(dropped.space, dropped.key) != kNoChunk) continue;
    RecordDeparture(dropped.space, dropped.key,
                    dropped.corrupt ? AbsenceReason::kDiskCorrupt : AbsenceReason::kDiskReclaimed,
                    {.time = ToTicks(latest_), .uses = uint8_t{dropped.used}});
  }
}

bool Core::IsStoredIn(SpaceHandle space, const KeyHash& key, MonotonicTime now) const {
  const ChunkIndex chunk = catalog_.Find(space, key);
  if (chunk != kNoChunk && catalog_.chunk(chunk).state == Chunk::State::kVisible) return true;
  return disk_ != nullptr && disk_->Find(space, key, ToUnixMs(now)) != kNoDiskChunk;
}

absl::StatusOr<std::vector<Explanation>> Core::Explain(SpaceHandle handle,
                                                       std::span<const KeyHash> keys,
                                                       MonotonicTime now) const {
  if (FindSpace(handle) == nullptr) {
    return absl::NotFoundError(absl::StrCat("no space has the handle ", handle));
  }
  if (keys.size() > kExplainKeysMax) {
    return absl::ResourceExhaustedError(
        absl::StrCat(keys.size(), " keys to explain; at most ", kExplainKeysMax));
  }
  std::vector<Explanation> explanations;
  for (const KeyHash& key : keys) {
    Explanation explanation;
    explanation.key = key;
    explanation.chunk = Inspect(handle, key);
    explanation.loading = loads_.contains({handle, key});
    const bool stored = explanation.chunk && explanation.chunk->visible;
    if (!stored) {
      explanation.departure = departures_.Find(Catalog::PolicyKey(handle, key));
      if (explanation.departure) {
        const PolicyTicks gone = ToTicks(now) - explanation.departure->time;
        explanation.gone_for = absl::Seconds(gone / kTicksPerSecond);
      }
      for (const auto& space : spaces_) {
        if (space->handle != handle && IsStoredIn(space->handle, key, now)) {
          explanation.elsewhere.push_back(space->handle);
        }
      }
    }
    explanations.push_back(std::move(explanation));
  }
  return explanations;
}

}  // namespace larder
