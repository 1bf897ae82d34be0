// Hands the requests of a workload to several threads.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "common/clock.h"
#include "tools/workload/request.h"

namespace larder {

struct DispenserOptions {
  // Ends after so many requests; nothing: with the source.
  std::optional<uint64_t> limit;
  // Seconds to let pass for each second of the workload; 0: never wait.
  double time_scale = 0;
};

// Requests leave in the source's order and, with a time scale, not before their time. A session's
// next request waits until its last one is done, as its user would: so a session never looks up
// what it is still computing. Thread-safe. Owns the source.
class RequestDispenser {
 public:
  RequestDispenser(std::unique_ptr<RequestSource> source, const DispenserOptions& options,
                   const Clock& clock);

  // The next request, or nothing at the end and after Stop. Each one is given back with Finish.
  absl::StatusOr<std::optional<Request>> Next();
  void Finish(const Request& request);

  // No further request leaves.
  void Stop();

 private:
  absl::StatusOr<std::optional<Request>> Take();

  const std::unique_ptr<RequestSource> source_;
  const DispenserOptions options_;
  const Clock& clock_;
  const MonotonicTime start_;

  // Held by the thread whose turn it is, also while it waits: the others queue up behind it.
  std::mutex turn_;
  uint64_t taken_ = 0;  // guarded by turn_

  std::mutex mutex_;  // guards the following
  std::condition_variable changed_;
  absl::flat_hash_set<uint64_t> running_sessions_;
  bool stopped_ = false;
};

}  // namespace larder
