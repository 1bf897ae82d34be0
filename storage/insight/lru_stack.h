// Keys in the order of their latest use, and how many bytes were used since.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "storage/policy/reuse_age.h"

namespace larder {

// Exact stack distances (Mattson and others, 1970) of a bounded number of keys, by a Fenwick tree
// over the times of their latest uses (Bennett and Kruskal, 1975): O(log keys_max) a use. Each key
// has a slot, a number below keys_max that stays the same until the key is removed; slots are used
// again. Pure and not thread-safe. Memory: up to 66 bytes a key.
class LruStack {
 public:
  static constexpr uint32_t kNone = 0xffffffffu;

  // REQUIRES: 0 < keys_max < 2^31. Takes its memory with the first key.
  explicit LruStack(size_t keys_max) : keys_max_(keys_max) {}

  // The key's slot, or kNone.
  uint32_t Find(uint64_t key) const;
  // The bytes of all keys that were used later.
  uint64_t BytesSince(uint32_t slot) const;
  // The key becomes the latest used one. REQUIRES: it is absent, and size() < keys_max.
  uint32_t Insert(uint64_t key, uint64_t bytes, PolicyTicks now);
  // The same for a key that is there.
  void Touch(uint32_t slot, uint64_t bytes, PolicyTicks now);
  void Remove(uint32_t slot);

  // The key used longest ago. REQUIRES: size() > 0. Amortised O(1).
  uint32_t oldest();

  size_t size() const { return slots_.size() - free_.size(); }
  size_t keys_max() const { return keys_max_; }
  uint64_t bytes() const { return bytes_; }  // of all keys
  uint64_t key(uint32_t slot) const { return slots_[slot].key; }
  PolicyTicks last_use(uint32_t slot) const { return slots_[slot].last_use; }
  // Slots are below this; in_use tells which have a key.
  uint32_t slots() const { return static_cast<uint32_t>(slots_.size()); }
  bool in_use(uint32_t slot) const { return slots_[slot].position != kNone; }

 private:
  struct Slot {
    uint64_t key = 0;
    uint64_t bytes = 0;
    uint32_t position = kNone;  // the number of its latest use
    PolicyTicks last_use = 0;
  };

  void PutLast(uint32_t slot, uint64_t bytes, PolicyTicks now);
  void TakeOut(uint32_t slot);
  void AddAt(uint32_t position, uint64_t bytes);
  // Numbers the latest uses anew, from 0 on: once in keys_max uses, O(keys_max).
  void Renumber();

  size_t keys_max_;
  std::vector<Slot> slots_;
  std::vector<uint32_t> free_;
  absl::flat_hash_map<uint64_t, uint32_t> slot_of_;
  std::vector<uint32_t> slot_at_;  // by position; kNone: that use is no longer the latest
  std::vector<uint64_t> sums_;     // the Fenwick tree: bytes by position
  uint32_t next_position_ = 0;
  uint32_t oldest_position_ = 0;  // no key is before it
  uint64_t bytes_ = 0;
};

}  // namespace larder
