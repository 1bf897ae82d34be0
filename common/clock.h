// Time as an injected interface: cores take a MonotonicTime as an argument, shells ask a Clock.
#pragma once

#include <compare>
#include <cstdint>

#include "absl/time/time.h"

namespace larder {

// A point on a clock that never goes back and has no relation to the calendar.
struct MonotonicTime {
  int64_t nanoseconds = 0;

  friend auto operator<=>(MonotonicTime, MonotonicTime) = default;
};

inline MonotonicTime operator+(MonotonicTime time, absl::Duration duration) {
  return {time.nanoseconds + absl::ToInt64Nanoseconds(duration)};
}
inline absl::Duration operator-(MonotonicTime later, MonotonicTime earlier) {
  return absl::Nanoseconds(later.nanoseconds - earlier.nanoseconds);
}

// Implementations are thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual MonotonicTime Now() const = 0;
};

// CLOCK_MONOTONIC. `Get` returns the process-wide instance, which is never destroyed.
class SystemClock final : public Clock {
 public:
  static const SystemClock& Get();
  MonotonicTime Now() const override;
};

}  // namespace larder
