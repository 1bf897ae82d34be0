// What is stored: chunks by key, their place in the prefix forest, and the order in which they go.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <tuple>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/ids.h"
#include "common/paged_vector.h"
#include "storage/catalog/hash_index.h"
#include "storage/policy/chunk_order.h"
#include "storage/policy/eviction_policy.h"
#include "storage/policy/hints.h"
#include "storage/policy/lru_order.h"

namespace larder {

// Names a chunk while it exists; reused afterwards.
using ChunkIndex = uint32_t;
inline constexpr ChunkIndex kNoChunk = 0xffffffffu;
// Names a block of the arena (storage/arena/block_table.h).
using BlockIndex = uint32_t;
inline constexpr BlockIndex kNoBlock = 0xffffffffu;

// Names the chunks that leave in one order: those of a tenant with quotas of its own, or of all
// other tenants together, which are group 0.
using GroupIndex = uint32_t;

enum class OrderKind : uint8_t { kLearned, kLru };

// One stored chunk, on a cache line of its own. Its bytes are in the blocks of a chain, one block a
// part.
struct alignas(64) Chunk {
  enum class State : uint8_t {
    kFree,     // not in use
    kPartial,  // some of its parts are committed: invisible to readers, evictable
    kVisible,  // all parts are committed
    kDoomed,   // removed while leased: found by no one, its blocks go with the last lease
  };

  KeyHash key;
  MonotonicTime expiry;  // zero: never
  uint32_t space = 0;
  ChunkIndex parent = kNoChunk;
  uint32_t parent_generation = 0;  // the parent's `generation` when it was linked
  uint32_t children = 0;
  uint32_t leases = 0;
  BlockIndex first_block = kNoBlock;
  uint32_t depth = 0;
  uint32_t generation = 0;  // how many chunks had this index before
  PolicyTicks last_use = 0;
  State state = State::kFree;
  bool pinned = false;
  uint8_t uses = 0;       // touches, that of the storing too; stops counting at the largest value
  bool kept : 1 = false;  // stays for a while, unless nothing else may go
  bool goes_first : 1 = false;     // until it is used
  bool low_priority : 1 = false;   // goes first even after a use
  bool high_priority : 1 = false;  // is kept for a while after each use
  bool copy : 1 = false;           // other nodes hold it as well
};
static_assert(sizeof(Chunk) == 64);

// Looking up costs one cache line of the index and one of the chunk; a use writes to the same line
// and to one of the order.
//
// Pure: no I/O, no clock of its own. Not thread-safe. Owns all entries; knows blocks by number
// only. Invariants: a chunk that has children or leases or is pinned is never the victim; a doomed
// chunk is in no index; a parent that was removed before its children is recognised by its
// generation.
class Catalog {
 public:
  // `seed` keys the hash index (common/random.h: SystemRandom in the daemon).
  explicit Catalog(uint64_t seed, OrderKind kind = OrderKind::kLru) : kind_(kind), index_(seed) {
    (void)AddGroup();
  }

  GroupIndex AddGroup();
  // Before the space's first chunk; spaces of which nothing is said belong to group 0.
  void SetGroup(uint32_t space, GroupIndex group);
  GroupIndex GroupOf(uint32_t space) const {
    return space < groups_of_.size() ? groups_of_[space] : 0;
  }
  // The order's own name of a chunk.
  static uint64_t PolicyKey(uint32_t space, const KeyHash& key) {
    return key.low ^ (space * uint64_t{0x9e3779b97f4a7c15});
  }

  // The chunk of `key`, in whatever state but doomed; kNoChunk if there is none.
  ChunkIndex Find(uint32_t space, const KeyHash& key) const;

  // Appends to `found` the chunks of `keys` up to the first that is not visible or has expired.
  void FindPrefix(uint32_t space, std::span<const KeyHash> keys, MonotonicTime now,
                  std::vector<ChunkIndex>* found) const;

  // A new partial chunk without blocks, in no order before it is touched. The parent is linked if
  // present. `traits.key` is its PolicyKey. REQUIRES: Find(space, key) == kNoChunk.
  ChunkIndex Insert(uint32_t space, const KeyHash& key, const KeyHash& parent,
                    const ChunkTraits& traits, MonotonicTime now);
  // Links a chunk that has no parent yet, if `parent` is present (recovery inserts in any order).
  void LinkParent(ChunkIndex chunk, const KeyHash& parent);

  void AddBlock(ChunkIndex chunk, BlockIndex block);
  // `next` takes the place of `block`, which is one of the chunk's.
  void ReplaceBlock(ChunkIndex chunk, BlockIndex block, BlockIndex next);
  void SetVisible(ChunkIndex chunk) { chunks_[chunk].state = Chunk::State::kVisible; }
  void SetExpiry(ChunkIndex chunk, MonotonicTime expiry);

