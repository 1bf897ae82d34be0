#include "tools/bench/disk_runner.h"

#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tools/bench/micro_parts.h"

namespace larder {
namespace {

constexpr auto kResultTimeout = std::chrono::seconds(60);

absl::Status StatusOf(const DiskResult& result) { return absl::Status(result.code, result.why); }

}  // namespace

absl::StatusOr<std::unique_ptr<DiskRunner>> DiskRunner::Open(const DiskDeviceOptions& options,
                                                             uint32_t depth) {
  std::unique_ptr<DiskRunner> runner(new DiskRunner(options.memory, depth));
  ASSIGN_OR_RETURN(
      runner->device_,
      DiskDevice::Open(
          options, [runner = runner.get()](std::vector<DiskResult> results, bool out_of_service) {
            std::lock_guard lock(runner->mutex_);
            for (DiskResult& result : results) runner->results_.push_back(std::move(result));
            runner->out_of_service_ |= out_of_service;
            runner->changed_.notify_one();
          }));
  return runner;
}

std::vector<DiskResult> DiskRunner::WaitForResults() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kResultTimeout, [this] { return !results_.empty() || out_of_service_; });
  return std::exchange(results_, {});
}

absl::Status DiskRunner::OpenSegment(uint32_t segment) {
  DiskCommand command;
  command.kind = DiskCommand::Kind::kOpenSegment;
  command.record.segment = segment;
  command.record.generation = ++generation_;
  RETURN_IF_ERROR(device_->Submit(command));
  const std::vector<DiskResult> results = WaitForResults();
  if (results.empty()) return absl::UnavailableError("the device does not answer");
  return StatusOf(results[0]);
}

absl::StatusOr<std::vector<DiskRecord>> DiskRunner::LayOut(uint64_t payload_bytes) {
  const DiskGeometry& geometry = device_->geometry();
  std::vector<DiskRecord> records;
  for (uint32_t segment = 0; segment < geometry.segments; ++segment) {
    RETURN_IF_ERROR(OpenSegment(segment));
    const uint64_t end = geometry.SegmentBegin(segment + 1);
    uint64_t offset = geometry.SegmentBegin(segment) + kDiskBlockBytes;
    for (; offset + DiskRecordBytes(payload_bytes) <= end;
         offset += DiskRecordBytes(payload_bytes)) {
      DiskRecord record;
      record.space = {1, 1};
      record.key = {records.size(), 1};
      record.layer_end = record.head_end = 1;
      record.segment = segment;
      record.generation = generation_;
      record.offset = offset;
      record.payload_bytes = payload_bytes;
      record.sequence = records.size();
      records.push_back(record);
    }
  }
  return records;
}

absl::Status DiskRunner::Submit(DiskCommand::Kind kind, const DiskRecord& record, size_t number,
                                size_t place) {
  DiskCommand command;
  command.kind = kind;
  command.record = record;
  command.memory = memory_.subspan(place * record.payload_bytes, record.payload_bytes);
  // Both come back: which record it was, and whose memory is free again.
  command.token = number * depth_ + place;
  return device_->Submit(command);
}

absl::StatusOr<double> DiskRunner::Run(DiskCommand::Kind kind, std::vector<DiskRecord>* records) {
  const MonotonicTime begin = BenchmarkNow();
  size_t next = 0, done = 0;
  for (size_t place = 0; place < depth_ && next < records->size(); ++place, ++next) {
    RETURN_IF_ERROR(Submit(kind, (*records)[next], next, place));
  }
  while (done < records->size()) {
    const std::vector<DiskResult> results = WaitForResults();
    if (results.empty()) return absl::UnavailableError("the device does not answer");
    for (const DiskResult& result : results) {
      RETURN_IF_ERROR(StatusOf(result));
      ++done;
      DiskRecord& record = (*records)[result.token / depth_];
      if (kind == DiskCommand::Kind::kWrite) record.payload_crc = result.payload_crc;
      if (next == records->size()) continue;
      RETURN_IF_ERROR(Submit(kind, (*records)[next], next, result.token % depth_));
      ++next;
    }
  }
  return absl::ToDoubleSeconds(BenchmarkNow() - begin);
}

}  // namespace larder
