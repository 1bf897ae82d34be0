// Which node holds which chunk, as the nodes have told: what a node answers Match from.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "daemon/index/chunk_event.h"
#include "daemon/index/entry_table.h"
#include "daemon/index/holder_lists.h"
#include "daemon/index/space_numbers.h"

namespace larder {

struct GlobalIndexOptions {
  size_t entries_max = 64'000'000;
  uint64_t seed = 0;  // secret; common/random.h: SystemRandom in the daemon
};

struct ChunkHolder {
  NodeSlot node = 0;
  uint8_t tiers = 0;

  friend bool operator==(const ChunkHolder&, const ChunkHolder&) = default;
};

// What is known of keys. Made to be used again and again, so that it allocates nothing then.
struct FoundChunks {
  struct Chunk {
    uint32_t pages = 0;
    uint32_t first_holder = 0;
    uint32_t holder_count = 0;  // 0: nobody holds it
  };
  std::vector<Chunk> chunks;
  std::vector<ChunkHolder> holders;

  std::span<const ChunkHolder> HoldersOf(const Chunk& chunk) const {
    return std::span(holders).subspan(chunk.first_holder, chunk.holder_count);
  }
};

struct GlobalIndexStats {
  size_t entries = 0;
  size_t spaces = 0;
  size_t bytes = 0;      // memory
  uint64_t dropped = 0;  // events for which there was no room; their chunks are misses
};

struct IndexNodeStats {
  uint64_t entries = 0;
  uint64_t stale_entries = 0;  // of these: not announced again since BeginSnapshot or HideNode
  uint64_t memory_entries = 0;
  uint64_t disk_entries = 0;
  uint64_t memory_pages = 0;
  uint64_t disk_pages = 0;
};

// Soft state: a stale entry costs its reader a miss, a missing one too. One entry of 32 bytes a
// chunk, whoever holds it, in a table that is more than half full; lookups and events in
// batches, so that the latency of memory is hidden. Pure: no clock, no randomness. Not thread-safe.
//
// The life of a node's entries: Apply adds and removes them. BeginSnapshot makes all of them stale,
// and Apply makes them fresh again one by one; what is still stale when the snapshot is complete
// is removed by ForgetStep. HideNode makes all of them invisible at once, until ForgetStep has
// removed them.
class GlobalIndex {
 public:
  static absl::StatusOr<std::unique_ptr<GlobalIndex>> Create(const GlobalIndexOptions& options);

  // REQUIRES everywhere: node < kNodesMax. Events of a hidden node are ignored.
  void Apply(NodeSlot node, const ChunkEvent& event);
  void Apply(NodeSlot node, std::span<const ChunkEvent> events);

  void HideNode(NodeSlot node);
  // False when the node is hidden or has stale entries: ForgetStep first.
  [[nodiscard]] bool BeginSnapshot(NodeSlot node);
  // Removes stale entries, or those of a hidden node, among the next `slots_max` slots of the
  // table. False when there are none left; a hidden node is then as if it had never been there.
  bool ForgetStep(NodeSlot node, size_t slots_max);

  // What is known of `keys`, in their order; those of hidden nodes are left out. With
  // `stop_at_first_unknown` the answer ends before the first key that nobody holds.
  void Find(const SpaceId& space, std::span<const KeyHash> keys, bool stop_at_first_unknown,
            FoundChunks* found) const;
  bool Contains(const SpaceId& space, const KeyHash& key) const {
    return HeldByOther(space, key, kNodesMax);
  }
  // Whether anyone but `self` holds it.
  bool HeldByOther(const SpaceId& space, const KeyHash& key, size_t self) const;

  GlobalIndexStats stats() const;
  IndexNodeStats NodeStats(NodeSlot node) const;

 private:
  struct Node {
    IndexNodeStats stats;
    std::array<uint64_t, 2> entries_of{};  // by generation
    uint64_t forget_from = 0;              // the hash at which ForgetStep goes on
    uint8_t generation = 0;
  };

  GlobalIndex(std::unique_ptr<EntryTable> table, const GlobalIndexOptions& options);

  EntryName NameOf(uint32_t space, const KeyHash& key) const;
  bool IsStale(NodeSlot node, uint16_t holder) const {
    return hidden_[node] || PackedHolder::GenerationOf(holder) != nodes_[node].generation;
  }
  uint64_t StaleEntries(NodeSlot node) const;

  void ApplyHeld(NodeSlot node, const ChunkEvent& event, uint8_t tiers);
  void ApplyRemoved(NodeSlot node, const ChunkEvent& event);
  void SetPages(IndexEntry* entry, uint32_t pages);
  void Count(uint16_t holder, uint32_t pages, int64_t change);
  void RemoveHolder(size_t slot, size_t at);
  // The place of the node in the entry's holders; their number if it is none of them.
  size_t PlaceOf(NodeSlot node, const IndexEntry& entry) const;
  void Append(const IndexEntry& entry, FoundChunks* found) const;

  const uint64_t seed_;
  std::unique_ptr<EntryTable> table_;
  HolderLists holders_;
  SpaceNumbers spaces_;
  std::vector<Node> nodes_;
  std::bitset<kNodesMax> hidden_;
  uint64_t dropped_ = 0;
};

}  // namespace larder
