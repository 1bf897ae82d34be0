// Polling for a bounded while, before a wait that costs a system call and a wake-up.
#pragma once

#include <sched.h>

#include <algorithm>

#include "absl/time/time.h"
#include "common/clock.h"

namespace larder {

// A longer limit counts as this one.
inline constexpr absl::Duration kSpinLimitMax = absl::Seconds(1);

// Tells the processor that this is a spin loop: it saves power and lets a sibling thread run.
inline void PauseProcessor() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Where others compute, whoever offers them the processor is gone for a whole slice of theirs,
// while a sleeper is woken before them. So whoever polls and was gone for kCrowded, in vain, sleeps
// rather than polls for kCrowdedRest.
inline constexpr absl::Duration kCrowded = absl::Microseconds(500);
inline constexpr absl::Duration kCrowdedRest = absl::Milliseconds(20);

// Offers the processor to others. True if it was gone for kCrowded.
inline bool OfferProcessor() {
  const MonotonicTime before = SystemClock::Get().Now();
  sched_yield();
  return SystemClock::Get().Now() - before >= kCrowded;
}

// Polls while nobody else wants the processor. Not thread-safe.
class Spinner {
 public:
  // Calls `ready` until it returns true (then so does this), `limit` has passed or `deadline` has
  // come. Once in `calls_per_clock_read` calls the clock is read and the processor offered to
  // others: the one that is waited for may have been woken on this very core, and would not run
  // before.
  template <typename Ready>
  bool Until(absl::Duration limit, MonotonicTime deadline, int calls_per_clock_read,
             const Ready& ready) {
    const Clock& clock = SystemClock::Get();
    const MonotonicTime start = clock.Now();
    if (start < rest_end_) return false;
    const MonotonicTime end = std::min(start + std::min(limit, kSpinLimitMax), deadline);
    while (clock.Now() < end) {
      for (int i = 0; i < calls_per_clock_read; ++i) {
        if (ready()) return true;
        PauseProcessor();
      }
      if (OfferProcessor() && !ready()) {
        rest_end_ = clock.Now() + kCrowdedRest;
        return false;
      }
    }
    return false;
  }

 private:
  MonotonicTime rest_end_;
};

}  // namespace larder
