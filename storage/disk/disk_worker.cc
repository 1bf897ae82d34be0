#include "storage/disk/disk_worker.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/disk/disk_start.h"

namespace larder {
namespace {

MonotonicTime Now() { return SystemClock::Get().Now(); }

DiskResult Refusal(uint64_t token, absl::StatusCode code, absl::string_view why) {
  DiskResult result;
  result.token = token;
  result.code = code;
  result.why = std::string(why);
  return result;
}

}  // namespace

DiskWorker::DiskWorker(DiskDeviceParts parts, DiskDevice::OnResults on_results)
    : parts_(std::move(parts)), on_results_(std::move(on_results)) {
  jobs_.resize(parts_.depth);
  for (size_t slot = parts_.depth; slot > 0; --slot) free_slots_.push_back(slot - 1);
  for (uint32_t i = 0; i < kDiskCopiesMax; ++i) {
    free_bounces_.push_back(parts_.work_memory.bytes().subspan(
        parts_.depth * kDiskBlockBytes + i * kDiskBounceBytes, kDiskBounceBytes));
  }
  size_bytes_ = parts_.space->size_bytes();
  last_sync_ = Now();
  chores_ = std::make_unique<DiskChores>(
      *parts_.space, *parts_.metadata,
      DiskChores::Options{parts_.capacity_bytes, parts_.io_timeout,
                          [engine = parts_.engine.get()] { engine->Wake(); }});
  thread_ = std::thread([this] { Run(); });
}

DiskWorker::~DiskWorker() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    // An engine whose start failed is gone with its thread.
    if (start_code_ == absl::StatusCode::kOk) parts_.engine->Wake();
  }
  thread_.join();
}

absl::StatusOr<std::vector<uint64_t>> DiskWorker::WaitForStart() {
  std::unique_lock lock(mutex_);
  started_changed_.wait(lock, [this] { return started_; });
  if (start_code_ != absl::StatusCode::kOk) return absl::Status(start_code_, start_why_);
  return generations_;
}

absl::Status DiskWorker::Submit(DiskCommand command) {
  std::lock_guard lock(mutex_);
  if (published_.out_of_service) {
    return absl::UnavailableError(absl::StrCat("out of service: ", out_of_service_why_));
  }
  if (queued_ >= kQueuedCommandsMax) {
    return absl::ResourceExhaustedError(absl::StrCat(queued_, " commands wait"));
  }
  ++queued_;
  inbox_.push_back(command);
  if (inbox_.size() == 1) parts_.engine->Wake();
  return absl::OkStatus();
}

DiskDeviceStats DiskWorker::stats() const {
  const uint64_t metadata_bytes = parts_.metadata->DiskBytes();
  std::lock_guard lock(mutex_);
  DiskDeviceStats stats = published_;
  stats.queued = queued_;
  stats.metadata_bytes = metadata_bytes;
  return stats;
}

void DiskWorker::Run() {
  const bool started = ReadSegments();
  while (started) {
    Pump();
    const MonotonicTime now = Now();
    if (Finished(now)) break;
    WaitForEngine(now);
    CheckDeadlines(Now());
  }
  chores_.reset();
  parts_.engine.reset();
}

void DiskWorker::Pump() {
  const MonotonicTime now = Now();
  TakeInbox(now);
  TakeChoreResults(now);
  StartWaiting(now);
  StartSync(now);
  SubmitReady();
  SumWrites();
  RefuseWaiting();
  Report();
}

// The thread that uses the engine also starts with it, because some engines belong to a thread.
bool DiskWorker::ReadSegments() {
  absl::StatusOr<std::vector<uint64_t>> generations = ReadGenerations(
      *parts_.engine, parts_.geometry, size_bytes_,
      parts_.work_memory.bytes().first(parts_.depth * kDiskBlockBytes), parts_.io_timeout);
  const bool ok = generations.ok();
  {
    std::lock_guard lock(mutex_);
    started_ = true;
    if (ok) {
      generations_ = *std::move(generations);
    } else {
      start_code_ = generations.status().code();
      start_why_ = absl::StrCat("reading the segments' headers: ", generations.status().message());
    }
  }
  started_changed_.notify_one();
  return ok;
}

bool DiskWorker::Finished(MonotonicTime now) const {
  if (!stop_deadline_) return false;
  const bool idle = free_slots_.size() == jobs_.size() && !syncing_ && !flushing_;
  return (idle && (!dirty_ || out_of_service_)) || now >= *stop_deadline_ || engine_broken_;
}

void DiskWorker::TakeInbox(MonotonicTime now) {
  std::deque<DiskCommand> taken;
  {
    std::lock_guard lock(mutex_);
    taken.swap(inbox_);
    if (stop_ && !stop_deadline_) stop_deadline_ = now + parts_.io_timeout;
  }
  for (const DiskCommand& command : taken) {
    const bool copy = command.kind == DiskCommand::Kind::kCopy;
    (copy ? waiting_copies_ : waiting_).push_back(command);
  }
}

void DiskWorker::RefuseWaiting() {
  if (!out_of_service_ && !stop_deadline_) return;
  for (std::deque<DiskCommand>* queue : {&waiting_, &waiting_copies_}) {
    for (const DiskCommand& command : *queue) {
      if (command.kind == DiskCommand::Kind::kForget) continue;
      results_.push_back(
          Refusal(command.token, absl::StatusCode::kUnavailable, "the device is out of service"));
    }
    queue->clear();
  }
  std::lock_guard lock(mutex_);
  queued_ = inbox_.size();
}

