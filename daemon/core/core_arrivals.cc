// Chunks that come from other nodes, and what other nodes are told of this one's.
#include <algorithm>
#include <utility>

#include "daemon/core/core.h"

namespace larder {
namespace {

// Changes that nobody has taken; beyond them only that there were more is known.
constexpr size_t kChangesMax = size_t{1} << 18;

// How many chunks one step of a walk looks at.
constexpr ChunkIndex kChunksPerStepMax = 4096;
// A walk goes through memory first, then, from here on, through the disk tier.
constexpr uint64_t kDiskCursor = uint64_t{1} << 32;

uint32_t Pages(uint64_t bytes) {
  return static_cast<uint32_t>((bytes + kHoldingPageBytes - 1) / kHoldingPageBytes);
}

}  // namespace

// --- where chunks are ---------------------------------------------------------------------------

uint64_t Core::CountHere(SpaceHandle space, std::span<const KeyHash> keys, bool use,
                         MonotonicTime now) {
  const int64_t now_unix_ms = ToUnixMs(now);
  uint64_t count = 0;
  for (const KeyHash& key : keys) {
    const ChunkIndex chunk = catalog_.Find(space, key);
    if (chunk == kNoChunk || catalog_.chunk(chunk).state != Chunk::State::kVisible) {
      if (disk_ == nullptr) break;
      const DiskChunkIndex on_disk = disk_->Find(space, key, now_unix_ms);
      if (on_disk == kNoDiskChunk) break;
      if (use) MarkUsedOnDisk(on_disk);
    } else if (use) {
      catalog_.Touch(chunk, now);
    }
    ++count;
  }
  return count;
}

uint64_t Core::CountBeyondMemory(SpaceHandle space, std::span<const KeyHash> keys,
                                 const LookupOptions& options, MonotonicTime now,
                                 uint64_t* elsewhere) {
  const bool ask_others = elsewhere_ != nullptr && !options.local_only;
  uint64_t count = 0;
  while (count < keys.size()) {
    // The first one is in memory only if others follow it there that were not counted yet.
    if (disk_ != nullptr || count > 0) {
      count += CountHere(space, keys.subspan(count), options.touch, now);
    }
    if (!ask_others || count == keys.size()) break;
    const size_t held = elsewhere_->CountHeld(space, keys.subspan(count), now);
    if (held == 0) break;
    *elsewhere += held;
    count += held;
  }
  return count;
}

size_t Core::CountEverywhere(SpaceHandle space, std::span<const KeyHash> keys, bool local_only,
                             MonotonicTime now) {
  const size_t here = CountHere(space, keys, /*use=*/false, now);
  uint64_t elsewhere = 0;
  return here +
         CountBeyondMemory(space, keys.subspan(here), {.local_only = local_only}, now, &elsewhere);
}

std::vector<ChunkPlace> Core::Places(SpaceHandle space, std::span<const KeyHash> keys,
                                     MonotonicTime now) {
  std::vector<ChunkPlace> places;
  const int64_t now_unix_ms = ToUnixMs(now);
  for (const KeyHash& key : keys) {
    const ChunkIndex chunk = catalog_.Find(space, key);
    if (chunk != kNoChunk && catalog_.chunk(chunk).state == Chunk::State::kVisible) {
      places.push_back({.tier = ChunkPlace::Tier::kMemory});
    } else if (disk_ != nullptr && disk_->Find(space, key, now_unix_ms) != kNoDiskChunk) {
      places.push_back({.tier = ChunkPlace::Tier::kDisk, .predicted = stats_.disk_load_time});
    } else if (elsewhere_ != nullptr) {
      const std::optional<PlaceElsewhere> place = elsewhere_->Find(space, key, now);
      if (!place) break;
      places.push_back(
          {.tier = place->on_disk ? ChunkPlace::Tier::kPeerDisk : ChunkPlace::Tier::kPeerMemory,
           .node = place->node,
           .predicted = place->predicted});
    } else {
      break;
    }
  }
  return places;
}

// --- chunks that come from other nodes ----------------------------------------------------------

std::optional<uint64_t> Core::AllocateArrival(SpaceHandle space, uint64_t bytes,
                                              MonotonicTime now) {
  if (space >= spaces_.size() || bytes == 0 || draining_) return std::nullopt;
  const uint64_t rounded = RoundToGranule(bytes);
  // What is on its way cannot be evicted: half of the arena must stay free of it. Whoever asks for
  // chunks keeps to arriving_bytes_max.
  if (stats_.arriving_bytes + rounded > allocator_.capacity_bytes() / 2) return std::nullopt;
  const Allocation extent = AllocateEvicting(space, rounded, nullptr, now);
  if (extent.kind != ReserveOutcome::Kind::kGranted) return std::nullopt;
  stats_.arriving_bytes += rounded;
  PrepareEvictions(now);
  return extent.offset;
}

void Core::DropArrival(SpaceHandle space, uint64_t offset, uint64_t bytes) {
  const uint64_t rounded = RoundToGranule(bytes);
  stats_.arriving_bytes -= rounded;
  FreeExtent(space, offset, rounded);
}

Core::ArrivalEnd Core::CommitArrival(SpaceHandle handle, const Arrival& arrival,
                                     MonotonicTime now) {
  Space& space = *spaces_[handle];
  const bool whole = IsWhole(space, arrival);
  if (!whole || FindUnexpired(handle, arrival.key, now) != kNoChunk ||
      writers_.contains(ChunkName{handle, arrival.key})) {
    DropArrival(handle, arrival.offset, arrival.bytes);
    return whole ? ArrivalEnd::kUnwanted : ArrivalEnd::kNotWhole;
  }
  std::vector<BlockIndex> blocks;
  for (size_t i = 0; i < arrival.parts.size(); ++i) {
    const std::optional<uint32_t> block = blocks_->AllocateRecord();
    if (!block) break;
    blocks.push_back(*block);
  }
  if (blocks.size() < arrival.parts.size()) {
    for (BlockIndex block : blocks) blocks_->Free(block);
    DropArrival(handle, arrival.offset, arrival.bytes);
    return ArrivalEnd::kUnwanted;
  }
  const MonotonicTime expiry =
      arrival.ttl == absl::InfiniteDuration() ? MonotonicTime{} : now + arrival.ttl;
  // From now on each block counts for its own bytes, as those of puts do.
  const uint64_t allocated_end = arrival.offset + RoundToGranule(arrival.bytes);
  stats_.arriving_bytes -= allocated_end - arrival.offset;
  shares_.Subtract(catalog_.GroupOf(handle), allocated_end - arrival.offset);
  ChunkIndex chunk = kNoChunk;
  uint64_t end = arrival.offset;
  for (size_t i = 0; i < arrival.parts.size(); ++i) {
    const Arrival::StoredPart& part = arrival.parts[i];
    BlockRecord record;
    record.space = space.id;
    record.key = arrival.key;
    record.parent = arrival.parent;
    record.offset = arrival.offset + part.offset;
    record.bytes = part.bytes;
    record.depth = arrival.depth;
    record.token_count = part.token_count;
    record.layer_begin = part.part.layer_begin;
    record.layer_end = part.part.layer_end;
    record.head_begin = part.part.head_begin;
    record.head_end = part.part.head_end;
    blocks_->WriteReserved(blocks[i], record);
    if (expiry.nanoseconds != 0) blocks_->SetExpiry(blocks[i], ToUnixMs(expiry));
    blocks_->Commit(blocks[i], ++sequence_);
    shares_.Add(catalog_.GroupOf(handle), record.bytes);
    chunk = Attach(handle, arrival.key, arrival.parent, arrival.depth, blocks[i],
                   /*category=*/0, now);
    end = record.offset + RoundToGranule(record.bytes);
  }
  if (end < allocated_end) allocator_.Free(end, allocated_end - end);
  LimitExpiry(chunk, expiry);
  if (arrival.is_copy) catalog_.SetCopy(chunk);
  catalog_.Touch(chunk, now);
  ++stats_.arrivals;
  return ArrivalEnd::kTaken;
}

bool Core::IsWhole(const Space& space, const Arrival& arrival) const {
  const Manifest& manifest = space.description.manifest;
  uint64_t area = 0;
  uint64_t end = 0;
  for (size_t i = 0; i < arrival.parts.size(); ++i) {
    const Arrival::StoredPart& stored = arrival.parts[i];
    if (!manifest.ValidatePart(stored.part).ok()) return false;
    for (size_t j = 0; j < i; ++j) {
      if (PartsOverlap(stored.part, arrival.parts[j].part)) return false;
    }
    area += AreaOf(stored.part);
    // One after the other, since the space between them could not be freed.
    if (stored.bytes == 0 || stored.bytes > arrival.bytes || stored.offset != end) return false;
    end = RoundToGranule(stored.offset + stored.bytes);
  }
  return area == AreaOf(manifest.WholePart()) && end <= RoundToGranule(arrival.bytes);
}

// --- what other nodes are told ------------------------------------------------------------------

void Core::NoteChange(SpaceHandle space, const KeyHash& key) {
  if (!tracks_changes_) return;
  if (changes_.size() >= kChangesMax) {
    changes_lost_ = true;
    return;
  }
  changes_.push_back({space, key});
}

Holding Core::HoldingOf(SpaceHandle space, const KeyHash& key) const {
  Holding holding{.space = space, .key = key};
  const ChunkIndex chunk = catalog_.Find(space, key);
  if (chunk != kNoChunk && catalog_.chunk(chunk).state == Chunk::State::kVisible) {
    holding.in_memory = true;
    catalog_.ForEachBlock(
        chunk, [&](BlockIndex block) { holding.pages += Pages(blocks_->Read(block).bytes); });
  }
  if (disk_ == nullptr) return holding;
  const DiskChunkIndex on_disk = disk_->Find(space, key, 0);
  if (on_disk == kNoDiskChunk) return holding;
  holding.on_disk = true;
  if (!holding.in_memory) holding.pages = PagesOnDisk(on_disk);
  return holding;
}

double Core::ValueOf(SpaceHandle space, const KeyHash& key) {
  const ChunkIndex chunk = catalog_.Find(space, key);
  if (chunk == kNoChunk) return 0;  // On disk: others are worth more.
  const Chunk& held = catalog_.chunk(chunk);
  // Often used, then lately used; of one age the shallower ones, without which the others are lost.
  return 1.0 + held.uses + held.last_use * 1e-12 - held.depth * 1e-15;
}

uint32_t Core::PagesOnDisk(DiskChunkIndex chunk) const {
  std::vector<DiskRecord> records;
  disk_->AppendRecords(chunk, &records);
  uint32_t pages = 0;
  for (const DiskRecord& record : records) pages += Pages(record.payload_bytes);
  return pages;
}

bool Core::TakeChanges(std::vector<Holding>* holdings) {
  for (const ChunkName& name : std::exchange(changes_, {})) {
    holdings->push_back(HoldingOf(name.space, name.key));
  }
  return !std::exchange(changes_lost_, false);
}

std::optional<uint64_t> Core::HoldingsStep(uint64_t cursor, size_t limit,
                                           std::vector<Holding>* holdings) const {
  if (cursor < kDiskCursor) {
    const uint64_t end = catalog_.end_index();
    const uint64_t stop = std::min(end, cursor + kChunksPerStepMax);
    for (; cursor < stop && holdings->size() < limit; ++cursor) {
      const Chunk& chunk = catalog_.chunk(static_cast<ChunkIndex>(cursor));
      if (chunk.state != Chunk::State::kVisible) continue;
      holdings->push_back(HoldingOf(chunk.space, chunk.key));
    }
    if (cursor < end) return cursor;
    cursor = kDiskCursor;
  }
  if (disk_ == nullptr) return std::nullopt;
  const uint64_t end = kDiskCursor + disk_->end_index();
  const uint64_t stop = std::min(end, cursor + kChunksPerStepMax);
  for (; cursor < stop && holdings->size() < limit; ++cursor) {
    const std::optional<DiskTier::Listed> listed =
        disk_->ListAt(static_cast<DiskChunkIndex>(cursor - kDiskCursor));
    // Those in memory were listed already.
    if (!listed) continue;
    const Holding holding = HoldingOf(listed->space, listed->key);
    if (holding.on_disk && !holding.in_memory) holdings->push_back(holding);
  }
  if (cursor >= end) return std::nullopt;
  return cursor;
}

}  // namespace larder
