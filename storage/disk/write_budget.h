// How much may be written to the disk tier: an endurance budget, smoothed over time.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "common/clock.h"

namespace larder {

// Bytes a day that flow in evenly; unspent ones are kept for up to kSavedFor, so that a burst is
// served and a day's budget is not spent in its first minutes. Pure and not thread-safe.
class WriteBudget {
 public:
  static constexpr double kSavedForSeconds = 3600;

  // 0 bytes a day: no limit.
  WriteBudget(uint64_t bytes_per_day, MonotonicTime now)
      : bytes_per_second_(static_cast<double>(bytes_per_day) / 86400),
        available_(bytes_per_second_ * kSavedForSeconds),
        updated_(now) {}

  // A record may overdraw what is left: that is paid back first.
  void Spend(uint64_t bytes, MonotonicTime now) {
    if (bytes_per_second_ == 0) return;
    Refill(now);
    available_ -= static_cast<double>(bytes);
  }

  // Bytes that may be written now; UINT64_MAX without a limit.
  uint64_t available_bytes(MonotonicTime now) {
    if (bytes_per_second_ == 0) return std::numeric_limits<uint64_t>::max();
    Refill(now);
    return static_cast<uint64_t>(std::max(available_, 0.0));
  }

  // The share of what can be saved up that is left: 1 with plenty or without a limit, 0 when spent.
  double left(MonotonicTime now) {
    if (bytes_per_second_ == 0) return 1;
    Refill(now);
    return std::clamp(available_ / (bytes_per_second_ * kSavedForSeconds), 0.0, 1.0);
  }

  // What it was when it was last asked for.
  uint64_t last_available_bytes() const {
    return bytes_per_second_ == 0 ? 0 : static_cast<uint64_t>(std::max(available_, 0.0));
  }

 private:
  void Refill(MonotonicTime now) {
    const double seconds = absl::ToDoubleSeconds(now - updated_);
    updated_ = now;
    available_ = std::min(available_ + std::max(seconds, 0.0) * bytes_per_second_,
                          bytes_per_second_ * kSavedForSeconds);
  }

  const double bytes_per_second_;
  double available_;
  MonotonicTime updated_;
};

}  // namespace larder
