// How other threads reach the event loop: they hand it work and may wait for its end.
#pragma once

#include <atomic>
#include <functional>
#include <memory>

#include "common/bounded_queue.h"
#include "common/clock.h"
#include "common/file_descriptor.h"
#include "common/status.h"

namespace larder {

// Thread-safe, but RunAll belongs to the loop. Tasks run in order on the loop's thread.
class TaskQueue {
 public:
  static absl::StatusOr<std::unique_ptr<TaskQueue>> Create();

  // RESOURCE_EXHAUSTED when too many tasks wait, UNAVAILABLE after Close.
  absl::Status Post(std::function<void()> task);

  // Runs `task` on the loop's thread and waits for its end. DEADLINE_EXCEEDED when it has not begun
  // by the deadline, UNAVAILABLE when the queue is closed before: it then never runs, so it may
  // refer to the caller's variables.
  // REQUIRES: not called on the loop's thread.
  absl::Status Call(MonotonicTime deadline, std::function<void()> task);

  // Polls readable while tasks wait.
  int fd() const { return wakeup_.get(); }
  // How many tasks wait.
  size_t size() const { return tasks_.size(); }
  // Whether tasks may be waiting; cheap enough to ask in a spin.
  bool pending() const { return pending_.load(std::memory_order_acquire); }
  // Runs what is queued, a bounded number at a time.
  void RunAll();
  // Refuses tasks from now on and drops those that wait; whoever waits for one is told at once.
  void Close();

 private:
  class Waiter;
  struct Task {
    std::function<void()> run;
    std::shared_ptr<Waiter> waiter;  // null: nobody waits
  };

  explicit TaskQueue(FileDescriptor wakeup);
  absl::Status Push(Task task);

  BoundedQueue<Task> tasks_;
  FileDescriptor wakeup_;
  std::atomic<bool> pending_{false};
  std::atomic<bool> closed_{false};
};

}  // namespace larder
