// Remembers chunks that went, so that one that comes back is known.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "storage/policy/reuse_age.h"

namespace larder {

// A hash table that forgets: sets of four records of 8 bytes, where a new record replaces the one
// that was used longest ago. Two keys are taken for one with a chance of about 2^-30 a look-up;
// that costs a wrong guess, nothing else. Pure and not thread-safe.
class GhostTable {
 public:
  struct Record {
    uint32_t uses = 0;  // 0: not known
    PolicyTicks last_use = 0;
  };

  // Makes room for at least `records`; forgets all when it grows.
  void Reserve(size_t records);

  void Remember(uint64_t key, Record record, PolicyTicks now);
  // What is known of the key; it is forgotten here, for it is about to be a chunk again.
  Record Take(uint64_t key);
  Record Find(uint64_t key) const;

 private:
  // `uses` in the low 8 bits, the time in units of 256 ticks (0.27 s) above.
  struct Slot {
    uint32_t tag = 0;
    uint32_t time_and_uses = 0;
  };
  using Set = std::array<Slot, 4>;

  size_t SetOf(uint64_t key) const { return (key >> 32) & (sets_.size() - 1); }

  std::vector<Set> sets_;
};

}  // namespace larder
