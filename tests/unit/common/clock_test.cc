#include "common/clock.h"

#include <gtest/gtest.h>

#include "absl/time/clock.h"

namespace larder {
namespace {

TEST(ClockTest, ArithmeticOfTimes) {
  const MonotonicTime start{1'000};
  EXPECT_EQ((start + absl::Nanoseconds(5)).nanoseconds, 1'005);
  EXPECT_EQ((start + absl::Seconds(-1)).nanoseconds, 1'000 - 1'000'000'000);
  EXPECT_EQ((start + absl::Milliseconds(2)) - start, absl::Milliseconds(2));
  EXPECT_EQ(start - (start + absl::Milliseconds(2)), -absl::Milliseconds(2));
  EXPECT_LT(start, start + absl::Nanoseconds(1));
  EXPECT_EQ(start, MonotonicTime{1'000});
}

TEST(ClockTest, SystemClockNeverGoesBack) {
  const Clock& clock = SystemClock::Get();
  MonotonicTime previous = clock.Now();
  for (int i = 0; i < 10'000; ++i) {
    const MonotonicTime now = clock.Now();
    ASSERT_GE(now, previous);
    previous = now;
  }
}

TEST(ClockTest, SystemClockCountsNanoseconds) {
  const Clock& clock = SystemClock::Get();
  const MonotonicTime before = clock.Now();
  absl::SleepFor(absl::Milliseconds(20));
  const absl::Duration slept = clock.Now() - before;
  EXPECT_GE(slept, absl::Milliseconds(19));
  EXPECT_LT(slept, absl::Seconds(20));
}

TEST(ClockTest, ThereIsOneSystemClock) { EXPECT_EQ(&SystemClock::Get(), &SystemClock::Get()); }

}  // namespace
}  // namespace larder
