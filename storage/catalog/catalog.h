// What is stored: chunks by key, their place in the prefix forest, and the order in which they go.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/functional/function_ref.h"
#include "common/clock.h"
#include "common/ids.h"
#include "common/paged_vector.h"
#include "storage/catalog/hash_index.h"
#include "storage/policy/recency_order.h"

namespace larder {

// Names a chunk while it exists; reused afterwards.
using ChunkIndex = uint32_t;
inline constexpr ChunkIndex kNoChunk = 0xffffffffu;
// Names a block of the arena (storage/arena/block_table.h).
using BlockIndex = uint32_t;
inline constexpr BlockIndex kNoBlock = 0xffffffffu;

// One stored chunk. Its bytes are in the blocks of a chain, one block a part.
struct Chunk {
  enum class State : uint8_t {
    kFree,     // not in use
    kPartial,  // some of its parts are committed: invisible to readers, evictable
    kVisible,  // all parts are committed
    kDoomed,   // removed while leased: found by no one, its blocks go with the last lease
  };

  KeyHash key;
  MonotonicTime last_use;
  MonotonicTime expiry;  // zero: never
  uint32_t space = 0;
  ChunkIndex parent = kNoChunk;
  uint32_t parent_generation = 0;  // the parent's `generation` when it was linked
  uint32_t children = 0;
  uint32_t leases = 0;
  BlockIndex first_block = kNoBlock;
  uint32_t depth = 0;
  uint32_t generation = 0;  // how many chunks had this index before
  State state = State::kFree;
  bool pinned = false;
  uint8_t uses = 0;  // touches, that of the storing too; stops counting at the largest value
};

// Pure: no I/O, no clock of its own. Not thread-safe. Owns all entries; knows blocks by number
// only. Invariants: a chunk that has children or leases or is pinned is never the victim; a doomed
// chunk is in no index; a parent that was removed before its children is recognised by its
// generation.
class Catalog {
 public:
  // `seed` keys the hash index (common/random.h: SystemRandom in the daemon).
  explicit Catalog(uint64_t seed) : index_(seed) {}

  // The chunk of `key`, in whatever state but doomed; kNoChunk if there is none.
  ChunkIndex Find(uint32_t space, const KeyHash& key) const;

  // Appends to `found` the chunks of `keys` up to the first that is not visible or has expired.
  void FindPrefix(uint32_t space, std::span<const KeyHash> keys, MonotonicTime now,
                  std::vector<ChunkIndex>* found) const;

  // A new partial chunk without blocks, outside the recency order. The parent is linked if present.
  // REQUIRES: Find(space, key) == kNoChunk.
  ChunkIndex Insert(uint32_t space, const KeyHash& key, const KeyHash& parent, uint32_t depth,
                    MonotonicTime now);
  // Links a chunk that has no parent yet, if `parent` is present (recovery inserts in any order).
  void LinkParent(ChunkIndex chunk, const KeyHash& parent);

  void AddBlock(ChunkIndex chunk, BlockIndex block);
  void SetVisible(ChunkIndex chunk) { chunks_[chunk].state = Chunk::State::kVisible; }
  void SetExpiry(ChunkIndex chunk, MonotonicTime expiry);

  // Makes the chunk the most recent. Touch a prefix deepest chunk first, so that it leaves last.
  void Touch(ChunkIndex chunk, MonotonicTime now);

  void AddLease(ChunkIndex chunk);
  // Returns true when this was the last lease of a doomed chunk: the caller then erases it.
  [[nodiscard]] bool DropLease(ChunkIndex chunk);
  void SetPinned(ChunkIndex chunk, bool pinned);

  // The least recently used chunk that may go, or kNoChunk. Looks at no more than `looks_max`
  // chunks; those that may not go are set aside until they may. Amortised O(1).
  ChunkIndex Victim(uint32_t looks_max);
  // The chunk's parent no longer has to stay for it: it is on disk or on its way out, so that a
  // prefix is not broken by the parent's leaving first.
  void LetParentGo(ChunkIndex chunk);
  // Takes a victim out of the order, so that the next one is found; a use brings it back.
  void SetAside(ChunkIndex chunk) { recency_.Park(chunk); }
  // No children, leases or pin.
  bool MayGo(ChunkIndex chunk) const { return MayGo(chunks_[chunk]); }

  // Takes the chunk out of the index, the forest and the recency order. A leased one becomes doomed
  // and false is returned; otherwise true, and the caller frees its blocks and calls Erase.
  [[nodiscard]] bool Unlink(ChunkIndex chunk);
  // Forgets an unlinked chunk; its index may be reused.
  void Erase(ChunkIndex chunk);

  // The first chunk that has expired by `now`, or kNoChunk.
  ChunkIndex FirstExpired(MonotonicTime now) const;

  const Chunk& chunk(ChunkIndex chunk) const { return chunks_[chunk]; }
  void ForEachBlock(ChunkIndex chunk, absl::FunctionRef<void(BlockIndex)> visit) const;

  // Chunk indices in use lie in [0, end_index()): for walks in bounded steps.
  ChunkIndex end_index() const { return static_cast<ChunkIndex>(chunks_.size()); }
  size_t chunk_count() const { return index_.size(); }

 private:
  bool MayGo(const Chunk& chunk) const {
    return chunk.children == 0 && chunk.leases == 0 && !chunk.pinned;
  }
  void ReconsiderParked(ChunkIndex chunk);

  PagedVector<Chunk> chunks_;
  PagedVector<BlockIndex> next_block_;
  std::vector<ChunkIndex> free_chunks_;
  HashIndex index_;
  RecencyOrder recency_;
  absl::btree_set<std::pair<MonotonicTime, ChunkIndex>> expiries_;
};

}  // namespace larder
