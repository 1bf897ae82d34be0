// From a hash to a small integer: the catalog's only search structure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/ids.h"

namespace larder {

// Linear probing over 8-byte slots {tag, value}. The tag is the top half of a hash keyed with a
// secret seed, so that a caller who chooses keys cannot choose collisions; a slot's place comes
// from the tag alone, so growth is one sequential pass that never looks at the values' owner. Pure
// and not thread-safe. Memory: 11 to 23 bytes a value.
class HashIndex {
 public:
  static constexpr uint32_t kNone = 0xffffffffu;

  explicit HashIndex(uint64_t seed);

  uint32_t TagOf(uint32_t space, const KeyHash& key) const;

  // Starts loading the slots that Find(tag) will read.
  void Prefetch(uint32_t tag) const { __builtin_prefetch(&slots_[Home(tag)]); }

  // The first value under `tag` for which equal(value) holds, or kNone.
  template <typename Equal>
  uint32_t Find(uint32_t tag, Equal equal) const {
    for (size_t at = Home(tag); slots_[at].value_plus_one != 0; at = Next(at)) {
      if (slots_[at].tag == tag && equal(slots_[at].value_plus_one - 1)) {
        return slots_[at].value_plus_one - 1;
      }
    }
    return kNone;
  }

  // REQUIRES: (tag, value) is not in the index. value < 2^32 - 1.
  void Insert(uint32_t tag, uint32_t value);
  // REQUIRES: (tag, value) is in the index.
  void Erase(uint32_t tag, uint32_t value);

  size_t size() const { return size_; }

 private:
  struct Slot {
    uint32_t tag = 0;
    uint32_t value_plus_one = 0;
  };

  size_t Home(uint32_t tag) const { return tag >> shift_; }
  size_t Next(size_t at) const { return (at + 1) & (slots_.size() - 1); }
  void Grow();

  const uint64_t seed_;
  int shift_;
  size_t size_ = 0;
  std::vector<Slot> slots_;
};

}  // namespace larder
