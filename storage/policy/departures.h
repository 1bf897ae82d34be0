// Remembers why chunks are not there.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "storage/policy/chunk_order.h"
#include "storage/policy/reuse_age.h"

namespace larder {

// Why and how a chunk went, or did not come in. `reason` is the caller's own number.
struct Departure {
  PolicyTicks time = 0;
  PolicyTicks idle = 0;  // since it was last used
  uint8_t reason = 0;
  uint8_t uses = 0;
  Standing standing = {};
};

// The latest departures, by chunk: sets of four, where a new one takes the place of the oldest. Two
// chunks are taken for one with a chance of about 2^-60. Pure and not thread-safe; 32 bytes a
// record.
class DepartureLog {
 public:
  // Rounded up to a power of two; 0: remembers nothing.
  explicit DepartureLog(size_t records);

  void Add(uint64_t key, const Departure& departure);
  std::optional<Departure> Find(uint64_t key) const;
  void Forget(uint64_t key);

  size_t capacity() const { return sets_.size() * std::tuple_size_v<Set>; }
  uint64_t overwritten() const { return overwritten_; }

 private:
  struct Record {
    uint64_t key = 0;
    Departure departure;
    bool in_use = false;
  };
  using Set = std::array<Record, 4>;
  // The low bits are even spread by contract.
  size_t SetOf(uint64_t key) const { return key & (sets_.size() - 1); }

  std::vector<Set> sets_;
  uint64_t overwritten_ = 0;
};

}  // namespace larder
