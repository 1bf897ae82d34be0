// The engine's side of the worker: operations, completions, deadlines, results.
#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/disk/disk_worker.h"

namespace larder {
namespace {

constexpr uint64_t kSyncToken = uint64_t{1} << 32;
constexpr absl::Duration kIdleWait = absl::Seconds(60);
// A broken engine is not waited on.
constexpr auto kBrokenPause = std::chrono::milliseconds(100);

MonotonicTime Now() { return SystemClock::Get().Now(); }

uint64_t Token(size_t slot, DiskJob::Part part) { return slot * DiskJob::kParts + part; }
size_t SlotOf(uint64_t token) { return token / DiskJob::kParts; }
DiskJob::Part PartOf(uint64_t token) { return static_cast<DiskJob::Part>(token % DiskJob::kParts); }

}  // namespace

void DiskWorker::EnqueueWanted(size_t slot) {
  for (const DiskJob::Part part : {DiskJob::kPayload, DiskJob::kHeader}) {
    if (!jobs_[slot]->Wants(part)) continue;
    ready_.push_back(jobs_[slot]->transfer(part).Next(Token(slot, part)));
  }
}

void DiskWorker::SubmitReady() {
  if (ready_.empty()) return;
  const MonotonicTime now = Now();
  const size_t taken = parts_.engine->Submit(ready_);
  for (size_t i = 0; i < taken; ++i) {
    const uint64_t token = ready_[i].token;
    if (token == kSyncToken) {
      sync_submitted_ = now;
    } else {
      jobs_[SlotOf(token)]->transfer(PartOf(token)).OnSubmitted(now);
    }
  }
  ready_.erase(ready_.begin(), ready_.begin() + static_cast<ptrdiff_t>(taken));
}

// While the device already writes the payloads.
void DiskWorker::SumWrites() {
  for (size_t slot = 0; slot < jobs_.size(); ++slot) {
    if (!jobs_[slot] || !jobs_[slot]->wants_sum()) continue;
    jobs_[slot]->SumPayload();
    EnqueueWanted(slot);
    SubmitReady();
  }
}

void DiskWorker::WaitForEngine(MonotonicTime now) {
  if (engine_broken_) {
    std::this_thread::sleep_for(kBrokenPause);
    return;
  }
  completions_.clear();
  const absl::Status waited = parts_.engine->Wait(WaitLimit(now), &completions_);
  for (size_t i = 0; i < completions_.size(); ++i) {
    OnCompletion(completions_[i]);
    // Summing a payload takes a while: what it made room for goes first, so that the device is
    // never idle meanwhile.
    if (!results_.empty() && i + 1 < completions_.size()) Pump();
  }
  if (waited.ok()) return;
  engine_broken_ = true;
  TakeOutOfService(waited.message());
}

absl::Duration DiskWorker::WaitLimit(MonotonicTime now) const {
  MonotonicTime next = now + kIdleWait;
  for (const std::optional<DiskJob>& job : jobs_) {
    if (!job || out_of_service_) continue;
    const std::optional<MonotonicTime> since = job->OldestSubmission();
    if (since) next = std::min(next, *since + parts_.io_timeout);
  }
  if (syncing_ && !out_of_service_) next = std::min(next, sync_submitted_ + parts_.io_timeout);
  if (growing_since_) next = std::min(next, *growing_since_ + parts_.io_timeout);
  if (dirty_ && !syncing_ && !flushing_ && !out_of_service_) {
    next = std::min(next, last_sync_ + parts_.sync_interval);
  }
  if (stop_deadline_) next = std::min(next, *stop_deadline_);
  return next - now;
}

void DiskWorker::OnCompletion(const IoCompletion& completion) {
  if (completion.token == kSyncToken) {
    syncing_ = false;
    if (completion.error != 0) {
      // What the kernel could not write it may have forgotten: a later sync would say nothing.
      TakeOutOfService(ErrnoStatus(completion.error, "syncing the segments").message());
    } else if (!out_of_service_) {
      flushing_ = chores_->Flush();
    }
    return;
  }
  const size_t slot = SlotOf(completion.token);
  const DiskJob::Part part = PartOf(completion.token);
  DiskJob& job = *jobs_[slot];
  Transfer& transfer = job.transfer(part);
  const bool read = transfer.kind() == IoOperation::Kind::kRead;
  (read ? stats_.read_bytes : stats_.written_bytes) += completion.bytes;
  dirty_ |= !read;
  transfer.OnCompletion(completion);
  if (transfer.done() || transfer.failed()) job.OnTransferOver(part);
  EnqueueWanted(slot);
  FinishIfOver(slot);
}

void DiskWorker::FinishIfOver(size_t slot) {
  if (!jobs_[slot]->over()) return;
  DiskJob& job = *jobs_[slot];
  const bool metadata_works = KeepRecord(&job);
  Count(job);
  failures_in_a_row_ = job.device_failed() ? failures_in_a_row_ + 1 : 0;
  if (!job.bounce().empty()) free_bounces_.push_back(job.bounce());
  results_.push_back(job.TakeResult(Now()));
  const std::string why = results_.back().why;
  jobs_[slot].reset();
  free_slots_.push_back(slot);
  if (!metadata_works) TakeOutOfService(why);
  if (failures_in_a_row_ >= kFailuresMax) {
    TakeOutOfService(absl::StrCat(failures_in_a_row_, " commands in a row failed; last: ", why));
  }
}

// A record is known from here on, also after a restart. False when the metadata is out of order.
bool DiskWorker::KeepRecord(DiskJob* job) {
  const DiskCommand::Kind kind = job->command().kind;
  if (job->failed()) return true;
  if (kind != DiskCommand::Kind::kWrite && kind != DiskCommand::Kind::kCopy) return true;
  const absl::Status queued =
      parts_.metadata->Queue({DiskMetadataChange::Kind::kPut, job->command().record});
  if (queued.ok()) return true;
  const bool full = absl::IsResourceExhausted(queued);
  job->Fail(full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kUnavailable,
            queued.message());
  return full;
}

void DiskWorker::Count(const DiskJob& job) {
  switch (job.command().kind) {
    case DiskCommand::Kind::kRead:
      ++stats_.reads;
      break;
    case DiskCommand::Kind::kCopy:
      ++stats_.copies;
      break;
    case DiskCommand::Kind::kWrite:
      ++stats_.writes;
      break;
    case DiskCommand::Kind::kOpenSegment:
    case DiskCommand::Kind::kForget:
      break;
  }
  if (!job.failed()) return;
  ++(job.code() == absl::StatusCode::kDataLoss ? stats_.corrupt : stats_.failed);
}

void DiskWorker::CheckDeadlines(MonotonicTime now) {
  if (out_of_service_) return;
  bool late = growing_since_ && now - *growing_since_ >= parts_.io_timeout;
  late |= syncing_ && now - sync_submitted_ >= parts_.io_timeout;
  for (const std::optional<DiskJob>& job : jobs_) {
    if (!job) continue;
    const std::optional<MonotonicTime> since = job->OldestSubmission();
    late |= since && now - *since >= parts_.io_timeout;
  }
  if (!late) return;
  TakeOutOfService(absl::StrCat("no answer within ", absl::FormatDuration(parts_.io_timeout)));
}

void DiskWorker::StartSync(MonotonicTime now) {
  if (!dirty_ || syncing_ || flushing_ || out_of_service_) return;
  // At the end, once, when everything is written.
  const bool due = stop_deadline_ ? free_slots_.size() == jobs_.size()
                                  : now - last_sync_ >= parts_.sync_interval;
  if (!due) return;
  dirty_ = false;
  syncing_ = true;
  last_sync_ = sync_submitted_ = now;
  ready_.insert(ready_.begin(), IoOperation{IoOperation::Kind::kSync, 0, {}, kSyncToken});
}

void DiskWorker::TakeOutOfService(absl::string_view why) {
  if (out_of_service_) return;
  out_of_service_ = true;
  {
    std::lock_guard lock(mutex_);
    published_.out_of_service = true;
    out_of_service_why_ = std::string(why);
  }
  for (const IoOperation& operation : ready_) {
    if (operation.token == kSyncToken) {
      syncing_ = false;
    } else {
      jobs_[SlotOf(operation.token)]->transfer(PartOf(operation.token)).Withdraw();
    }
  }
  ready_.clear();
  growing_.clear();
  growing_since_.reset();
  for (size_t slot = 0; slot < jobs_.size(); ++slot) {
    if (!jobs_[slot]) continue;
    jobs_[slot]->Fail(absl::StatusCode::kUnavailable,
                      absl::StrCat("the device went out of service: ", why));
    FinishIfOver(slot);
  }
}

void DiskWorker::Report() {
  stats_.in_flight = parts_.engine->in_flight();
  stats_.out_of_service = out_of_service_;
  {
    std::lock_guard lock(mutex_);
    published_ = stats_;
  }
  std::vector<DiskResult> results = std::exchange(results_, {});
  const bool tell = out_of_service_ && !out_of_service_told_;
  if (stop_deadline_ || (results.empty() && !tell)) return;
  out_of_service_told_ = out_of_service_;
  on_results_(std::move(results), out_of_service_);
}

}  // namespace larder
