#include "storage/catalog/catalog.h"

#include <algorithm>
#include <array>
#include <limits>

#include "absl/time/time.h"
#include "common/check.h"

namespace larder {
namespace {

// How many lookups are in flight at once: enough to cover the latency of memory, few enough for the
// core's line fill buffers.
constexpr size_t kLookupWindow = 16;

// So far ahead of a use its chunk's place in the order is asked for.
constexpr size_t kTouchAhead = 8;

// Bound on the keeps that one call ends.
constexpr int kKeepsEndedMax = 4096;

}  // namespace

GroupIndex Catalog::AddGroup() {
  Group group;
  if (kind_ == OrderKind::kLearned) {
    auto policy = std::make_unique<EvictionPolicy>(&policy_items_);
    group.learned = policy.get();
    group.order = std::move(policy);
  } else {
    group.order = std::make_unique<LruOrder>(&recency_links_);
  }
  groups_.push_back(std::move(group));
  return static_cast<GroupIndex>(groups_.size() - 1);
}

void Catalog::SetGroup(uint32_t space, GroupIndex group) {
  if (groups_of_.size() <= space) groups_of_.resize(space + size_t{1});
  groups_of_[space] = group;
}

PolicyCounters Catalog::policy_counters(GroupIndex group) const {
  const EvictionPolicy* learned = groups_[group].learned;
  return learned == nullptr ? PolicyCounters{} : learned->counters();
}

ChunkIndex Catalog::Find(uint32_t space, const KeyHash& key) const {
  return index_.Find(index_.TagOf(space, key), [&](uint32_t candidate) {
    const Chunk& chunk = chunks_[candidate];
    return chunk.key == key && chunk.space == space;
  });
}

void Catalog::FindPrefix(uint32_t space, std::span<const KeyHash> keys, MonotonicTime now,
                         std::vector<ChunkIndex>* found) const {
  std::array<uint32_t, kLookupWindow> tags;
  std::array<ChunkIndex, kLookupWindow> candidates;
  for (size_t base = 0; base < keys.size(); base += kLookupWindow) {
    const size_t count = std::min(kLookupWindow, keys.size() - base);
    for (size_t i = 0; i < count; ++i) {
      tags[i] = index_.TagOf(space, keys[base + i]);
      index_.Prefetch(tags[i]);
    }
    // First by tag alone, so that the chunks themselves can be loaded side by side too.
    for (size_t i = 0; i < count; ++i) {
      candidates[i] = index_.Find(tags[i], [](uint32_t) { return true; });
      if (candidates[i] != kNoChunk) __builtin_prefetch(&chunks_[candidates[i]]);
    }
    for (size_t i = 0; i < count; ++i) {
      const KeyHash& key = keys[base + i];
      ChunkIndex candidate = candidates[i];
      if (candidate == kNoChunk) return;
      if (chunks_[candidate].key != key || chunks_[candidate].space != space) {
        candidate = Find(space, key);  // Two chunks share a tag: about one lookup in 2^32 / chunks.
        if (candidate == kNoChunk) return;
      }
      const Chunk& chunk = chunks_[candidate];
      if (chunk.state != Chunk::State::kVisible) return;
      if (chunk.expiry.nanoseconds != 0 && chunk.expiry <= now) return;
      found->push_back(candidate);
    }
  }
}

ChunkIndex Catalog::Insert(uint32_t space, const KeyHash& key, const KeyHash& parent,
                           const ChunkTraits& traits, MonotonicTime now) {
  ChunkIndex chunk_index;
  if (!free_chunks_.empty()) {
    chunk_index = free_chunks_.back();
    free_chunks_.pop_back();
  } else {
    chunk_index = end_index();
    chunks_.GrowTo(chunk_index + size_t{1});
  }
  Chunk& chunk = chunks_[chunk_index];
  const uint32_t generation = chunk.generation;
  chunk = Chunk{};
  chunk.key = key;
  chunk.space = space;
  chunk.depth = traits.depth;
  chunk.generation = generation;
  chunk.last_use = ToTicks(now);
  chunk.state = Chunk::State::kPartial;
  OrderOf(chunk_index).Insert(chunk_index, traits, now);
  index_.Insert(index_.TagOf(space, key), chunk_index);
  LinkParent(chunk_index, parent);
  return chunk_index;
}

void Catalog::LinkParent(ChunkIndex chunk_index, const KeyHash& parent) {
  Chunk& chunk = chunks_[chunk_index];
  if (parent.IsZero() || chunk.parent != kNoChunk) return;
  const ChunkIndex parent_index = Find(chunk.space, parent);
  // Parents are shallower, so that no wrong link can make a cycle, which could never be evicted.
  if (parent_index == kNoChunk || chunks_[parent_index].depth >= chunk.depth) return;
  // A copy does not stay for what follows it: others have it.
  if (chunks_[parent_index].copy) return;
  chunk.parent = parent_index;
  chunk.parent_generation = chunks_[parent_index].generation;
  ++chunks_[parent_index].children;
}

void Catalog::AddBlock(ChunkIndex chunk, BlockIndex block) {
  next_block_.GrowTo(block + size_t{1});
  next_block_[block] = chunks_[chunk].first_block;
  chunks_[chunk].first_block = block;
}

void Catalog::ReplaceBlock(ChunkIndex chunk, BlockIndex block, BlockIndex next) {
  next_block_.GrowTo(next + size_t{1});
  next_block_[next] = next_block_[block];
  BlockIndex* link = &chunks_[chunk].first_block;
  while (*link != block) link = &next_block_[*link];
  *link = next;
}

void Catalog::SetExpiry(ChunkIndex chunk_index, MonotonicTime expiry) {
  Chunk& chunk = chunks_[chunk_index];
  if (chunk.expiry.nanoseconds != 0) expiries_.erase({chunk.expiry, chunk_index});
  chunk.expiry = expiry;
  if (expiry.nanoseconds != 0) expiries_.insert({expiry, chunk_index});
}

void Catalog::Touch(ChunkIndex chunk, MonotonicTime now) {
  Chunk& touched = chunks_[chunk];
  touched.last_use = ToTicks(now);
  if (touched.uses < std::numeric_limits<uint8_t>::max()) ++touched.uses;
  touched.goes_first = false;
  const bool may_go = MayGo(touched);
  OrderOf(chunk).Touch(chunk, may_go, now);
  if (touched.low_priority && may_go) OrderOf(chunk).LetGoFirst(chunk);
}

void Catalog::TouchPrefix(std::span<const ChunkIndex> chunks, MonotonicTime now) {
  if (chunks.empty()) return;
  const ChunkOrder& order = OrderOf(chunks[0]);
  for (size_t i = chunks.size(); i-- > 0;) {
    if (i >= kTouchAhead) order.Prefetch(chunks[i - kTouchAhead]);
    Touch(chunks[i], now);
  }
}

// --- hints --------------------------------------------------------------------------------------

void Catalog::Keep(ChunkIndex chunk, MonotonicTime until, uint64_t bytes) {
  EndKeep(chunk);
  Group& group = GroupOfChunk(chunk);
  chunks_[chunk].kept = true;
  kept_[chunk] = {until, bytes};
  group.keeps.insert(KeepOrderOf(chunk));
  group.kept_bytes += bytes;
}

void Catalog::EndKeep(ChunkIndex chunk) {
  if (!chunks_[chunk].kept) return;
  chunks_[chunk].kept = false;
  Group& group = GroupOfChunk(chunk);
  group.keeps.erase(KeepOrderOf(chunk));
  group.kept_bytes -= kept_.at(chunk).bytes;
  kept_.erase(chunk);
  Reconsider(chunk);
}

void Catalog::EndKeeps(MonotonicTime now) {
  int ended = 0;
  for (Group& group : groups_) {
    for (; ended < kKeepsEndedMax && !group.keeps.empty(); ++ended) {
      const auto [until, depth, chunk] = *group.keeps.begin();
      if (until > now) break;
      const uint64_t bytes = kept_.at(chunk).bytes;
      EndKeep(chunk);
      if (!chunks_[chunk].high_priority) continue;
      const PolicyTicks age = ToTicks(now) - chunks_[chunk].last_use;
      const absl::Duration left = kHighPriorityKeep - absl::Seconds(age / kTicksPerSecond);
      if (left > absl::ZeroDuration()) Keep(chunk, now + left, bytes);
    }
  }
}

void Catalog::LetGoFirst(ChunkIndex chunk) {
  chunks_[chunk].goes_first = true;
  EndKeep(chunk);
  Reconsider(chunk);
}

void Catalog::SetPriority(ChunkIndex chunk, ChunkPriority priority) {
  chunks_[chunk].low_priority = priority == ChunkPriority::kLow;
  chunks_[chunk].high_priority = priority == ChunkPriority::kHigh;
  if (priority == ChunkPriority::kLow) EndKeep(chunk);
  Reconsider(chunk);
}

// --- leases and victims -------------------------------------------------------------------------

void Catalog::AddLease(ChunkIndex chunk) { ++chunks_[chunk].leases; }

bool Catalog::DropLease(ChunkIndex chunk_index) {
  Chunk& chunk = chunks_[chunk_index];
  LARDER_CHECK(chunk.leases > 0);
  --chunk.leases;
  if (chunk.state == Chunk::State::kDoomed) return chunk.leases == 0;
  if (chunk.copy && chunk.leases == 0) {
    chunk.copy = chunk.uses < kCopyUsesMax;
    chunk.goes_first |= chunk.copy;
  }
  Reconsider(chunk_index);
  return false;
}

void Catalog::SetPinned(ChunkIndex chunk, bool pinned) {
  chunks_[chunk].pinned = pinned;
  Reconsider(chunk);
}

ChunkIndex Catalog::Victim(GroupIndex index, MonotonicTime now, uint32_t looks_max) {
  Group& group = groups_[index];
  const auto may_go = [this](uint32_t chunk) { return MayGo(chunks_[chunk]); };
  for (uint32_t looks = 0; looks < looks_max; ++looks) {
    const uint32_t victim = group.order->Victim(now, looks_max - looks, may_go);
    if (victim != ChunkOrder::kNone || group.keeps.empty()) return victim;
    // Nothing else may go: whoever was to be kept for the shortest time is no longer.
    EndKeep(std::get<2>(*group.keeps.begin()));
  }
  return kNoChunk;
}

void Catalog::LetParentGo(ChunkIndex chunk_index) {
  Chunk& chunk = chunks_[chunk_index];
  if (chunk.parent != kNoChunk && chunks_[chunk.parent].generation == chunk.parent_generation) {
    --chunks_[chunk.parent].children;
    Reconsider(chunk.parent);
  }
  chunk.parent = kNoChunk;
}

bool Catalog::Unlink(ChunkIndex chunk_index) {
  Chunk& chunk = chunks_[chunk_index];
  LARDER_CHECK(chunk.state == Chunk::State::kPartial || chunk.state == Chunk::State::kVisible);
  index_.Erase(index_.TagOf(chunk.space, chunk.key), chunk_index);
  EndKeep(chunk_index);
  OrderOf(chunk_index).Remove(chunk_index);
  SetExpiry(chunk_index, {});
  LetParentGo(chunk_index);
  if (chunk.leases == 0) return true;
  chunk.state = Chunk::State::kDoomed;
  return false;
}

void Catalog::Erase(ChunkIndex chunk) {
  chunks_[chunk].state = Chunk::State::kFree;
  ++chunks_[chunk].generation;
  free_chunks_.push_back(chunk);
}

ChunkIndex Catalog::FirstExpired(MonotonicTime now) const {
  if (expiries_.empty() || expiries_.begin()->first > now) return kNoChunk;
  return expiries_.begin()->second;
}

void Catalog::ForEachBlock(ChunkIndex chunk, absl::FunctionRef<void(BlockIndex)> visit) const {
  BlockIndex block = chunks_[chunk].first_block;
  while (block != kNoBlock) {
    const BlockIndex next = next_block_[block];  // The visitor may free the block.
    visit(block);
    block = next;
  }
}

void Catalog::Reconsider(ChunkIndex chunk) {
  if (!MayGo(chunks_[chunk])) return;
  OrderOf(chunk).Reconsider(chunk);
  if (chunks_[chunk].goes_first || chunks_[chunk].low_priority) OrderOf(chunk).LetGoFirst(chunk);
}

}  // namespace larder
