#include "storage/catalog/catalog.h"

#include <algorithm>
#include <array>
#include <limits>

#include "common/check.h"

namespace larder {
namespace {

// How many lookups are in flight at once: enough to cover the latency of memory, few enough for the
// core's line fill buffers.
constexpr size_t kLookupWindow = 16;

}  // namespace

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
                           uint32_t depth, MonotonicTime now) {
  ChunkIndex chunk_index;
  if (!free_chunks_.empty()) {
    chunk_index = free_chunks_.back();
    free_chunks_.pop_back();
  } else {
    chunk_index = end_index();
    chunks_.GrowTo(chunk_index + size_t{1});
  }
  chunks_[chunk_index] = Chunk{.key = key,
                               .last_use = now,
                               .expiry = {},
                               .space = space,
                               .depth = depth,
                               .generation = chunks_[chunk_index].generation,
                               .state = Chunk::State::kPartial};
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
  chunk.parent = parent_index;
  chunk.parent_generation = chunks_[parent_index].generation;
  ++chunks_[parent_index].children;
}

void Catalog::AddBlock(ChunkIndex chunk, BlockIndex block) {
  next_block_.GrowTo(block + size_t{1});
  next_block_[block] = chunks_[chunk].first_block;
  chunks_[chunk].first_block = block;
}

void Catalog::SetExpiry(ChunkIndex chunk_index, MonotonicTime expiry) {
  Chunk& chunk = chunks_[chunk_index];
  if (chunk.expiry.nanoseconds != 0) expiries_.erase({chunk.expiry, chunk_index});
  chunk.expiry = expiry;
  if (expiry.nanoseconds != 0) expiries_.insert({expiry, chunk_index});
}

void Catalog::Touch(ChunkIndex chunk, MonotonicTime now) {
  Chunk& touched = chunks_[chunk];
  touched.last_use = now;
  if (touched.uses < std::numeric_limits<uint8_t>::max()) ++touched.uses;
  recency_.Touch(chunk);
}

void Catalog::AddLease(ChunkIndex chunk) { ++chunks_[chunk].leases; }

bool Catalog::DropLease(ChunkIndex chunk_index) {
  Chunk& chunk = chunks_[chunk_index];
  LARDER_CHECK(chunk.leases > 0);
  --chunk.leases;
  if (chunk.state == Chunk::State::kDoomed) return chunk.leases == 0;
  ReconsiderParked(chunk_index);
  return false;
}

void Catalog::SetPinned(ChunkIndex chunk, bool pinned) {
  chunks_[chunk].pinned = pinned;
  ReconsiderParked(chunk);
}

ChunkIndex Catalog::Victim(uint32_t looks_max) {
  for (uint32_t looks = 0; looks < looks_max; ++looks) {
    const ChunkIndex oldest = recency_.oldest();
    if (oldest == RecencyOrder::kNone) return kNoChunk;
    if (MayGo(chunks_[oldest])) return oldest;
    recency_.Park(oldest);
  }
  return kNoChunk;
}

void Catalog::LetParentGo(ChunkIndex chunk_index) {
  Chunk& chunk = chunks_[chunk_index];
  if (chunk.parent != kNoChunk && chunks_[chunk.parent].generation == chunk.parent_generation) {
    --chunks_[chunk.parent].children;
    ReconsiderParked(chunk.parent);
  }
  chunk.parent = kNoChunk;
}

bool Catalog::Unlink(ChunkIndex chunk_index) {
  Chunk& chunk = chunks_[chunk_index];
  LARDER_CHECK(chunk.state == Chunk::State::kPartial || chunk.state == Chunk::State::kVisible);
  index_.Erase(index_.TagOf(chunk.space, chunk.key), chunk_index);
  recency_.Remove(chunk_index);
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

void Catalog::ReconsiderParked(ChunkIndex chunk) {
  if (MayGo(chunks_[chunk])) recency_.Unpark(chunk);
}

}  // namespace larder
