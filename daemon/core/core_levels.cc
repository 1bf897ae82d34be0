// Under pressure: chunks lose their finest levels before they leave.
#include "absl/strings/str_cat.h"
#include "daemon/core/core.h"

namespace larder {
namespace {

// Chunks that have lost levels leave before others once they have more than one part in so many of
// their group's memory: what is in use then keeps all of its levels.
constexpr uint64_t kShortenedShare = 2;
// Chunks that wait for that; further ones leave when it is their turn again.
constexpr size_t kShortenedMax = size_t{1} << 20;

}  // namespace

absl::Status Core::SetCuts(SessionId session, ReservationId id, const BlockCuts& cuts) {
  const Reservation* reservation = FindReservation(session, id);
  if (reservation == nullptr) {
    return absl::NotFoundError(absl::StrCat("the session has no reservation ", id.value));
  }
  uint64_t last = 0;
  for (const uint32_t cut : cuts) {
    if (cut == 0) continue;
    if (cut <= last || cut >= reservation->bytes / kBlockCutUnitBytes) {
      return absl::InvalidArgumentError(absl::StrCat("a block of ", reservation->bytes,
                                                     " bytes cannot be cut at ", cut, " times ",
                                                     kBlockCutUnitBytes));
    }
    last = cut;
  }
  blocks_->SetCuts(reservation->block, cuts);
  return absl::OkStatus();
}

uint64_t Core::ShortBytes(const BlockRecord& record) const {
  if (options_.levels_min > record.cuts.size()) return record.bytes;
  const uint32_t cut = record.cuts[options_.levels_min - 1];
  const uint64_t bytes = cut * kBlockCutUnitBytes;
  // Less than a granule would free nothing.
  return cut != 0 && RoundToGranule(bytes) < RoundToGranule(record.bytes) ? bytes : record.bytes;
}

std::vector<BlockIndex> Core::LongBlocks(ChunkIndex index) const {
  std::vector<BlockIndex> blocks;
  // What is on disk comes back with all of its levels.
  if (options_.drop_levels == DropLevels::kNever || IsOnDisk(index)) return blocks;
  catalog_.ForEachBlock(index, [&](BlockIndex block) {
    const BlockRecord record = blocks_->Read(block);
    if (ShortBytes(record) < record.bytes) blocks.push_back(block);
  });
  return blocks;
}

bool Core::Shorten(ChunkIndex index, uint64_t* move_budget) {
  uint64_t saved_bytes = 0;
  for (const BlockIndex block : LongBlocks(index)) {
    saved_bytes += ShortenBlock(index, block, move_budget);
  }
  if (saved_bytes == 0) return false;
  ++stats_.shortened_chunks;
  stats_.shortened_bytes += saved_bytes;
  const Chunk& chunk = catalog_.chunk(index);
  ShortenedQueue& queue = shortened_[catalog_.GroupOf(chunk.space)];
  if (queue.chunks.size() >= kShortenedMax) return true;
  // Its parent is the next to lose levels, and leaves after it.
  catalog_.SetAside(index);
  catalog_.LetParentGo(index);
  queue.chunks.push_back({.chunk = index,
                          .generation = chunk.generation,
                          .last_use = chunk.last_use,
                          .bytes = ChunkBytes(index)});
  queue.bytes += queue.chunks.back().bytes;
  return true;
}

uint64_t Core::ShortenBlock(ChunkIndex index, BlockIndex block, uint64_t* move_budget) {
  const BlockRecord record = blocks_->Read(block);
  const std::optional<uint32_t> next = blocks_->AllocateRecord();
  if (!next) return 0;
  BlockRecord shorter = record;
  shorter.bytes = ShortBytes(record);
  for (size_t i = options_.levels_min - 1; i < shorter.cuts.size(); ++i) {
    shorter.dropped_levels += shorter.cuts[i] != 0 ? 1 : 0;
    shorter.cuts[i] = 0;
  }
  // In the gap that another one left its bytes make room for a whole one.
  std::optional<uint64_t> gap;
  if (mover_ && shorter.bytes <= *move_budget) gap = allocator_.Allocate(shorter.bytes);
  if (gap) {
    shorter.offset = *gap;
    mover_(record.offset, *gap, shorter.bytes);
    *move_budget -= shorter.bytes;
    stats_.moved_bytes += shorter.bytes;
  }
  // A kill between these leaves both records, of which a restart keeps one: the bytes of each are
  // still there, since nobody else gets them before.
  blocks_->WriteReserved(*next, shorter);
  blocks_->Commit(*next, record.sequence);
  blocks_->Free(block);
  catalog_.ReplaceBlock(index, block, *next);
  if (gap) {
    allocator_.Free(record.offset, record.bytes);
  } else {
    const uint64_t kept = RoundToGranule(shorter.bytes);
    allocator_.Free(record.offset + kept, RoundToGranule(record.bytes) - kept);
  }
  const uint64_t saved_bytes = record.bytes - shorter.bytes;
  const SpaceHandle space = catalog_.chunk(index).space;
  shares_.Subtract(catalog_.GroupOf(space), saved_bytes);
  spaces_[space]->stats.resident_bytes -= saved_bytes;
  return saved_bytes;
}

bool Core::IsUnused(const Ready& entry) const {
  const Chunk& chunk = catalog_.chunk(entry.chunk);
  return chunk.generation == entry.generation && chunk.last_use == entry.last_use &&
         (chunk.state == Chunk::State::kVisible || chunk.state == Chunk::State::kPartial) &&
         catalog_.MayGo(entry.chunk);
}

ChunkIndex Core::OldestShortened(GroupIndex group) {
  ShortenedQueue& queue = shortened_[group];
  // Whoever was used or held meanwhile is in the order again, or will be.
  while (!queue.chunks.empty() && !IsUnused(queue.chunks.front())) {
    queue.bytes -= queue.chunks.front().bytes;
    queue.chunks.pop_front();
  }
  return queue.chunks.empty() ? kNoChunk : queue.chunks.front().chunk;
}

ChunkIndex Core::VictimIn(GroupIndex group, MonotonicTime now) {
  const ChunkIndex shortened = OldestShortened(group);
  if (shortened_[group].bytes > shares_.used_bytes(group) / kShortenedShare) return shortened;
  const ChunkIndex victim = catalog_.Victim(group, now, kLooksPerVictimMax);
  if (victim == kNoChunk || shortened == kNoChunk) return victim == kNoChunk ? shortened : victim;
  // Of two that can only leave whole the one goes that was used longer ago.
  const bool older = catalog_.chunk(shortened).last_use <= catalog_.chunk(victim).last_use;
  return older && LongBlocks(victim).empty() ? shortened : victim;
}

}  // namespace larder
