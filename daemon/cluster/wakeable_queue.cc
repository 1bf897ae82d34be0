#include "daemon/cluster/wakeable_queue.h"

#include <chrono>

namespace larder {

WakeableQueue::~WakeableQueue() {
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

void WakeableQueue::Wake() {
  std::lock_guard lock(mutex_);
  if (woken_) return;
  woken_ = true;
  alarm_.Set(&queue_, std::chrono::system_clock::now(), nullptr);
}

std::optional<WakeableQueue::Completion> WakeableQueue::Take(MonotonicTime deadline) {
  const absl::Duration left = deadline - SystemClock::Get().Now();
  Completion completion;
  const auto until = std::chrono::system_clock::now() + absl::ToChronoNanoseconds(left);
  if (queue_.AsyncNext(&completion.tag, &completion.ok, until) !=
      grpc::CompletionQueue::GOT_EVENT) {
    return std::nullopt;
  }
  if (completion.tag == nullptr) {
    std::lock_guard lock(mutex_);
    woken_ = false;
  }
  return completion;
}

}  // namespace larder
