#include "daemon/node/task_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>

namespace larder {
namespace {

constexpr size_t kTasksMax = 4096;
constexpr int kTasksPerRunMax = 256;

}  // namespace

// One waited-for task, shared by its waiter and the loop. Thread-safe.
class TaskQueue::Waiter {
 public:
  // False when the waiter has given up.
  bool Begin() {
    std::lock_guard lock(mutex_);
    if (state_ == State::kDropped) return false;
    state_ = State::kRunning;
    return true;
  }

  void End() { Set(State::kDone); }

  // The loop will not begin it any more.
  void Refuse() { Set(State::kRefused); }

  absl::Status Wait(MonotonicTime deadline) {
    std::unique_lock lock(mutex_);
    const std::chrono::steady_clock::time_point until(
        std::chrono::nanoseconds(deadline.nanoseconds));
    changed_.wait_until(lock, until, [&] { return HasEnded(); });
    if (state_ == State::kQueued) {
      state_ = State::kDropped;
      return absl::DeadlineExceededError("the event loop was too busy");
    }
    // It has begun: what it refers to must stay, and its own work is bounded.
    changed_.wait(lock, [&] { return HasEnded(); });
    if (state_ == State::kRefused) return absl::UnavailableError("the daemon is stopping");
    return absl::OkStatus();
  }

 private:
  enum class State { kQueued, kRunning, kDone, kDropped, kRefused };

  bool HasEnded() const { return state_ == State::kDone || state_ == State::kRefused; }

  void Set(State state) {
    std::lock_guard lock(mutex_);
    state_ = state;
    changed_.notify_one();
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  State state_ = State::kQueued;
};

absl::StatusOr<std::unique_ptr<TaskQueue>> TaskQueue::Create() {
  FileDescriptor wakeup(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wakeup) return ErrnoStatus(errno, "creating the loop's eventfd");
  return std::unique_ptr<TaskQueue>(new TaskQueue(std::move(wakeup)));
}

TaskQueue::TaskQueue(FileDescriptor wakeup) : tasks_(kTasksMax), wakeup_(std::move(wakeup)) {}

absl::Status TaskQueue::Push(Task task) {
  if (!tasks_.TryPush(std::move(task))) {
    if (closed_.load()) return absl::UnavailableError("the daemon is stopping");
    return absl::ResourceExhaustedError("too many tasks wait for the event loop");
  }
  pending_.store(true, std::memory_order_release);
  const uint64_t one = 1;
  // A full counter means that the loop is being woken already.
  (void)!write(wakeup_.get(), &one, sizeof one);
  return absl::OkStatus();
}

absl::Status TaskQueue::Post(std::function<void()> task) {
  return Push({.run = std::move(task), .waiter = nullptr});
}

absl::Status TaskQueue::Call(MonotonicTime deadline, std::function<void()> task) {
  const auto waiter = std::make_shared<Waiter>();
  RETURN_IF_ERROR(Push({.run = std::move(task), .waiter = waiter}));
  return waiter->Wait(deadline);
}

void TaskQueue::RunAll() {
  uint64_t count;
  (void)!read(wakeup_.get(), &count, sizeof count);
  pending_.store(false, std::memory_order_release);
  for (int i = 0; i < kTasksPerRunMax; ++i) {
    std::optional<Task> task = tasks_.TryPop();
    if (!task) return;
    if (task->waiter != nullptr && !task->waiter->Begin()) continue;
    task->run();
    if (task->waiter != nullptr) task->waiter->End();
  }
  // More is there than one run takes: come back after the sessions had their turn.
  pending_.store(true, std::memory_order_release);
  const uint64_t one = 1;
  (void)!write(wakeup_.get(), &one, sizeof one);
}

void TaskQueue::Close() {
  closed_.store(true);
  tasks_.Close();
  while (const std::optional<Task> task = tasks_.TryPop()) {
    if (task->waiter != nullptr) task->waiter->Refuse();
  }
}

}  // namespace larder
