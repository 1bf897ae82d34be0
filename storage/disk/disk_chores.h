// What a device has to do now and then and what takes its time: growing, syncing the metadata.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "storage/disk/disk_metadata.h"
#include "storage/disk/segment_space.h"

namespace larder {

struct DiskChoreResult {
  enum class Kind : uint8_t { kExtend, kFlush };
  Kind kind = Kind::kExtend;
  uint64_t size_bytes = 0;     // kExtend: the length of the space now
  bool over_capacity = false;  // kFlush: space and metadata together
  absl::StatusCode code = absl::StatusCode::kOk;
  std::string why;
};

// One thread beside the device's, so that reads and writes go on meanwhile. At most one chore of
// each kind at a time. Thread-safe. The space and the metadata outlive it; the destructor waits
// for the chore that runs.
class DiskChores {
 public:
  struct Options {
    // Cap on the space and the metadata's files together.
    uint64_t capacity_bytes = 0;
    absl::Duration flush_timeout;
    // Called on the chores' thread when a result waits.
    std::function<void()> on_result;
  };

  DiskChores(SegmentSpace& space, DiskMetadata& metadata, Options options);
  ~DiskChores();

  // False when one is asked for already.
  bool Extend(uint64_t bytes);
  bool Flush();

  std::vector<DiskChoreResult> TakeResults();

 private:
  void Run();
  DiskChoreResult DoExtend(uint64_t bytes);
  DiskChoreResult DoFlush();

  SegmentSpace& space_;
  DiskMetadata& metadata_;
  const Options options_;
  std::mutex mutex_;
  std::condition_variable wanted_;
  // Guarded by mutex_. What is asked for stays set until it is done.
  std::optional<uint64_t> extend_bytes_;
  bool flush_ = false;
  bool stop_ = false;
  std::vector<DiskChoreResult> results_;
  std::thread thread_;
};

}  // namespace larder