  // The chunk was used. Touch a prefix deepest chunk first, so that it leaves last.
  void Touch(ChunkIndex chunk, MonotonicTime now);
  // The same for a whole prefix, shallowest first in `chunks`, with the latency of memory hidden.
  void TouchPrefix(std::span<const ChunkIndex> chunks, MonotonicTime now);

  void AddLease(ChunkIndex chunk);
  // Returns true when this was the last lease of a doomed chunk: the caller then erases it.
  [[nodiscard]] bool DropLease(ChunkIndex chunk);
  void SetPinned(ChunkIndex chunk, bool pinned);

  // --- hints: what was said of a chunk before ---
  // The chunk stays until then unless nothing else of its group may go; it counts as `bytes`
  // against KeptBytes meanwhile. Replaces what was said before.
  void Keep(ChunkIndex chunk, MonotonicTime until, uint64_t bytes);
  void EndKeep(ChunkIndex chunk);
  uint64_t KeptBytes(GroupIndex group) const { return groups_[group].kept_bytes; }
  uint64_t KeptBytesOf(ChunkIndex chunk) const {
    return chunks_[chunk].kept ? kept_.at(chunk).bytes : 0;
  }
  // Ends what is over by `now`, a bounded number a call.
  void EndKeeps(MonotonicTime now);
  // The chunk leaves before others until it is used.
  void LetGoFirst(ChunkIndex chunk);
  // Other nodes hold the chunk, too: whenever its last lease ends it goes first, until it has been
  // used so often that it is worth a place here.
  static constexpr uint8_t kCopyUsesMax = 4;
  void SetCopy(ChunkIndex chunk) { chunks_[chunk].copy = true; }
  // A chunk of high priority is kept for so long after each use.
  static constexpr absl::Duration kHighPriorityKeep = absl::Minutes(2);
  void SetPriority(ChunkIndex chunk, ChunkPriority priority);

  // The chunk of the group that should go first of those that may, or kNoChunk. Looks at no more
  // than `looks_max` chunks; those that may not go are set aside until they may. Amortised O(1).
  ChunkIndex Victim(GroupIndex group, MonotonicTime now, uint32_t looks_max);
  // See ChunkOrder. Where there is no room for a newcomer but the victim's.
  bool Admits(GroupIndex group, const ChunkTraits& newcomer, ChunkIndex victim, MonotonicTime now) {
    return groups_[group].order->Admits(newcomer, victim, now);
  }
  Standing StandingOf(ChunkIndex chunk) { return OrderOf(chunk).StandingOf(chunk); }
  void Refuse(GroupIndex group, const ChunkTraits& newcomer, MonotonicTime now) {
    groups_[group].order->Refuse(newcomer, now);
  }
  // The chunk's parent no longer has to stay for it: it is on disk or on its way out, so that a
  // prefix is not broken by the parent's leaving first.
  void LetParentGo(ChunkIndex chunk);
  // Takes a victim out of the order, so that the next one is found; a use brings it back.
  void SetAside(ChunkIndex chunk) { OrderOf(chunk).SetAside(chunk); }
  // No children, leases, pin or keep.
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

  size_t group_count() const { return groups_.size(); }
  PolicyCounters policy_counters(GroupIndex group) const;

 private:
  // Chunks are kept until a time, with so many bytes.
  struct Kept {
    MonotonicTime until;
    uint64_t bytes = 0;
  };
  // In the order in which keeps end: of one time the deepest first.
  using KeepOrder = std::tuple<MonotonicTime, uint32_t, ChunkIndex>;
  struct Group {
    std::unique_ptr<ChunkOrder> order;
    EvictionPolicy* learned = nullptr;  // the order, if it is of that kind
    absl::btree_set<KeepOrder> keeps;
    uint64_t kept_bytes = 0;
  };

  static bool MayGo(const Chunk& chunk) {
    return chunk.children == 0 && chunk.leases == 0 && !chunk.pinned && !chunk.kept;
  }
  Group& GroupOfChunk(ChunkIndex chunk) { return groups_[GroupOf(chunks_[chunk].space)]; }
  ChunkOrder& OrderOf(ChunkIndex chunk) { return *GroupOfChunk(chunk).order; }
  KeepOrder KeepOrderOf(ChunkIndex chunk) const {
    return {kept_.at(chunk).until, ~chunks_[chunk].depth, chunk};
  }
  void Reconsider(ChunkIndex chunk);

  PagedVector<Chunk> chunks_;
  PagedVector<BlockIndex> next_block_;
  std::vector<ChunkIndex> free_chunks_;
  const OrderKind kind_;
  HashIndex index_;
  PolicyItems policy_items_;
  RecencyOrder::Links recency_links_;
  std::vector<Group> groups_;
  std::vector<GroupIndex> groups_of_;  // by space
  absl::flat_hash_map<ChunkIndex, Kept> kept_;
  absl::btree_set<std::pair<MonotonicTime, ChunkIndex>> expiries_;
};

}  // namespace larder
