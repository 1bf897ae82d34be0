// The flow between memory and the disk tier.
#include <algorithm>
#include <utility>

#include "common/check.h"
#include "daemon/core/core.h"

namespace larder {
namespace {

// Bounds on the work of one call.
constexpr int kDemotionsPerCallMax = 64;
constexpr size_t kLoadsPerCallMax = 1024;
// Chunks that wait to leave memory; further ones are looked at when memory is needed.
constexpr size_t kReadyMax = size_t{1} << 20;

Part PartOfDisk(const DiskRecord& record) {
  return {record.layer_begin, record.layer_end, record.head_begin, record.head_end};
}

}  // namespace

std::vector<TierLimits> Core::DiskLimits() const {
  std::vector<TierLimits> limits;
  for (const TenantLimits& tenant : options_.tenants) limits.push_back(tenant.disk);
  return limits;
}

void Core::AttachDisk(std::unique_ptr<DiskTier> disk) {
  disk_ = std::move(disk);
  for (const auto& space : spaces_) {
    disk_->SetGroup(space->handle, catalog_.GroupOf(space->handle));
  }
  insight_.SetDiskBytes(disk_->Stats().capacity_bytes);
  if (options_.disk_mode == DiskMode::kReadOnly) {
    for (uint32_t device = 0; device < disk_->devices(); ++device) disk_->Retire(device);
  }
}

void Core::RestoreDiskRecord(uint32_t device, const DiskRecord& record) {
  const std::optional<SpaceHandle> space = FindSpace(record.space);
  const auto forget = [&] { disk_->Forget(device, record); };
  if (!space || record.key.IsZero()) return forget();
  const Manifest& manifest = spaces_[*space]->description.manifest;
  if (!manifest.ValidatePart(PartOfDisk(record)).ok()) return forget();
  if (record.payload_bytes == 0 || record.payload_bytes > options_.data_bytes) return forget();
  disk_->Restore(device, *space, record, static_cast<uint32_t>(AreaOf(manifest.WholePart())));
}

bool Core::IsOnDisk(ChunkIndex chunk_index) const {
  if (disk_ == nullptr) return false;
  const Chunk& chunk = catalog_.chunk(chunk_index);
  return disk_->Find(chunk.space, chunk.key, 0) != kNoDiskChunk;
}

bool Core::ForgetOnDisk(SpaceHandle space, const KeyHash& key) {
  if (disk_ == nullptr) return false;
  if (const auto loading = loads_.find({space, key}); loading != loads_.end()) {
    loading->second.failed = true;
  }
  if (!disk_->Remove(space, key)) return false;
  NoteChange(space, key);
  return true;
}

uint64_t Core::InFlightMax(uint64_t limit) const {
  // What is on its way cannot be evicted: most of a small arena must stay free of it.
  return std::min(limit, allocator_.capacity_bytes() / 4);
}

// --- leaving memory -----------------------------------------------------------------------------

ChunkIndex Core::TakeReady() {
  while (!ready_.empty()) {
    const Ready next = ready_.front();
    ready_.pop_front();
    stats_.ready_bytes -= next.bytes;
    if (IsUnused(next)) return next.chunk;
  }
  return kNoChunk;
}

void Core::SetReady(ChunkIndex index) {
  if (!catalog_.MayGo(index) || ready_.size() >= kReadyMax) return;
  const Chunk& chunk = catalog_.chunk(index);
  catalog_.SetAside(index);
  catalog_.LetParentGo(index);
  ready_.push_back({.chunk = index,
                    .generation = chunk.generation,
                    .last_use = chunk.last_use,
                    .bytes = ChunkBytes(index)});
  stats_.ready_bytes += ready_.back().bytes;
}

void Core::PrepareEvictions(MonotonicTime now) {
  if (!WritesToDisk()) return;
  WriteThrough(now);
  const auto wanted = static_cast<uint64_t>(options_.disk_ready_fraction *
                                            static_cast<double>(allocator_.capacity_bytes()));
  for (int i = 0; i < kDemotionsPerCallMax; ++i) {
    if (allocator_.free_bytes() + stats_.ready_bytes + stats_.demoting_bytes >= wanted) return;
    if (stats_.demoting_bytes >= InFlightMax(options_.demoting_bytes_max)) return;
    if (ready_.size() >= kReadyMax) return;
    const ChunkIndex victim = NextToLeave(/*group=*/0, now);
    if (victim == kNoChunk) return;
    bool give_up = true;
    const bool write = !IsOnDisk(victim) && IsWorthWriting(victim, now);
    if (write && StartDemotion(victim, /*leaves=*/true, now, &give_up)) continue;
    if (write && !give_up) return;
    SetReady(victim);
  }
}

DiskCandidate Core::CandidateOf(ChunkIndex index) const {
  const Chunk& chunk = catalog_.chunk(index);
  return {.key = chunk.key, .uses = chunk.uses, .depth = chunk.depth};
}

void Core::MarkUsedOnDisk(DiskChunkIndex chunk) {
  if (disk_->MarkUsed(chunk)) disk_admission_.ReadBack(disk_->mark(chunk));
}

bool Core::IsWorthWriting(ChunkIndex index, MonotonicTime now) {
  if (disk_admission_.Admit(CandidateOf(index), disk_->budget_left(now))) return true;
  ++stats_.refused_admission;
  return false;
}

void Core::WriteThrough(MonotonicTime now) {
  while (!unsaved_.empty() && stats_.demoting_bytes < InFlightMax(options_.demoting_bytes_max)) {
    const auto [index, generation] = unsaved_.front();
    const Chunk& chunk = catalog_.chunk(index);
    const bool wanted = chunk.generation == generation && chunk.state == Chunk::State::kVisible &&
                        !demotions_.contains(index) && !IsOnDisk(index);
    bool give_up = true;
    if (wanted && !StartDemotion(index, /*leaves=*/false, now, &give_up) && !give_up) return;
    unsaved_.pop_front();
  }
}

bool Core::StartDemotion(ChunkIndex index, bool leaves, MonotonicTime now, bool* give_up) {
  const Chunk& chunk = catalog_.chunk(index);
  *give_up = true;
  // A part of a chunk is of no use on disk.
  if (chunk.state != Chunk::State::kVisible) return false;
  const Space& space = *spaces_[chunk.space];
  const auto area = static_cast<uint32_t>(AreaOf(space.description.manifest.WholePart()));
  Demotion demotion{.leaves = leaves};
  catalog_.ForEachBlock(index, [&](BlockIndex block) {
    const BlockRecord stored = blocks_->Read(block);
    DiskRecord record;
    record.space = space.id;
    record.key = stored.key;
    record.parent = stored.parent;
    record.depth = stored.depth;
    record.token_count = stored.token_count;
    record.layer_begin = stored.layer_begin;
    record.layer_end = stored.layer_end;
    record.head_begin = stored.head_begin;
    record.head_end = stored.head_end;
    record.payload_bytes = stored.bytes;
    record.expiry_unix_ms = stored.expiry_unix_ms;
    record.written_unix_ms = ToUnixMs(now);
    const DiskTier::Ordered ordered =
        demotion.failed ? DiskTier::Ordered{}
                        : disk_->Write(chunk.space, record, area, stored.offset, now);
    if (ordered.token == 0) {
      demotion.failed = true;
      *give_up = !ordered.for_now;
      return;
    }
    ++demotion.pending;
    demotion.bytes += stored.bytes;
    demotion_tokens_[ordered.token] = index;
  });
  if (demotion.pending == 0) return false;
  stats_.demoting_bytes += demotion.bytes;
  catalog_.AddLease(index);
  catalog_.LetParentGo(index);
  demotions_[index] = demotion;
  return true;
}

void Core::FinishDemotion(ChunkIndex index) {
  const auto found = demotions_.find(index);
  const Demotion demotion = found->second;
  demotions_.erase(found);
  stats_.demoting_bytes -= demotion.bytes;
  const Chunk& chunk = catalog_.chunk(index);
  const bool doomed = chunk.state == Chunk::State::kDoomed;
  // Half of it, or something that was removed meanwhile, must not be found again.
  if (demotion.failed || doomed) (void)disk_->Remove(chunk.space, chunk.key);
  if (!demotion.failed) ++stats_.demotions;
  if (const DiskChunkIndex written = disk_->Find(chunk.space, chunk.key, 0);
      !demotion.failed && written != kNoDiskChunk) {
    const DiskYield::Kind kind = DiskAdmission::KindOf(CandidateOf(index));
    disk_->SetMark(written, kind);
    disk_admission_.Wrote(kind);
    NoteChange(chunk.space, chunk.key);
  }
  if (catalog_.DropLease(index)) {
    FreeChunk(index);
  } else if (!doomed && demotion.leaves) {
    SetReady(index);
  }
}

// --- coming into memory -------------------------------------------------------------------------

Core::LoadResult Core::Load(SpaceHandle space, std::span<const KeyHash> keys, bool local_only,
                            MonotonicTime now) {
  LoadResult result;
  const bool ask_others = elsewhere_ != nullptr && !local_only;
  if ((disk_ == nullptr && !ask_others) || space >= spaces_.size()) return result;
  const int64_t now_unix_ms = ToUnixMs(now);
  bool room = true;
  for (const KeyHash& key : keys.subspan(0, std::min(keys.size(), kLoadsPerCallMax))) {
    const ChunkIndex chunk = catalog_.Find(space, key);
    if (chunk == kNoChunk || catalog_.chunk(chunk).state != Chunk::State::kVisible) {
      const DiskChunkIndex on_disk =
          disk_ == nullptr ? kNoDiskChunk : disk_->Find(space, key, now_unix_ms);
      if (on_disk == kNoDiskChunk) {
        if (!ask_others || !elsewhere_->Fetch(space, key, now)) break;
      } else {
        MarkUsedOnDisk(on_disk);
        if (room && !loads_.contains({space, key})) room = StartLoad(space, on_disk, now);
      }
    } else if (result.coming == result.in_memory) {
      ++result.in_memory;
    }
    ++result.coming;
  }
  const bool fetching = ask_others && elsewhere_->fetching();
  if (loads_.empty() && !fetching) result.coming = result.in_memory;
  return result;
}

bool Core::StartLoad(SpaceHandle space, DiskChunkIndex disk_chunk, MonotonicTime now) {
  const uint64_t bytes = disk_->PayloadBytes(disk_chunk);
  if (stats_.loading_bytes > 0 &&
      stats_.loading_bytes + bytes > InFlightMax(options_.loading_bytes_max)) {
    return false;
  }
  std::vector<DiskRecord> records;
  disk_->AppendRecords(disk_chunk, &records);
  Loading loading{.parent = records[0].parent,
                  .depth = records[0].depth,
                  .expiry_unix_ms = records[0].expiry_unix_ms,
                  .blocks = {},
                  .bytes = bytes,
                  .since = now};
  for (const DiskRecord& record : records) {
    const Allocation extent = AllocateEvicting(space, record.payload_bytes, nullptr, now);
    const bool granted = extent.kind == ReserveOutcome::Kind::kGranted;
    const std::optional<uint32_t> block = granted ? blocks_->AllocateRecord() : std::nullopt;
    if (!block) {
      if (granted) FreeExtent(space, extent.offset, record.payload_bytes);
      for (BlockIndex allocated : loading.blocks) FreeBlock(space, allocated);
      return false;
    }
    BlockRecord stored;
    stored.space = record.space;
    stored.key = record.key;
    stored.parent = record.parent;
    stored.offset = extent.offset;
    stored.bytes = record.payload_bytes;
    stored.depth = record.depth;
    stored.token_count = record.token_count;
    stored.layer_begin = record.layer_begin;
    stored.layer_end = record.layer_end;
    stored.head_begin = record.head_begin;
    stored.head_end = record.head_end;
    stored.expiry_unix_ms = record.expiry_unix_ms;
    blocks_->WriteReserved(*block, stored);
    loading.blocks.push_back(*block);
  }
  const ChunkName name{space, records[0].key};
  for (size_t i = 0; i < records.size(); ++i) {
    const uint64_t offset = blocks_->Read(loading.blocks[i]).offset;
    load_tokens_[disk_->Read(disk_chunk, i, offset)] = name;
    ++loading.pending;
  }
  stats_.loading_bytes += bytes;
  loads_.emplace(name, std::move(loading));
  PrepareEvictions(now);
  return true;
}

void Core::FinishLoad(const ChunkName& name, MonotonicTime now) {
  const auto found = loads_.find(name);
  const Loading loading = std::move(found->second);
  loads_.erase(found);
  stats_.loading_bytes -= loading.bytes;
  ++loads_ended_;
  ++(loading.failed ? stats_.disk_loads_failed : stats_.disk_loads);
  if (!loading.failed) {
    const absl::Duration took = now - loading.since;
    absl::Duration& smoothed = stats_.disk_load_time;
    smoothed = smoothed == absl::ZeroDuration() ? took : smoothed + (took - smoothed) / 8;
  }
  ChunkIndex chunk = kNoChunk;
  for (BlockIndex block : loading.blocks) {
    const ChunkIndex known = catalog_.Find(name.space, name.key);
    const Part part = PartOf(blocks_->Read(block));
    // Somebody may have put a part of it meanwhile.
    const bool wanted =
        known == kNoChunk || PartFate(known, part) == ReserveOutcome::Kind::kGranted;
    if (loading.failed || !wanted) {
      FreeBlock(name.space, block);
      continue;
    }
    blocks_->Commit(block, ++sequence_);
    chunk = Attach(name.space, name.key, loading.parent, loading.depth, block, /*category=*/0, now);
  }
  if (chunk == kNoChunk) return;
  LimitExpiry(chunk,
              loading.expiry_unix_ms == 0 ? MonotonicTime{} : FromUnixMs(loading.expiry_unix_ms));
  catalog_.LetParentGo(chunk);
  catalog_.Touch(chunk, now);
}

void Core::FreeBlock(SpaceHandle space, BlockIndex block) {
  const BlockRecord record = blocks_->Read(block);
  blocks_->Free(block);
  FreeExtent(space, record.offset, record.bytes);
}

// --- devices ------------------------------------------------------------------------------------

void Core::OnDiskResult(const DiskResult& result, MonotonicTime now) {
  const std::optional<DiskTier::Finished> finished = disk_->OnResult(result);
  if (finished) FinishTransfer(*finished, now);
  disk_->Step(now);
  TakeDiskDepartures();
  // Also when a segment was opened: that is what writes may have waited for.
  PrepareEvictions(now);
}

void Core::FinishTransfer(const DiskTier::Finished& finished, MonotonicTime now) {
  if (const auto load = load_tokens_.find(finished.token); load != load_tokens_.end()) {
    const ChunkName name = load->second;
    load_tokens_.erase(load);
    Loading& loading = loads_.at(name);
    loading.failed |= !finished.ok;
    if (--loading.pending == 0) FinishLoad(name, now);
  } else if (const auto write = demotion_tokens_.find(finished.token);
             write != demotion_tokens_.end()) {
    const ChunkIndex chunk = write->second;
    demotion_tokens_.erase(write);
    Demotion& demotion = demotions_.at(chunk);
    demotion.failed |= !finished.ok;
    if (--demotion.pending == 0) FinishDemotion(chunk);
  }
}

void Core::OnDeviceOutOfService(uint32_t device) {
  disk_->TakeOutOfService(device);
  changes_lost_ = tracks_changes_;
  ++loads_ended_;
}

void Core::RetireDevice(uint32_t device) { disk_->Retire(device); }

std::vector<DiskOrder> Core::TakeDiskOrders() {
  return disk_ == nullptr ? std::vector<DiskOrder>{} : disk_->TakeOrders();
}

}  // namespace larder
