// Which chunk goes first, and which need not come in.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "common/clock.h"
#include "common/paged_vector.h"
#include "storage/policy/access_monitor.h"
#include "storage/policy/ghost_table.h"
#include "storage/policy/recency_order.h"
#include "storage/policy/reuse_statistics.h"
#include "storage/policy/score_queues.h"
#include "storage/policy/trust.h"

namespace larder {

// What the policy wants to know of a chunk.
struct ChunkTraits {
  uint64_t key = 0;           // the same whenever the chunk comes back, evenly spread over 64 bits
  uint32_t depth = 0;         // how many chunks are before it in its prefix
  uint64_t bytes = 1;         // more than 0
  double recompute_cost = 1;  // what computing it again takes, in any unit (recompute_cost.h)
  uint8_t category = 0;       // below kCategories: kinds that the caller tells apart
};

struct PolicyCounters {
  bool learned_order = false;      // false: plain least-recently-used order, leaves first
  uint64_t trust_suspensions = 0;  // how often the learned order fell behind and was left
  uint64_t observed_reuses = 0;
};

// The eviction policy of docs/POLICY.md. Items are small integers that the caller chooses and may
// reuse. The order is that of the least expected hits per second and byte, learned from the ages at
// which chunks of the same class were used again; while that is not known or does worse, it is the
// least recently used chunk. In either order an item that may not go is never the victim; a caller
// that says so of each chunk with children evicts leaves before parents.
//
// Pure: time comes in as an argument and never goes back; equal calls give equal decisions. Not
// thread-safe. Each call does a bounded amount of work. Memory: 36 bytes an item and 16 to 32 for
// remembering items that went, plus about 3 MiB.
class EvictionPolicy {
 public:
  static constexpr uint32_t kNone = 0xffffffffu;
  static constexpr uint32_t kCategories = 4;

  EvictionPolicy();

  // A new item that is in no order yet, and may go.
  void Insert(uint32_t item, const ChunkTraits& traits, MonotonicTime now);
  // The item was used: it becomes the newest. The first call after Insert puts it in order and
  // counts as the use that missed. Touch a prefix deepest chunk first, so that it leaves last.
  void Touch(uint32_t item, MonotonicTime now);
  // Whether the item may be a victim: it has no children and nobody holds it.
  void SetMayGo(uint32_t item, bool may_go);
  // Forgets the item, but not that it was there.
  void Remove(uint32_t item);

  // The item that should go first, or kNone: there is none, or what was looked at within the bound
  // may not go (then a further call looks at others). Does not remove it.
  uint32_t Victim(MonotonicTime now);

  // Whether a chunk that is not stored is worth at least as much as `victim`. If it is not stored
  // then, say so with Refuse.
  bool Admits(const ChunkTraits& traits, uint32_t victim, MonotonicTime now);
  // A chunk was asked for, is not stored and was not admitted.
  void Refuse(const ChunkTraits& traits, MonotonicTime now);

  PolicyCounters counters() const;

 private:
  static constexpr size_t kClassesMax = 256;
  static constexpr uint32_t kUseBands = 5;
  static constexpr uint32_t kIntervalBands = 4;
  static constexpr uint32_t kDepthBands = 10;
  static constexpr uint32_t kCostBands = 4;
  static constexpr size_t kGroups = kCategories * kUseBands * kIntervalBands;
  static constexpr size_t kKinds = kGroups * kDepthBands * kCostBands;
  static constexpr uint16_t kNoClass = 0xffff;

  // What stays the same of a chunk, as bands.
  struct Bands {
    uint8_t depth : 4;
    uint8_t category : 2;
    uint8_t cost : 2;
  };
  struct Item {
    uint64_t key;
    PolicyTicks last_use;
    uint8_t class_index;
    uint8_t uses;
    Bands bands;
    bool may_go : 1;
    bool ordered : 1;  // was touched since it was inserted
  };
  struct Class {
    double cost_per_byte = 0;  // moving average
    uint64_t chunks = 0;
  };

  Bands BandsOf(const ChunkTraits& traits) const;
  uint32_t ClassOf(Bands bands, uint32_t uses, PolicyTicks interval);
  uint32_t NewClass(size_t kind, size_t group);
  uint32_t ClassOfNewcomer(const ChunkTraits& traits, PolicyTicks now);
  void Observe(uint64_t key, uint32_t class_index, bool hit, PolicyTicks now);
  void LearnCost(uint32_t class_index, double cost_per_byte);
  void UpdateLevels(uint32_t class_index);
  void Enqueue(uint32_t item);
  bool MoveIfAged(uint32_t item);
  void AgeQueues();
  uint32_t OldestThatMayGo();
  uint32_t LeastWorth();

  PagedVector<Item> items_;
  size_t item_count_ = 0;
  RecencyOrder recency_;
  ScoreQueues queues_;
  ReuseStatistics statistics_;
  AccessMonitor monitor_;
  GhostTable ghosts_;
  Trust trust_;
  std::vector<uint16_t> class_of_kind_;
  std::array<uint16_t, kGroups> first_class_of_group_;
  std::vector<Class> classes_;
  double mean_cost_per_byte_ = 0;
  PolicyTicks now_ = 0;
  uint64_t uses_ = 0;
  uint32_t next_class_to_update_ = 0;
  ScoreQueues::CellIndex next_cell_to_age_ = 0;
};

}  // namespace larder
