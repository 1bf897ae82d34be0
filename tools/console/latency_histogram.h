// Percentiles of times in a fixed, small amount of memory.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/time/time.h"

namespace larder {

// Counts durations in buckets whose width grows with the value (as HdrHistogram does): a percentile
// is off by less than 1 in 128, whatever the value, up to 292 years. Not thread-safe: give each
// thread one and merge them.
class LatencyHistogram {
 public:
  LatencyHistogram();

  // Negative durations count as 0.
  void Record(absl::Duration latency);
  void Merge(const LatencyHistogram& other);

  uint64_t count() const { return count_; }

  // The smallest recorded duration that at least `share` (from 0 to 1) of all do not exceed; zero
  // when nothing was recorded. Never more than max().
  absl::Duration Percentile(double share) const;
  // Exact.
  absl::Duration max() const { return absl::Nanoseconds(max_nanoseconds_); }
  absl::Duration mean() const;

 private:
  std::vector<uint64_t> buckets_;
  uint64_t count_ = 0;
  uint64_t max_nanoseconds_ = 0;
  double sum_nanoseconds_ = 0;
};

}  // namespace larder
