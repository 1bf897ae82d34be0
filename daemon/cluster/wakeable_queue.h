// gRPC's completion queue for a thread that other threads can wake.
#pragma once

#include <grpcpp/alarm.h>
#include <grpcpp/completion_queue.h>

#include <mutex>
#include <optional>

#include "common/clock.h"

namespace larder {

// One thread takes; Wake is thread-safe. Every call that was started on it must end before it goes.
class WakeableQueue {
 public:
  WakeableQueue() = default;
  ~WakeableQueue();
  WakeableQueue(const WakeableQueue&) = delete;
  WakeableQueue& operator=(const WakeableQueue&) = delete;

  // The present or the next Take returns without waiting.
  void Wake();

  struct Completion {
    void* tag = nullptr;  // null: woken
    bool ok = false;
  };
  // Nothing when the deadline has come first.
  std::optional<Completion> Take(MonotonicTime deadline);

  grpc::CompletionQueue* queue() { return &queue_; }

 private:
  grpc::CompletionQueue queue_;
  std::mutex mutex_;
  bool woken_ = false;  // the alarm is set, or its completion waits
  grpc::Alarm alarm_;
};

}  // namespace larder
