#include "tools/bench/request_dispenser.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "common/status.h"

namespace larder {
namespace {

constexpr absl::Duration kWaitMax = absl::Hours(24 * 365);

}  // namespace

RequestDispenser::RequestDispenser(std::unique_ptr<RequestSource> source,
                                   const DispenserOptions& options, const Clock& clock)
    : source_(std::move(source)), options_(options), clock_(clock), start_(clock.Now()) {}

absl::StatusOr<std::optional<Request>> RequestDispenser::Take() {
  if (options_.limit && taken_ >= *options_.limit) return std::nullopt;
  ASSIGN_OR_RETURN(std::optional<Request> request, source_->Next());
  if (request) ++taken_;
  return request;
}

absl::StatusOr<std::optional<Request>> RequestDispenser::Next() {
  std::lock_guard turn(turn_);
  ASSIGN_OR_RETURN(std::optional<Request> request, Take());
  std::unique_lock lock(mutex_);
  if (!request || stopped_) return std::nullopt;
  const MonotonicTime due =
      start_ + std::min(absl::Milliseconds(request->timestamp_ms * options_.time_scale), kWaitMax);
  for (;;) {
    if (stopped_) return std::nullopt;
    const int64_t early_ns = due.nanoseconds - clock_.Now().nanoseconds;
    if (options_.time_scale > 0 && early_ns > 0) {
      changed_.wait_for(lock, std::chrono::nanoseconds(early_ns));
    } else if (running_sessions_.contains(request->session)) {
      changed_.wait(lock);
    } else {
      break;
    }
  }
  if (request->session != kNoSession) running_sessions_.insert(request->session);
  return request;
}

void RequestDispenser::Finish(const Request& request) {
  {
    std::lock_guard lock(mutex_);
    running_sessions_.erase(request.session);
  }
  changed_.notify_all();
}

void RequestDispenser::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
}

}  // namespace larder
