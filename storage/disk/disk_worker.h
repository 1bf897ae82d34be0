// The thread of a device: takes commands, keeps the engine busy, reports.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/clock.h"
#include "common/status.h"
#include "storage/disk/disk_chores.h"
#include "storage/disk/disk_device.h"
#include "storage/disk/disk_device_parts.h"
#include "storage/disk/disk_job.h"

namespace larder {

// Public methods are thread-safe; everything else belongs to the thread.
//
// A device that is out of service stays so. What waits is then reported at once; what is in flight
// only when the kernel gives it back, because until then its memory is in use.
class DiskWorker {
 public:
  // Commands that may wait for their start.
  static constexpr size_t kQueuedCommandsMax = 4096;
  // Commands in a row that the device failed before it is out of service.
  static constexpr uint32_t kFailuresMax = 8;

  DiskWorker(DiskDeviceParts parts, DiskDevice::OnResults on_results);
  // As DiskDevice's.
  ~DiskWorker();

  // Waits for the thread to have read the segments' headers. Once, before anything is submitted.
  absl::StatusOr<std::vector<uint64_t>> WaitForStart();

  absl::Status Submit(DiskCommand command);
  DiskDeviceStats stats() const;

  const DiskGeometry& geometry() const { return parts_.geometry; }
  DiskMetadata& metadata() { return *parts_.metadata; }
  const std::string& engine_description() const { return parts_.engine_description; }

 private:
  void Run();
  bool ReadSegments();
  bool Finished(MonotonicTime now) const;
  // Starts, submits and reports what can be; never waits.
  void Pump();

  void TakeInbox(MonotonicTime now);
  void RefuseWaiting();
  void StartWaiting(MonotonicTime now);
  void StartJob(DiskCommand command, MonotonicTime now, std::span<uint8_t> bounce);
  void Forget(const DiskRecord& record);
  void BeginJob(size_t slot);
  absl::StatusCode Admit(const DiskCommand& command, std::string* why);

  void Grow(MonotonicTime now);
  void TakeChoreResults(MonotonicTime now);

  void EnqueueWanted(size_t slot);
  void SubmitReady();
  void SumWrites();
  void WaitForEngine(MonotonicTime now);
  absl::Duration WaitLimit(MonotonicTime now) const;
  void OnCompletion(const IoCompletion& completion);
  void FinishIfOver(size_t slot);
  bool KeepRecord(DiskJob* job);
  void Count(const DiskJob& job);

  void CheckDeadlines(MonotonicTime now);
  void StartSync(MonotonicTime now);
  void TakeOutOfService(absl::string_view why);
  void Report();

  DiskDeviceParts parts_;
  const DiskDevice::OnResults on_results_;

  mutable std::mutex mutex_;
  std::condition_variable started_changed_;
  // Guarded by mutex_.
  std::deque<DiskCommand> inbox_;
  size_t queued_ = 0;  // submitted and not yet started
  bool stop_ = false;
  bool started_ = false;
  absl::StatusCode start_code_ = absl::StatusCode::kOk;
  std::string start_why_;
  std::string out_of_service_why_;
  DiskDeviceStats published_;

  // The thread's own from here on.
  std::vector<uint64_t> generations_;
  std::vector<std::optional<DiskJob>> jobs_;  // by slot
  std::vector<size_t> free_slots_;
  std::vector<std::span<uint8_t>> free_bounces_;
  std::deque<DiskCommand> waiting_, waiting_copies_;
  std::deque<size_t> growing_;  // slots whose segments are beyond the space's end, in order
  std::optional<MonotonicTime> growing_since_;
  std::vector<IoOperation> ready_;  // to be submitted
  std::vector<IoCompletion> completions_;
  std::vector<DiskResult> results_;
  uint64_t size_bytes_ = 0;  // of the space
  bool over_capacity_ = false;
  bool dirty_ = false;  // something was written since the last sync began
  bool syncing_ = false, flushing_ = false;
  MonotonicTime last_sync_, sync_submitted_;
  uint32_t failures_in_a_row_ = 0;
  bool out_of_service_ = false, out_of_service_told_ = false;
  bool engine_broken_ = false;
  std::optional<MonotonicTime> stop_deadline_;
  DiskDeviceStats stats_;
  std::unique_ptr<DiskChores> chores_;
  std::thread thread_;
};

}  // namespace larder
