// Remembers the first failure of a channel for all its later calls.
#pragma once

#include <atomic>
#include <mutex>

#include "common/status.h"

namespace larder {

// Thread-safe; asking costs one atomic load while there is no failure.
class FirstFailure {
 public:
  // Keeps `failure` if it is the first and returns the one that is kept.
  absl::Status Keep(const absl::Status& failure) {
    std::lock_guard lock(mutex_);
    if (kept_.ok()) kept_ = failure;
    failed_.store(true, std::memory_order_release);
    return kept_;
  }

  absl::Status status() const {
    if (!failed_.load(std::memory_order_acquire)) return absl::OkStatus();
    std::lock_guard lock(mutex_);
    return kept_;
  }

 private:
  std::atomic<bool> failed_ = false;
  mutable std::mutex mutex_;
  absl::Status kept_;
};

}  // namespace larder
