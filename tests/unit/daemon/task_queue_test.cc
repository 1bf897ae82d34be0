#include "daemon/node/task_queue.h"

#include <poll.h>

#include <atomic>
#include <limits>
#include <thread>
#include <vector>

#include "gtest/gtest.h"

namespace larder {
namespace {

MonotonicTime In(absl::Duration duration) { return SystemClock::Get().Now() + duration; }

bool IsReadable(int fd) {
  pollfd poll_fd{.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&poll_fd, 1, 0) == 1;
}

// Waits until something was handed over.
void WaitForTask(const TaskQueue& queue) {
  pollfd poll_fd{.fd = queue.fd(), .events = POLLIN, .revents = 0};
  ASSERT_EQ(poll(&poll_fd, 1, 10'000), 1);
}

class TaskQueueTest : public testing::Test {
 protected:
  std::unique_ptr<TaskQueue> queue_ = *TaskQueue::Create();
};

TEST_F(TaskQueueTest, TasksRunInOrder) {
  std::vector<int> ran;
  EXPECT_FALSE(queue_->pending());
  EXPECT_FALSE(IsReadable(queue_->fd()));
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(queue_->Post([&ran, i] { ran.push_back(i); }).ok());
  EXPECT_TRUE(queue_->pending());
  EXPECT_TRUE(IsReadable(queue_->fd()));
  queue_->RunAll();
  EXPECT_EQ(ran, (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_FALSE(queue_->pending());
  EXPECT_FALSE(IsReadable(queue_->fd()));
}

TEST_F(TaskQueueTest, ManyTasksTakeSeveralRunsAndAreBounded) {
  int ran = 0;
  int accepted = 0;
  absl::Status status;
  while ((status = queue_->Post([&ran] { ++ran; })).ok()) ASSERT_LT(++accepted, 1'000'000);
  EXPECT_TRUE(absl::IsResourceExhausted(status));
  queue_->RunAll();
  EXPECT_LT(ran, accepted);
  int runs = 1;
  for (; queue_->pending(); ++runs) {
    EXPECT_TRUE(IsReadable(queue_->fd()));
    queue_->RunAll();
  }
  EXPECT_GT(runs, 2);
  EXPECT_EQ(ran, accepted);
}

TEST_F(TaskQueueTest, ATaskPostedByATaskRuns) {
  bool ran = false;
  ASSERT_TRUE(queue_->Post([&] { ASSERT_TRUE(queue_->Post([&ran] { ran = true; }).ok()); }).ok());
  for (int i = 0; i < 2 && queue_->pending(); ++i) queue_->RunAll();
  EXPECT_TRUE(ran);
}

TEST_F(TaskQueueTest, CallWaitsForTheEndOfItsTask) {
  std::atomic<bool> stop = false;
  std::thread loop([&] {
    while (!stop.load()) queue_->RunAll();
  });
  std::vector<std::thread> callers;
  std::atomic<int> sum = 0;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        int result = 0;  // written by the loop, read here: Call orders the two
        ASSERT_TRUE(queue_->Call(In(absl::Seconds(30)), [&result, i] { result = i; }).ok());
        EXPECT_EQ(result, i);
        sum += result;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  stop.store(true);
  loop.join();
  EXPECT_EQ(sum.load(), 4 * 199 * 200 / 2);
}

TEST_F(TaskQueueTest, ATaskWhoseDeadlineHasPassedNeverRuns) {
  bool ran = false;
  for (const MonotonicTime deadline : {In(-absl::Seconds(1)), In(absl::Milliseconds(20))}) {
    EXPECT_TRUE(absl::IsDeadlineExceeded(queue_->Call(deadline, [&ran] { ran = true; })));
  }
  queue_->RunAll();
  EXPECT_FALSE(ran);
}

TEST_F(TaskQueueTest, ATaskThatHasBegunIsWaitedForBeyondTheDeadline) {
  std::thread loop([&] {
    WaitForTask(*queue_);
    queue_->RunAll();
  });
  bool ended = false;
  const absl::Status status = queue_->Call(In(absl::Milliseconds(200)), [&ended] {
    std::this_thread::sleep_for(std::chrono::milliseconds(400));
    ended = true;
  });
  // A machine that stood still for so long that the task did not begin is no failure.
  EXPECT_TRUE(status.ok() ? ended : absl::IsDeadlineExceeded(status) && !ended);
  loop.join();
}

// The sum of such a deadline and a clock overflowed, and the call gave up at once.
TEST_F(TaskQueueTest, TheLastPossibleDeadlineIsFarAway) {
  std::thread loop([&] {
    WaitForTask(*queue_);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    queue_->RunAll();
  });
  bool ran = false;
  EXPECT_TRUE(queue_->Call({std::numeric_limits<int64_t>::max()}, [&ran] { ran = true; }).ok());
  EXPECT_TRUE(ran);
  loop.join();
}

TEST_F(TaskQueueTest, AClosedQueueRefusesAndDrops) {
  bool ran = false;
  ASSERT_TRUE(queue_->Post([&ran] { ran = true; }).ok());
  queue_->Close();
  EXPECT_TRUE(absl::IsUnavailable(queue_->Post([&ran] { ran = true; })));
  EXPECT_TRUE(absl::IsUnavailable(queue_->Call(In(absl::Seconds(30)), [&ran] { ran = true; })));
  queue_->RunAll();
  EXPECT_FALSE(ran);
}

// It waited for its deadline although nobody would ever run its task.
TEST_F(TaskQueueTest, WhoeverWaitsWhenTheQueueClosesIsToldAtOnce) {
  std::thread closer([&] {
    WaitForTask(*queue_);
    queue_->Close();
  });
  bool ran = false;
  const MonotonicTime begin = SystemClock::Get().Now();
  EXPECT_TRUE(absl::IsUnavailable(queue_->Call(In(absl::Minutes(10)), [&ran] { ran = true; })));
  EXPECT_LT(SystemClock::Get().Now() - begin, absl::Minutes(1));
  EXPECT_FALSE(ran);
  closer.join();
}

}  // namespace
}  // namespace larder