void DiskWorker::StartWaiting(MonotonicTime now) {
  if (stop_deadline_) return;
  size_t started = 0;
  while (!out_of_service_ && !free_slots_.empty() && !waiting_copies_.empty() &&
         !free_bounces_.empty()) {
    const DiskCommand command = waiting_copies_.front();
    waiting_copies_.pop_front();
    const std::span<uint8_t> bounce = free_bounces_.back();
    free_bounces_.pop_back();
    StartJob(command, now, bounce);
    ++started;
  }
  while (!out_of_service_ && !free_slots_.empty() && !waiting_.empty()) {
    const DiskCommand command = waiting_.front();
    waiting_.pop_front();
    if (command.kind == DiskCommand::Kind::kForget) {
      Forget(command.record);
    } else {
      StartJob(command, now, {});
    }
    ++started;
  }
  if (started == 0) return;
  std::lock_guard lock(mutex_);
  queued_ -= std::min(queued_, started);
}

void DiskWorker::StartJob(DiskCommand command, MonotonicTime now, std::span<uint8_t> bounce) {
  std::string why;
  const absl::StatusCode code = Admit(command, &why);
  const size_t slot = free_slots_.back();
  free_slots_.pop_back();
  const bool opening = command.kind == DiskCommand::Kind::kOpenSegment;
  const uint32_t segment = command.record.segment;
  const uint64_t generation = command.record.generation;
  jobs_[slot].emplace(parts_.geometry, command, now,
                      parts_.work_memory.bytes().subspan(slot * kDiskBlockBytes, kDiskBlockBytes),
                      bounce);
  if (code != absl::StatusCode::kOk) {
    jobs_[slot]->Fail(code, why);
    FinishIfOver(slot);
    return;
  }
  if (!opening) return BeginJob(slot);
  // What the segment held is gone from now on.
  generations_[segment] = generation;
  if (parts_.geometry.SegmentBegin(segment + 1) <= size_bytes_) return BeginJob(slot);
  growing_.push_back(slot);
  if (growing_.size() == 1) Grow(now);
}

absl::StatusCode DiskWorker::Admit(const DiskCommand& command, std::string* why) {
  const uint64_t known = generations_[command.record.segment];
  const DiskRecord* read = nullptr;  // what has to be there
  switch (command.kind) {
    case DiskCommand::Kind::kOpenSegment:
      if (command.record.generation > known) return absl::StatusCode::kOk;
      *why = absl::StrCat("segment ", command.record.segment, " has generation ", known,
                          " and cannot be opened with ", command.record.generation);
      return absl::StatusCode::kInvalidArgument;
    case DiskCommand::Kind::kWrite:
    case DiskCommand::Kind::kCopy:
      if (command.record.generation != known) {
        *why = absl::StrCat("segment ", command.record.segment, " has generation ", known, ", not ",
                            command.record.generation);
        return absl::StatusCode::kInvalidArgument;
      }
      if (over_capacity_) {
        *why = "the metadata takes more than the capacity leaves it";
        return absl::StatusCode::kResourceExhausted;
      }
      if (command.kind == DiskCommand::Kind::kCopy) read = &command.source;
      break;
    case DiskCommand::Kind::kRead:
      read = &command.record;
      break;
    case DiskCommand::Kind::kForget:
      break;
  }
  if (read == nullptr || read->generation == generations_[read->segment]) {
    return absl::StatusCode::kOk;
  }
  *why = absl::StrCat("segment ", read->segment, " was opened anew");
  return absl::StatusCode::kDataLoss;
}

void DiskWorker::Forget(const DiskRecord& record) {
  const absl::Status queued = parts_.metadata->Queue({DiskMetadataChange::Kind::kRemove, record});
  dirty_ = true;
  // A full queue leaves a dead entry behind, which a later start sorts out.
  if (absl::IsUnavailable(queued)) TakeOutOfService(queued.message());
}

void DiskWorker::BeginJob(size_t slot) {
  jobs_[slot]->Begin();
  EnqueueWanted(slot);
}

// The first of growing_ decides how far; the others see afterwards whether it is enough.
void DiskWorker::Grow(MonotonicTime now) {
  growing_since_.reset();
  while (!growing_.empty()) {
    const size_t slot = growing_.front();
    const uint64_t end = parts_.geometry.SegmentBegin(jobs_[slot]->command().record.segment + 1);
    if (end > size_bytes_) {
      chores_->Extend(end);
      growing_since_ = now;
      return;
    }
    growing_.pop_front();
    BeginJob(slot);
  }
}

void DiskWorker::TakeChoreResults(MonotonicTime now) {
  for (const DiskChoreResult& result : chores_->TakeResults()) {
    const bool ok = result.code == absl::StatusCode::kOk;
    if (result.kind == DiskChoreResult::Kind::kFlush) {
      flushing_ = false;
      over_capacity_ = result.over_capacity;
      if (!ok) TakeOutOfService(absl::StrCat("syncing the metadata: ", result.why));
      continue;
    }
    size_bytes_ = result.size_bytes;
    if (growing_.empty()) continue;  // out of service meanwhile
    if (!ok) {
      const size_t slot = growing_.front();
      growing_.pop_front();
      const bool full = result.code == absl::StatusCode::kResourceExhausted;
      jobs_[slot]->Fail(full ? result.code : absl::StatusCode::kUnavailable, result.why);
      FinishIfOver(slot);
    }
    Grow(now);
  }
}

}  // namespace larder
