#include "common/clock.h"

#include <ctime>

namespace larder {

const SystemClock& SystemClock::Get() {
  static const SystemClock clock;
  return clock;
}

MonotonicTime SystemClock::Now() const {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return {now.tv_sec * 1'000'000'000 + now.tv_nsec};
}

}  // namespace larder
