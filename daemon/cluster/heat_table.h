// How often other nodes read which chunks of this one lately.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "daemon/cluster/fetch_name.h"

namespace larder {

// A count per chunk that halves with time. Of a bounded number of chunks: a new one takes the place
// of the coldest of a few. Pure; not thread-safe.
class HeatTable {
 public:
  // REQUIRES: capacity > 0.
  HeatTable(size_t capacity, absl::Duration half_life);

  // One more read; returns the heat with it.
  double Add(const FetchName& name, MonotonicTime now);
  // Another node shares the reads from now on.
  void Halve(const FetchName& name);
  double HeatOf(const FetchName& name, MonotonicTime now) const;
  size_t size() const { return entries_.size(); }

 private:
  // So many are looked at to make room.
  static constexpr size_t kLooks = 8;

  struct Entry {
    FetchName name;
    double heat = 0;
    MonotonicTime at;
  };

  double Decayed(const Entry& entry, MonotonicTime now) const;
  size_t MakeRoom(MonotonicTime now);

  const size_t capacity_;
  const double half_life_ns_;
  std::vector<Entry> entries_;
  absl::flat_hash_map<FetchName, size_t> position_;
  size_t hand_ = 0;
};

}  // namespace larder
