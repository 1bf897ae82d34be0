// Sums stored chunks that somebody doubts, on a thread of its own, and removes the bad ones.
#pragma once

#include <atomic>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "common/bounded_queue.h"
#include "common/ids.h"
#include "daemon/core/core.h"
#include "daemon/node/task_queue.h"

namespace larder {

// Reads the stored chunk of `key`, whose blocks are `extents`: OK when they are containers of that
// chunk and of `manifest`, and every byte has its checksum, else DATA_LOSS. The caller has leased
// it. Thread-safe.
absl::Status CheckStoredChunk(std::span<const uint8_t> arena_data, const Manifest& manifest,
                              const SpaceId& space, const KeyHash& key,
                              std::span<const BlockExtent> extents);

// Verify belongs to the event loop; the rest is internal. A report is a hint that costs a read of
// the chunk: when too many wait, further ones are dropped, since every reader verifies for itself.
// `core`, `tasks` and the arena outlive it; Stop before the task queue closes.
class Verifier {
 public:
  Verifier(Core* core, TaskQueue* tasks, std::span<const uint8_t> arena_data);
  ~Verifier();

  // Looks at these chunks soon. Each is leased meanwhile.
  void Verify(SpaceHandle space, std::span<const KeyHash> keys, MonotonicTime now);

  // Waits for the chunk in hand and drops the others.
  void Stop();

 private:
  struct Job {
    SpaceHandle space = 0;
    KeyHash key;
    LeaseId lease;
    Manifest manifest;
    SpaceId space_id;
    std::vector<BlockExtent> extents;
  };

  void Run();
  // Has the loop finish the job; `damage` says what is wrong with the chunk, if anything is.
  void Report(const Job& job, const std::optional<std::string>& damage);
  void Finish(const Job& job, const std::optional<std::string>& damage);

  Core* const core_;
  TaskQueue* const tasks_;
  const std::span<const uint8_t> arena_data_;
  SessionId session_;
  BoundedQueue<Job> jobs_;
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace larder
