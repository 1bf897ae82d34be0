#include "storage/disk/disk_tier.h"

#include <algorithm>
#include <utility>

#include "common/check.h"

namespace larder {
namespace {

// Bounds on reclaiming: records looked at in one step, and moves in flight.
constexpr int kReclaimLooksPerStep = 256;
constexpr uint32_t kCopiesInFlightMax = 8;
// Chunks whose going is remembered until the caller asks.
constexpr size_t kDroppedMax = 4096;

uint32_t AreaOf(const DiskRecord& record) {
  return uint32_t{1} * (record.layer_end - record.layer_begin) *
         (record.head_end - record.head_begin);
}

bool Overlap(const DiskRecord& a, const DiskRecord& b) {
  return a.layer_begin < b.layer_end && b.layer_begin < a.layer_end && a.head_begin < b.head_end &&
         b.head_begin < a.head_end;
}

}  // namespace

DiskTier::DiskTier(const DiskTierOptions& options, MonotonicTime now)
    : options_(options),
      shares_(options.capacity_bytes, options.groups),
      budget_(options.write_bytes_per_day, now),
      index_(options.hash_seed) {}

void DiskTier::SetGroup(uint32_t space, size_t group) {
  if (groups_.size() <= space) groups_.resize(space + size_t{1});
  groups_[space] = group;
}

// --- devices ------------------------------------------------------------------------------------

uint32_t DiskTier::AddDevice(const DiskGeometry& geometry, std::span<const uint64_t> generations,
                             uint64_t highest_generation) {
  devices_.push_back({.pool = SegmentPool(geometry, generations, highest_generation),
                      .segment_records = std::vector<std::vector<RecordIndex>>(geometry.segments)});
  return static_cast<uint32_t>(devices_.size() - 1);
}

void DiskTier::Restore(uint32_t device, uint32_t space, const DiskRecord& record,
                       uint32_t chunk_area) {
  devices_[device].pool.Occupy(record.segment);
  sequence_ = std::max(sequence_, record.sequence);
  AddRecord(device, space, record, chunk_area);
}

void DiskTier::TakeOutOfService(uint32_t device) { devices_[device].out_of_service = true; }

// --- looking up ---------------------------------------------------------------------------------

DiskChunkIndex DiskTier::FindAny(uint32_t space, const KeyHash& key) const {
  return index_.Find(index_.TagOf(space, key), [&](uint32_t candidate) {
    return chunks_[candidate].key == key && chunks_[candidate].space == space;
  });
}

bool DiskTier::InService(const Chunk& chunk) const {
  for (RecordIndex i = chunk.first; i != kNoRecord; i = records_[i].next) {
    if (devices_[records_[i].device].out_of_service) return false;
  }
  return true;
}

DiskChunkIndex DiskTier::Find(uint32_t space, const KeyHash& key, int64_t now_unix_ms) const {
  const DiskChunkIndex found = FindAny(space, key);
  if (found == kNoDiskChunk) return kNoDiskChunk;
  const Chunk& chunk = chunks_[found];
  if (chunk.missing_area > 0 || !InService(chunk)) return kNoDiskChunk;
  if (chunk.expiry_unix_ms != 0 && chunk.expiry_unix_ms <= now_unix_ms) return kNoDiskChunk;
  return found;
}

DiskRecord DiskTier::Describe(RecordIndex index) const {
  const Record& record = records_[index];
  const Chunk& chunk = chunks_[record.chunk];
  DiskRecord described;
  described.space = space_ids_[chunk.space];
  described.key = chunk.key;
  described.parent = chunk.parent;
  described.depth = chunk.depth;
  described.token_count = chunk.token_count;
  described.layer_begin = record.layer_begin;
  described.layer_end = record.layer_end;
  described.head_begin = record.head_begin;
  described.head_end = record.head_end;
  described.segment = record.segment;
  described.generation = devices_[record.device].pool.generation(record.segment);
  described.offset = record.offset;
  described.payload_bytes = record.payload_bytes;
  described.payload_crc = record.payload_crc;
  described.sequence = record.sequence;
  described.expiry_unix_ms = chunk.expiry_unix_ms;
  return described;
}

void DiskTier::AppendRecords(DiskChunkIndex chunk, std::vector<DiskRecord>* records) const {
  for (RecordIndex i = chunks_[chunk].first; i != kNoRecord; i = records_[i].next) {
    records->push_back(Describe(i));
  }
}

uint64_t DiskTier::PayloadBytes(DiskChunkIndex chunk) const {
  uint64_t bytes = 0;
  for (RecordIndex i = chunks_[chunk].first; i != kNoRecord; i = records_[i].next) {
    bytes += records_[i].payload_bytes;
  }
  return bytes;
}

std::optional<DiskTier::Listed> DiskTier::ListAt(DiskChunkIndex index) const {
  const Chunk& chunk = chunks_[index];
  if (!chunk.in_use || chunk.missing_area > 0 || !InService(chunk)) return std::nullopt;
  return Listed{
      .space = chunk.space, .key = chunk.key, .depth = chunk.depth, .bytes = PayloadBytes(index)};
}

// --- the index ----------------------------------------------------------------------------------

bool DiskTier::MakeWay(DiskChunkIndex chunk, const DiskRecord& record) {
  for (RecordIndex i = chunks_[chunk].first; i != kNoRecord; i = records_[i].next) {
    if (!Overlap(Describe(i), record)) continue;
    if (records_[i].sequence > record.sequence) return false;
    DropChunk(chunk);
    return true;
  }
  return true;
}

void DiskTier::AddRecord(uint32_t device, uint32_t space, const DiskRecord& record,
                         uint32_t chunk_area) {
  if (space_ids_.size() <= space) space_ids_.resize(space + size_t{1});
  space_ids_[space] = record.space;
  DiskChunkIndex at = FindAny(space, record.key);
  if (at != kNoDiskChunk && !InService(chunks_[at])) {
    DropChunk(at);
    at = kNoDiskChunk;
  }
  if (at != kNoDiskChunk && !MakeWay(at, record)) {
    Forget(device, record);
    return;
  }
  at = FindAny(space, record.key);
  if (at == kNoDiskChunk) {
    if (free_chunks_.empty()) {
      at = end_index();
      chunks_.GrowTo(at + size_t{1});
    } else {
      at = free_chunks_.back();
      free_chunks_.pop_back();
    }
    chunks_[at] = {.key = record.key,
                   .parent = record.parent,
                   .expiry_unix_ms = record.expiry_unix_ms,
                   .space = space,
                   .depth = record.depth,
                   .token_count = record.token_count,
                   .missing_area = chunk_area,
                   .first = kNoRecord,
                   .in_use = true};
    index_.Insert(index_.TagOf(space, record.key), at);
  }
  RecordIndex index;
  if (free_records_.empty()) {
    index = static_cast<RecordIndex>(records_.size());
    records_.GrowTo(index + size_t{1});
  } else {
    index = free_records_.back();
    free_records_.pop_back();
  }
  Chunk& chunk = chunks_[at];
  records_[index] = {.offset = record.offset,
                     .payload_bytes = record.payload_bytes,
                     .sequence = record.sequence,
                     .chunk = at,
                     .next = chunk.first,
                     .device = device,
                     .segment = record.segment,
                     .payload_crc = record.payload_crc,
                     .layer_begin = record.layer_begin,
                     .layer_end = record.layer_end,
                     .head_begin = record.head_begin,
                     .head_end = record.head_end};
  chunk.first = index;
  chunk.missing_area -= std::min(chunk.missing_area, AreaOf(record));
  // A chunk is nothing without one of its parts: it expires with the first of them.
  if (record.expiry_unix_ms != 0 &&
      (chunk.expiry_unix_ms == 0 || record.expiry_unix_ms < chunk.expiry_unix_ms)) {
    chunk.expiry_unix_ms = record.expiry_unix_ms;
  }
  devices_[device].pool.AddLive(record.segment, DiskRecordBytes(record.payload_bytes));
  shares_.Add(GroupOf(space), DiskRecordBytes(record.payload_bytes));
  devices_[device].segment_records[record.segment].push_back(index);
  ++stats_.records;
}

void DiskTier::DropChunk(DiskChunkIndex at) {
  Chunk& chunk = chunks_[at];
  for (RecordIndex i = chunk.first; i != kNoRecord;) {
    Record& record = records_[i];
    Forget(record.device, Describe(i));
    devices_[record.device].pool.RemoveLive(record.segment, DiskRecordBytes(record.payload_bytes));
    shares_.Subtract(GroupOf(chunk.space), DiskRecordBytes(record.payload_bytes));
    const RecordIndex next = record.next;
    record = Record{};
    free_records_.push_back(i);
    --stats_.records;
    i = next;
  }
  index_.Erase(index_.TagOf(chunk.space, chunk.key), at);
  chunk = Chunk{};
  free_chunks_.push_back(at);
}

void DiskTier::NoteDropped(DiskChunkIndex at, bool corrupt) {
  const Chunk& chunk = chunks_[at];
  if (chunk.missing_area > 0 || dropped_.size() >= kDroppedMax) return;
  dropped_.push_back(
      {.space = chunk.space, .key = chunk.key, .used = chunk.used, .corrupt = corrupt});
}

bool DiskTier::Remove(uint32_t space, const KeyHash& key) {
  const DiskChunkIndex chunk = FindAny(space, key);
  if (chunk == kNoDiskChunk) return false;
  DropChunk(chunk);
  return true;
}

// --- orders -------------------------------------------------------------------------------------

void DiskTier::Forget(uint32_t device, const DiskRecord& record) {
  orders_.push_back({device, {.kind = DiskCommand::Kind::kForget, .record = record}});
}

uint64_t DiskTier::AddOrder(Operation operation, DiskCommand command, uint64_t arena_offset) {
  const uint64_t token = next_token_++;
  command.token = token;
  orders_.push_back({operation.device, command, arena_offset});
  operations_.emplace(token, operation);
  return token;
}

std::vector<DiskOrder> DiskTier::TakeOrders() { return std::exchange(orders_, {}); }

std::optional<DiskTier::Room> DiskTier::FindRoom(const KeyHash& key, uint64_t record_bytes,
                                                 LifetimeClass lifetime) {
  // Striped by key, in proportion to the devices' sizes; a device without room passes it on.
  uint64_t segments = 0;
  for (const Device& device : devices_) segments += device.pool.geometry().segments;
  if (segments == 0) return std::nullopt;
  uint64_t position = key.low % segments;
  size_t first = 0;
  while (position >= devices_[first].pool.geometry().segments) {
    position -= devices_[first++].pool.geometry().segments;
  }
  for (size_t i = 0; i < devices_.size(); ++i) {
    const size_t at = (first + i) % devices_.size();
    Device& device = devices_[at];
    if (device.out_of_service || device.retired) continue;
    if (const auto place = device.pool.Allocate(record_bytes, lifetime)) {
      return Room{static_cast<uint32_t>(at), *place};
    }
  }
  return std::nullopt;
}

DiskTier::Ordered DiskTier::Write(uint32_t space, const DiskRecord& record, uint32_t chunk_area,
                                  uint64_t arena_offset, MonotonicTime now) {
  const uint64_t bytes = DiskRecordBytes(record.payload_bytes);
  const bool fits = std::any_of(devices_.begin(), devices_.end(), [&](const Device& device) {
    return !device.out_of_service && !device.retired && device.pool.Fits(bytes);
  });
  if (!fits) {
    ++stats_.refused_no_room;
    return {};
  }
  if (!shares_.Fits(GroupOf(space), bytes)) {
    ++stats_.refused_ceiling;
    return {};
  }
  if (budget_.available_bytes(now) == 0) {
    ++stats_.refused_budget;
    return {.token = 0, .for_now = true};
  }
  const std::optional<Room> room = FindRoom(record.key, bytes, LifetimeClass::kNew);
  if (!room) {
    ++stats_.refused_no_room;
    return {.token = 0, .for_now = true};
  }
  budget_.Spend(bytes, now);
  kept_credit_bytes_ += options_.kept_fraction_max * static_cast<double>(bytes);
  DiskRecord placed = record;
  placed.segment = room->place.segment;
  placed.generation = room->place.generation;
  placed.offset = room->place.offset;
  placed.sequence = ++sequence_;
  devices_[room->device].pool.Hold(placed.segment);
  return {.token = AddOrder({.kind = DiskCommand::Kind::kWrite,
                             .device = room->device,
                             .space = space,
                             .chunk_area = chunk_area,
                             .record = placed},
                            {.kind = DiskCommand::Kind::kWrite, .record = placed}, arena_offset)};
}

uint64_t DiskTier::Read(DiskChunkIndex chunk, size_t position, uint64_t arena_offset) {
  RecordIndex index = chunks_[chunk].first;
  for (; position > 0; --position) index = records_[index].next;
  const Record& record = records_[index];
  devices_[record.device].pool.Hold(record.segment);
  return AddOrder({.kind = DiskCommand::Kind::kRead,
                   .device = record.device,
                   .index = index,
                   .sequence = record.sequence,
                   .record = Describe(index)},
                  {.kind = DiskCommand::Kind::kRead, .record = Describe(index)}, arena_offset);
}

std::optional<DiskTier::Finished> DiskTier::OnResult(const DiskResult& result) {
  const auto found = operations_.find(result.token);
  if (found == operations_.end()) return std::nullopt;
  const Operation operation = found->second;
  operations_.erase(found);
  const bool ok = result.code == absl::StatusCode::kOk;
  switch (operation.kind) {
    case DiskCommand::Kind::kOpenSegment:
      devices_[operation.device].pool.Opened(operation.record.segment, ok);
      return std::nullopt;
    case DiskCommand::Kind::kCopy:
      FinishCopy(operation, result);
      return std::nullopt;
    case DiskCommand::Kind::kWrite:
      FinishWrite(operation, result);
      return Finished{result.token, ok};
    case DiskCommand::Kind::kRead:
      FinishRead(operation, result);
      return Finished{result.token, ok};
    case DiskCommand::Kind::kForget:
      break;
  }
  return std::nullopt;
}

void DiskTier::FinishWrite(const Operation& operation, const DiskResult& result) {
  devices_[operation.device].pool.Unhold(operation.record.segment);
  stats_.device_bytes += DiskRecordBytes(operation.record.payload_bytes);
  if (result.code != absl::StatusCode::kOk) {
    ++stats_.failed_writes;
    return;
  }
  stats_.written_bytes += operation.record.payload_bytes;
  DiskRecord record = operation.record;
  record.payload_crc = result.payload_crc;
  AddRecord(operation.device, operation.space, record, operation.chunk_area);
}

void DiskTier::FinishRead(const Operation& operation, const DiskResult& result) {
  devices_[operation.device].pool.Unhold(operation.record.segment);
  if (result.code == absl::StatusCode::kOk) return;
  if (result.code == absl::StatusCode::kDataLoss) {
    ++stats_.corrupt_records;
  } else {
    ++stats_.failed_reads;
  }
  const Record& record = records_[operation.index];
  // Where it moved to meanwhile, it may be sound.
  if (record.sequence != operation.sequence) return;
  NoteDropped(record.chunk, /*corrupt=*/true);
  DropChunk(record.chunk);
}

void DiskTier::FinishCopy(const Operation& operation, const DiskResult& result) {
  Device& device = devices_[operation.device];
  Record& record = records_[operation.index];
  const bool still_there = record.sequence == operation.sequence;
  const DiskRecord& moved = operation.record;
  --device.reclaim.copies;
  device.pool.Unhold(moved.segment);
  stats_.device_bytes += DiskRecordBytes(moved.payload_bytes);
  if (result.code != absl::StatusCode::kOk) {
    if (result.code == absl::StatusCode::kDataLoss) ++stats_.corrupt_records;
    if (still_there) {
      NoteDropped(record.chunk, /*corrupt=*/true);
      DropChunk(record.chunk);
    }
    return;
  }
  if (!still_there) {
    // Removed while it moved: the copy entered the metadata after that.
    Forget(operation.device, moved);
    return;
  }
  stats_.kept_bytes += moved.payload_bytes;
  const uint64_t bytes = DiskRecordBytes(record.payload_bytes);
  device.pool.RemoveLive(record.segment, bytes);
  record.segment = moved.segment;
  record.offset = moved.offset;
  record.sequence = moved.sequence;
  device.pool.AddLive(record.segment, bytes);
  device.segment_records[record.segment].push_back(operation.index);
  // It has to be used again to be kept again.
  chunks_[record.chunk].used = false;
}

// --- segments -----------------------------------------------------------------------------------

void DiskTier::Step(MonotonicTime now) {
  (void)budget_.available_bytes(now);
  for (uint32_t i = 0; i < devices_.size(); ++i) {
    Device& device = devices_[i];
    // What no room is made for need not go.
    if (device.out_of_service || device.retired) continue;
    StepReclaim(i, now);
    if (const auto opening = device.pool.NextOpening()) {
      DiskRecord place;
      place.segment = opening->segment;
      place.generation = opening->generation;
      AddOrder({.kind = DiskCommand::Kind::kOpenSegment, .device = i, .record = place},
               {.kind = DiskCommand::Kind::kOpenSegment, .record = place});
    }
  }
}

void DiskTier::StepReclaim(uint32_t at, MonotonicTime now) {
  Device& device = devices_[at];
  Reclaim& reclaim = device.reclaim;
  if (!reclaim.active) {
    const std::optional<uint32_t> segment = device.pool.NextReclaim();
    if (!segment) return;
    reclaim = {.active = true, .segment = *segment};
  }
  std::vector<RecordIndex>& list = device.segment_records[reclaim.segment];
  for (int looks = 0; looks < kReclaimLooksPerStep && reclaim.next < list.size() &&
                      reclaim.copies < kCopiesInFlightMax;
       ++looks) {
    const RecordIndex index = list[reclaim.next++];
    const Record& record = records_[index];
    const bool lives_here =
        record.sequence != 0 && record.device == at && record.segment == reclaim.segment;
    if (!lives_here || Keep(at, index, now)) continue;
    NoteDropped(record.chunk, /*corrupt=*/false);
    DropChunk(record.chunk);
    ++stats_.reclaimed_chunks;
  }
  if (reclaim.next < list.size() || reclaim.copies > 0 || device.pool.IsHeld(reclaim.segment)) {
    return;
  }
  list.clear();
  device.pool.Freed(reclaim.segment);
  reclaim.active = false;
  ++stats_.reclaimed_segments;
}

bool DiskTier::Keep(uint32_t at, RecordIndex index, MonotonicTime now) {
  const Record& record = records_[index];
  const double bytes = static_cast<double>(DiskRecordBytes(record.payload_bytes));
  const bool guaranteed = shares_.IsBelowGuarantee(GroupOf(chunks_[record.chunk].space));
  const bool worth_it = chunks_[record.chunk].used && kept_credit_bytes_ >= bytes;
  if ((!worth_it && !guaranteed) || devices_[at].retired) return false;
  if (budget_.available_bytes(now) == 0) return false;
  const auto place =
      devices_[at].pool.Allocate(DiskRecordBytes(record.payload_bytes), LifetimeClass::kKept);
  if (!place) return false;
  budget_.Spend(DiskRecordBytes(record.payload_bytes), now);
  kept_credit_bytes_ = std::max(kept_credit_bytes_ - bytes, 0.0);
  DiskRecord moved = Describe(index);
  const DiskRecord source = moved;
  moved.segment = place->segment;
  moved.generation = place->generation;
  moved.offset = place->offset;
  moved.sequence = ++sequence_;
  devices_[at].pool.Hold(moved.segment);
  ++devices_[at].reclaim.copies;
  AddOrder({.kind = DiskCommand::Kind::kCopy,
            .device = at,
            .index = index,
            .sequence = record.sequence,
            .record = moved},
           {.kind = DiskCommand::Kind::kCopy, .record = moved, .source = source});
  return true;
}

DiskTierStats DiskTier::Stats() const {
  DiskTierStats stats = stats_;
  stats.chunks = index_.size();
  stats.budget_bytes = budget_.last_available_bytes();
  for (const Device& device : devices_) {
    ++stats.devices;
    if (device.out_of_service) {
      ++stats.devices_out_of_service;
      continue;
    }
    stats.capacity_bytes += device.pool.geometry().segments * device.pool.geometry().segment_bytes;
    stats.live_bytes += device.pool.live_bytes();
    stats.free_segments += device.pool.free_segments();
    stats.broken_segments += device.pool.broken_segments();
  }
  return stats;
}

}  // namespace larder
