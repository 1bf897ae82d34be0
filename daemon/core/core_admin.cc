// Removal, pins, listing, statistics and recovery: what operators and start-up need of the core.
#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"
#include "daemon/core/core.h"

namespace larder {
namespace {

// How many chunks one step of a walk looks at, so that a walk never holds up the event loop.
constexpr ChunkIndex kChunksPerStepMax = 4096;

// A walk's cursor goes through memory first, then, from here on, through the disk tier.
constexpr ChunkIndex kDiskCursor = ChunkIndex{1} << 31;
static_assert(kBlockRecordsMax < kDiskCursor);

}  // namespace

absl::StatusOr<uint32_t> Core::SetPinned(SpaceHandle handle, std::span<const KeyHash> keys,
                                         bool pinned) {
  RETURN_IF_ERROR(SpaceOf(handle).status());
  const auto pinned_bytes_max =
      static_cast<uint64_t>(options_.pinned_fraction_max *
                            static_cast<double>(shares_.ShareBytes(catalog_.GroupOf(handle))));
  uint32_t found = 0;
  for (const KeyHash& key : keys) {
    const ChunkIndex chunk = catalog_.Find(handle, key);
    if (chunk == kNoChunk) continue;
    ++found;
    if (catalog_.chunk(chunk).pinned == pinned) continue;
    const uint64_t bytes = ChunkBytes(chunk);
    if (pinned && pinned_bytes_[catalog_.GroupOf(handle)] + bytes > pinned_bytes_max) {
      return absl::ResourceExhaustedError(
          absl::StrCat("pinned chunks would exceed their share of ", pinned_bytes_max,
                       " bytes (pinned_fraction_max) after ", found - 1, " chunks"));
    }
    pinned ? AddPinned(handle, bytes) : SubtractPinned(handle, bytes);
    catalog_.SetPinned(chunk, pinned);
    catalog_.ForEachBlock(
        chunk, [&](BlockIndex block) { blocks_->SetFlags(block, pinned ? kBlockFlagPinned : 0); });
  }
  return found;
}

absl::StatusOr<uint32_t> Core::Remove(SpaceHandle handle, std::span<const KeyHash> keys,
                                      RemovalCause cause) {
  RETURN_IF_ERROR(SpaceOf(handle).status());
  uint32_t removed = 0;
  for (const KeyHash& key : keys) {
    const ChunkIndex chunk = catalog_.Find(handle, key);
    const bool on_disk = ForgetOnDisk(handle, key);
    if (chunk != kNoChunk) RemoveChunk(chunk, cause);
    if (chunk != kNoChunk || on_disk) ++removed;
  }
  return removed;
}

void Core::RemoveChunk(ChunkIndex chunk, RemovalCause cause) {
  ++stats_.removed_chunks[static_cast<size_t>(cause)];
  const Chunk& leaving = catalog_.chunk(chunk);
  RecordDeparture(leaving.space, leaving.key, static_cast<AbsenceReason>(cause),
                  {.time = ToTicks(latest_),
                   .idle = ToTicks(latest_) - leaving.last_use,
                   .uses = leaving.uses,
                   .standing = catalog_.StandingOf(chunk)});
  Space& space = *spaces_[catalog_.chunk(chunk).space];
  ++space.stats.removed_chunks[static_cast<size_t>(cause)];
  if (catalog_.chunk(chunk).pinned) {
    SubtractPinned(leaving.space, ChunkBytes(chunk));
    catalog_.SetPinned(chunk, false);
  }
  NoteChange(leaving.space, leaving.key);
  // A killed daemon must not find again what was removed, even while a reader still holds it.
  catalog_.ForEachBlock(chunk,
                        [&](BlockIndex block) { blocks_->SetFlags(block, kBlockFlagDoomed); });
  if (catalog_.Unlink(chunk)) FreeChunk(chunk);
}

void Core::FreeChunk(ChunkIndex chunk) {
  Space& space = *spaces_[catalog_.chunk(chunk).space];
  catalog_.ForEachBlock(chunk, [&](BlockIndex block) {
    const BlockRecord record = blocks_->Read(block);
    space.stats.resident_bytes -= record.bytes;
    FreeExtent(space.handle, record.offset, record.bytes);
    blocks_->Free(block);
  });
  --space.stats.resident_chunks;
  catalog_.Erase(chunk);
}

void Core::AddPinned(SpaceHandle space, uint64_t bytes) {
  pinned_bytes_[catalog_.GroupOf(space)] += bytes;
  stats_.pinned_bytes += bytes;
}

void Core::SubtractPinned(SpaceHandle space, uint64_t bytes) {
  pinned_bytes_[catalog_.GroupOf(space)] -= bytes;
  stats_.pinned_bytes -= bytes;
}

uint64_t Core::ChunkBytes(ChunkIndex chunk) const {
  uint64_t bytes = 0;
  catalog_.ForEachBlock(chunk, [&](BlockIndex block) { bytes += blocks_->Read(block).bytes; });
  return bytes;
}

std::optional<ChunkIndex> Core::ClearStep(std::optional<SpaceHandle> space, ChunkIndex cursor,
                                          uint64_t* removed) {
  if (cursor >= kDiskCursor && disk_ == nullptr) return std::nullopt;
  if (cursor >= kDiskCursor) return ClearDiskStep(space, cursor, removed);
  const ChunkIndex end = catalog_.end_index();
  const ChunkIndex stop = std::min(end, cursor + kChunksPerStepMax);
  for (; cursor < stop; ++cursor) {
    const Chunk& chunk = catalog_.chunk(cursor);
    if (chunk.state != Chunk::State::kVisible && chunk.state != Chunk::State::kPartial) continue;
    if (space && chunk.space != *space) continue;
    (void)ForgetOnDisk(chunk.space, chunk.key);
    RemoveChunk(cursor, RemovalCause::kCleared);
    ++*removed;
  }
  return NextCursor(cursor);
}

std::optional<ChunkIndex> Core::NextCursor(ChunkIndex cursor) const {
  if (cursor < catalog_.end_index()) return cursor;
  if (disk_ != nullptr && disk_->end_index() > 0) return kDiskCursor;
  return std::nullopt;
}

std::optional<ChunkIndex> Core::ClearDiskStep(std::optional<SpaceHandle> space, ChunkIndex cursor,
                                              uint64_t* removed) {
  const DiskChunkIndex end = kDiskCursor + disk_->end_index();
  const DiskChunkIndex stop = std::min(end, cursor + kChunksPerStepMax);
  for (; cursor < stop; ++cursor) {
    const std::optional<DiskTier::Listed> listed = disk_->ListAt(cursor - kDiskCursor);
    if (!listed || (space && listed->space != *space)) continue;
    (void)ForgetOnDisk(listed->space, listed->key);
    ++*removed;
  }
  if (cursor >= end) return std::nullopt;
  return cursor;
}

std::optional<ChunkIndex> Core::ListStep(std::optional<SpaceHandle> space, ChunkIndex cursor,
                                         size_t limit, std::vector<ChunkInfo>* infos) const {
  if (cursor >= kDiskCursor && disk_ == nullptr) return std::nullopt;
  if (cursor >= kDiskCursor) return ListDiskStep(space, cursor, limit, infos);
  const ChunkIndex end = catalog_.end_index();
  const ChunkIndex stop = std::min(end, cursor + kChunksPerStepMax);
  for (; cursor < stop && infos->size() < limit; ++cursor) {
    const Chunk& chunk = catalog_.chunk(cursor);
    if (chunk.state != Chunk::State::kVisible && chunk.state != Chunk::State::kPartial) continue;
    if (space && chunk.space != *space) continue;
    infos->push_back(InfoOf(cursor));
  }
  return NextCursor(cursor);
}

std::optional<ChunkIndex> Core::ListDiskStep(std::optional<SpaceHandle> space, ChunkIndex cursor,
                                             size_t limit, std::vector<ChunkInfo>* infos) const {
  const DiskChunkIndex end = kDiskCursor + disk_->end_index();
  const DiskChunkIndex stop = std::min(end, cursor + kChunksPerStepMax);
  for (; cursor < stop && infos->size() < limit; ++cursor) {
    const std::optional<DiskTier::Listed> listed = disk_->ListAt(cursor - kDiskCursor);
    if (!listed || (space && listed->space != *space)) continue;
    // Those in memory were listed already.
    if (catalog_.Find(listed->space, listed->key) != kNoChunk) continue;
    infos->push_back(DiskInfoOf(*listed));
  }
  if (cursor >= end) return std::nullopt;
  return cursor;
}

ChunkInfo Core::DiskInfoOf(const DiskTier::Listed& listed) const {
  ChunkInfo info;
  info.space = listed.space;
  info.key = listed.key;
  info.depth = listed.depth;
  info.visible = true;
  info.in_memory = false;
  info.on_disk = true;
  info.bytes = listed.bytes;
  return info;
}

absl::StatusOr<AcquireResult> Core::AcquireUncounted(SessionId session_id, SpaceHandle handle,
                                                     const KeyHash& key) {
  ASSIGN_OR_RETURN(Session * session, LiveSession(session_id));
  ASSIGN_OR_RETURN(Space * space, SpaceOf(handle));
  if (session->leases.size() >= options_.leases_per_session_max) {
    return absl::ResourceExhaustedError(absl::StrCat("the session holds ", session->leases.size(),
                                                     " leases (leases_per_session_max)"));
  }
  AcquireResult result;
  const ChunkIndex chunk = catalog_.Find(handle, key);
  if (chunk == kNoChunk) return result;
  result.lease = LeaseId{next_handle_++};
  catalog_.AddLease(chunk);
  AppendExtents(chunk, space->description.manifest.WholePart(), &result);
  leases_.try_emplace(result.lease, Lease{.session = session_id, .chunks = {chunk}});
  session->leases.insert(result.lease);
  ++session->leased_chunks;
  return result;
}

std::optional<ChunkInfo> Core::Inspect(SpaceHandle space, const KeyHash& key) const {
  if (const ChunkIndex chunk = catalog_.Find(space, key); chunk != kNoChunk) return InfoOf(chunk);
  if (disk_ == nullptr) return std::nullopt;
  const DiskChunkIndex on_disk = disk_->Find(space, key, 0);
  if (on_disk == kNoDiskChunk) return std::nullopt;
  return DiskInfoOf(*disk_->ListAt(on_disk));
}

ChunkInfo Core::InfoOf(ChunkIndex chunk_index) const {
  const Chunk& chunk = catalog_.chunk(chunk_index);
  ChunkInfo info{.space = chunk.space,
                 .key = chunk.key,
                 .depth = chunk.depth,
                 .children = chunk.children,
                 .leases = chunk.leases,
                 .visible = chunk.state == Chunk::State::kVisible,
                 .pinned = chunk.pinned,
                 .on_disk = IsOnDisk(chunk_index),
                 .last_use = chunk.last_use,
                 .expiry = std::nullopt,
                 .bytes = ChunkBytes(chunk_index),
                 .extents = {}};
  if (chunk.expiry.nanoseconds != 0) info.expiry = chunk.expiry;
  catalog_.ForEachBlock(chunk_index, [&](BlockIndex block) {
    const BlockRecord record = blocks_->Read(block);
    info.extents.push_back({record.offset, record.bytes, PartOf(record)});
    info.dropped_levels = std::max(info.dropped_levels, record.dropped_levels);
  });
  return info;
}

uint64_t Core::MeanChunkBytes(const Space& space) const {
  const SpaceStats& stats = space.stats;
  const uint64_t bytes = stats.resident_chunks == 0 ? space.whole_payload_bytes
                                                    : stats.resident_bytes / stats.resident_chunks;
  return (bytes / options_.granule_bytes + 1) * options_.granule_bytes;
}

CoreStats Core::Stats() const {
  CoreStats stats = stats_;
  stats.backed_bytes = allocator_.capacity_bytes();
  stats.free_bytes = allocator_.free_bytes();
  stats.largest_free_bytes = allocator_.largest_free_bytes();
  stats.used_bytes = stats.backed_bytes - stats.free_bytes;
  stats.chunks = catalog_.chunk_count();
  stats.sessions = sessions_.size();
  stats.leases = leases_.size();
  stats.reservations = reservations_.size();
  stats.explain_records = departures_.capacity();
  stats.explain_overwritten = departures_.overwritten();
  for (GroupIndex group = 0; group < shares_.size(); ++group) {
    const TierLimits& limits = shares_.limits(group);
    stats.groups.push_back({.tenant = group == 0 ? "" : options_.tenants[group - 1].tenant,
                            .memory_bytes = shares_.used_bytes(group),
                            .disk_bytes = disk_ == nullptr ? 0 : disk_->GroupBytes(group),
                            .kept_bytes = catalog_.KeptBytes(group),
                            .memory_guaranteed = limits.guaranteed,
                            .memory_ceiling = limits.ceiling == ~uint64_t{0} ? 0 : limits.ceiling,
                            .policy = catalog_.policy_counters(group)});
  }
  return stats;
}

// --- recovery -----------------------------------------------------------------------------------

absl::StatusOr<SpaceHandle> Core::RestoreSpace(const SpaceDescription& description) {
  return OpenSpace(description);
}

RecoveryReport Core::RecoverBlocks(MonotonicTime now) {
  struct Found {
    uint64_t sequence;
    BlockIndex block;
  };
  std::vector<Found> found;
  const BlockRecovery scan = blocks_->Recover([&](uint32_t block, const BlockRecord& record) {
    if ((record.flags & kBlockFlagDoomed) != 0 || !FindSpace(record.space)) return false;
    if (record.expiry_unix_ms != 0 && FromUnixMs(record.expiry_unix_ms) <= now) return false;
    found.push_back({record.sequence, block});
    return true;
  });
  std::sort(found.begin(), found.end(),
            [](const Found& a, const Found& b) { return a.sequence < b.sequence; });

  RecoveryReport report;
  report.discarded_blocks = uint64_t{scan.uncommitted} + scan.damaged + scan.refused;
  std::vector<std::pair<ChunkIndex, KeyHash>> parents;
  // When each was used is lost. They are taken to be used a moment after each other, in the order
  // in which they were committed.
  const absl::Duration tick = absl::Nanoseconds(kTickNanoseconds);
  MonotonicTime used = now + -tick * found.size();
  for (const Found& entry : found) {
    const BlockRecord record = blocks_->Read(entry.block);
    used = used + tick;
    if (!RecoverBlock(entry.block, record, used, &parents)) {
      blocks_->Free(entry.block);
      ++report.discarded_blocks;
      continue;
    }
    report.bytes += record.bytes;
  }
  for (const auto& [chunk, parent] : parents) catalog_.LinkParent(chunk, parent);
  for (const auto& [offset, bytes] : scan.uncommitted_extents) {
    // What is not free belongs to a committed block: the record was old, or half written.
    if (allocator_.Claim(offset, bytes).ok()) orphans_.push_back({offset, bytes});
  }
  orphans_end_ = now + options_.orphan_grace;
  report.chunks = catalog_.chunk_count();
  return report;
}

bool Core::RecoverBlock(BlockIndex block, const BlockRecord& record, MonotonicTime used,
                        std::vector<std::pair<ChunkIndex, KeyHash>>* parents) {
  const SpaceHandle space = *FindSpace(record.space);
  const Manifest& manifest = spaces_[space]->description.manifest;
  if (!manifest.ValidatePart(PartOf(record)).ok()) return false;
  const ChunkIndex known = catalog_.Find(space, record.key);
  if (known != kNoChunk && PartFate(known, PartOf(record)) != ReserveOutcome::Kind::kGranted) {
    return false;
  }
  if (!allocator_.Claim(record.offset, record.bytes).ok()) return false;
  sequence_ = std::max(sequence_, record.sequence);
  shares_.Add(catalog_.GroupOf(space), record.bytes);
  const ChunkIndex chunk =
      Attach(space, record.key, KeyHash{}, record.depth, block, /*category=*/0, used);
  LimitExpiry(chunk,
              record.expiry_unix_ms == 0 ? MonotonicTime{} : FromUnixMs(record.expiry_unix_ms));
  if ((record.flags & kBlockFlagPinned) != 0 && !catalog_.chunk(chunk).pinned) {
    // A kill may have come between the flags of two parts.
    catalog_.SetPinned(chunk, true);
    AddPinned(space, ChunkBytes(chunk));
    catalog_.ForEachBlock(chunk, [&](BlockIndex b) { blocks_->SetFlags(b, kBlockFlagPinned); });
  }
  catalog_.Touch(chunk, used);
  parents->emplace_back(chunk, record.parent);
  return true;
}

void Core::GrowBackedBytes(uint64_t backed_bytes) {
  backed_bytes = std::min(backed_bytes, options_.data_bytes);
  if (backed_bytes > allocator_.capacity_bytes()) allocator_.Grow(backed_bytes);
}

MonotonicTime Core::FromUnixMs(int64_t unix_ms) const {
  // What the table says may be beyond what a monotonic clock can show.
  constexpr int64_t kMsMax = std::numeric_limits<int64_t>::max() / 1'000'000;
  return {std::clamp(unix_ms - unix_ms_at_zero_, -kMsMax, kMsMax) * 1'000'000};
}

int64_t Core::ToUnixMs(MonotonicTime time) const {
  return unix_ms_at_zero_ + time.nanoseconds / 1'000'000;
}

}  // namespace larder
