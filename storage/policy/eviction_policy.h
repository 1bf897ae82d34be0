// Which chunk goes first, and which need not come in.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "common/clock.h"
#include "common/paged_vector.h"
#include "storage/policy/access_monitor.h"
#include "storage/policy/chunk_order.h"
#include "storage/policy/ghost_table.h"
#include "storage/policy/reuse_statistics.h"
#include "storage/policy/score_queues.h"
#include "storage/policy/trust.h"

namespace larder {

struct PolicyCounters {
  bool learned_order = false;      // false: plain least-recently-used order, leaves first
  uint64_t trust_suspensions = 0;  // how often the learned order fell behind and was left
  uint64_t observed_reuses = 0;
};

// What policies whose items are different ones can share, so that a policy for each tenant costs no
// more for each chunk than one for all. 28 bytes an item.
struct PolicyItems {
  struct Item {
    uint64_t key;
    PolicyTicks last_use;
    uint8_t class_index;
    uint8_t uses;
    // What stays the same of a chunk, as bands.
    uint8_t depth_band : 4;
    uint8_t category : 2;
    uint8_t cost_band : 2;
    bool ordered : 1;  // was touched since it was inserted
    bool goes_first : 1;
    bool moved_up : 1;  // used since it was put where it stands
  };
  PagedVector<Item> items;
  ScoreQueues::Links links;
};

// The eviction policy of docs/POLICY.md. The order is that of the least expected hits per second
// and byte, learned from the ages at which chunks of the same class were used again; while that is
// not known or does worse, the chunk that was not used for longest goes first, with ages told apart
// by a third of an octave.
//
// A use only notes the time, in the item itself. Where an item stands is put right when it is about
// to be the victim or its queue has grown older. Memory: 28 bytes an item, 16 to 32 for each of the
// items that went and are remembered, at most twice as many as there are items, and about 3 MiB.
class EvictionPolicy final : public ChunkOrder {
 public:
  // `items` must outlive this.
  explicit EvictionPolicy(PolicyItems* items);

  void Insert(uint32_t item, const ChunkTraits& traits, MonotonicTime now) override;
  void Touch(uint32_t item, bool may_go, MonotonicTime now) override;
  void Remove(uint32_t item) override;
  void Reconsider(uint32_t item) override;
  void SetAside(uint32_t item) override { queues_.Remove(item); }
  void LetGoFirst(uint32_t item) override;
  void Prefetch(uint32_t item) const override { __builtin_prefetch(&items_[item]); }
  uint32_t Victim(MonotonicTime now, uint32_t looks_max,
                  absl::FunctionRef<bool(uint32_t)> may_go) override;
  Standing StandingOf(uint32_t item) const override;
  bool Admits(const ChunkTraits& traits, uint32_t victim, MonotonicTime now) override;
  void Refuse(const ChunkTraits& traits, MonotonicTime now) override;

  PolicyCounters counters() const;

 private:
  static constexpr size_t kClassesMax = 256;
  static constexpr uint32_t kUseBands = 5;
  static constexpr uint32_t kIntervalBands = 4;
  static constexpr uint32_t kDepthBands = 10;
  static constexpr uint32_t kCostBands = 4;
  static constexpr size_t kGroups = kChunkCategories * kUseBands * kIntervalBands;
  static constexpr size_t kKinds = kGroups * kDepthBands * kCostBands;
  static constexpr uint16_t kNoClass = 0xffff;

  using Item = PolicyItems::Item;
  struct Class {
    double cost_per_byte = 0;  // moving average
    uint64_t chunks = 0;
  };

  void SetBands(const ChunkTraits& traits, Item* item) const;
  uint32_t ClassOf(const Item& item, uint32_t uses, PolicyTicks interval);
  uint32_t NewClass(size_t kind, size_t group);
  uint32_t ClassOfNewcomer(const ChunkTraits& traits, PolicyTicks now);
  void Observe(uint64_t key, uint32_t class_index, bool hit, PolicyTicks now);
  void LearnCost(uint32_t class_index, double cost_per_byte);
  void UpdateLevels(uint32_t class_index);
  ScoreQueues::CellIndex CellFor(const Item& item) const;
  // Where an item is as old as the oldest of its queue it goes before or behind that one.
  enum class Tie : uint8_t { kBefore, kBehind };
  void Enqueue(uint32_t item, Tie tie);
  bool MoveIfStale(uint32_t item);
  void AgeQueues();

  PagedVector<Item>& items_;
  size_t item_count_ = 0;
  size_t removed_count_ = 0;
  ScoreQueues queues_;
  std::vector<PolicyTicks> due_;  // for each cell: when its oldest item has grown out of it
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
