// Polling, and when it is left to others.
#include "transport/local/spin.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <thread>
#include <vector>

#include "absl/time/clock.h"

namespace larder {
namespace {

MonotonicTime In(absl::Duration duration) { return SystemClock::Get().Now() + duration; }

// Binds the calling thread to the processor that it runs on now, and what it starts afterwards too.
void StayOnThisProcessor() {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(sched_getcpu(), &set);
  ASSERT_EQ(pthread_setaffinity_np(pthread_self(), sizeof set, &set), 0);
}

TEST(SpinnerTest, LooksUntilThereIsSomethingOrTheTimeIsOver) {
  Spinner spinner;
  int looks = 0;
  // Before the processor is offered to anybody, who might keep it.
  EXPECT_TRUE(
      spinner.Until(absl::Seconds(10), In(absl::Seconds(10)), 32, [&] { return ++looks == 20; }));
  EXPECT_EQ(looks, 20);
  const absl::Time start = absl::Now();
  EXPECT_FALSE(
      spinner.Until(absl::Milliseconds(1), In(absl::Seconds(10)), 32, [] { return false; }));
  EXPECT_FALSE(
      spinner.Until(absl::Seconds(10), In(absl::Milliseconds(1)), 32, [] { return false; }));
  EXPECT_LT(absl::Now() - start, absl::Seconds(5));
}

TEST(SpinnerTest, DoesNotPollWhereOthersCompute) {
  std::thread([] {
    ASSERT_NO_FATAL_FAILURE(StayOnThisProcessor());
    std::atomic<bool> stop = false;
    std::vector<std::thread> others;
    for (int i = 0; i < 2; ++i) {
      others.emplace_back([&] {
        while (!stop) PauseProcessor();
      });
    }
    Spinner spinner;
    bool rested = false;
    const MonotonicTime end = In(absl::Seconds(20));
    while (!rested && SystemClock::Get().Now() < end) {
      int looks = 0;
      EXPECT_FALSE(spinner.Until(absl::Milliseconds(1), end, 32, [&] {
        ++looks;
        return false;
      }));
      rested = looks == 0;
    }
    EXPECT_TRUE(rested);
    stop = true;
    for (std::thread& other : others) other.join();
    // Not for ever.
    absl::SleepFor(kCrowdedRest);
    EXPECT_TRUE(spinner.Until(absl::Seconds(1), In(absl::Seconds(1)), 32, [] { return true; }));
  }).join();
}

}  // namespace
}  // namespace larder
