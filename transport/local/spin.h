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

// Calls `ready` until it returns true (then so does this), `limit` has passed or `deadline` has
// come. Once in `calls_per_clock_read` calls the clock is read and the processor offered to others:
// the one that is waited for may have been woken on this very core, and would not run before.
template <typename Ready>
bool SpinUntil(absl::Duration limit, MonotonicTime deadline, int calls_per_clock_read,
               const Ready& ready) {
  const Clock& clock = SystemClock::Get();
  const MonotonicTime end = std::min(clock.Now() + std::min(limit, kSpinLimitMax), deadline);
  while (clock.Now() < end) {
    for (int i = 0; i < calls_per_clock_read; ++i) {
      if (ready()) return true;
      PauseProcessor();
    }
    sched_yield();
  }
  return false;
}

}  // namespace larder
