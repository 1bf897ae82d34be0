// Drives a DiskDevice from a test: one command at a time or many, and what came of them.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "absl/time/time.h"
#include "common/file_descriptor.h"
#include "common/random.h"
#include "gtest/gtest.h"
#include "storage/disk/disk_device.h"

namespace larder {

// Thread-safe: takes the results of devices that it outlives.
class ResultSink {
 public:
  DiskDevice::OnResults callback() {
    return [this](std::vector<DiskResult> results, bool out_of_service) {
      std::lock_guard lock(mutex_);
      for (DiskResult& result : results) results_[result.token] = std::move(result);
      out_of_service_ |= out_of_service;
      changed_.notify_all();
    };
  }

  // The result of `token`; INTERNAL when there is none in time.
  DiskResult WaitFor(uint64_t token, absl::Duration timeout = absl::Seconds(30)) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout),
                      [&] { return results_.contains(token); });
    auto found = results_.extract(token);
    if (!found.empty()) return std::move(found.mapped());
    DiskResult none;
    none.token = token;
    none.code = absl::StatusCode::kInternal;
    none.why = "no result in time";
    return none;
  }

  bool WaitForOutOfService(absl::Duration timeout = absl::Seconds(30)) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout),
                             [&] { return out_of_service_; });
  }

  bool Has(uint64_t token) {
    std::lock_guard lock(mutex_);
    return results_.contains(token);
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, DiskResult> results_;  // guarded by mutex_, as is
  bool out_of_service_ = false;
};

inline void FillPayload(uint64_t key, std::span<uint8_t> payload) {
  SeededRandom random(key);
  for (uint8_t& byte : payload) byte = static_cast<uint8_t>(random.Next());
}

inline bool IsPayload(uint64_t key, std::span<const uint8_t> payload) {
  SeededRandom random(key);
  for (const uint8_t byte : payload) {
    if (byte != static_cast<uint8_t>(random.Next())) return false;
  }
  return true;
}

inline MemoryMapping PayloadMemory(uint64_t payload_bytes) {
  auto memory = MemoryMapping::MapAnonymous(RoundUpToDiskBlocks(payload_bytes));
  EXPECT_TRUE(memory.ok());
  return *std::move(memory);
}

// A record of the content that FillPayload(key) gives.
inline DiskRecord RecordAt(const DiskGeometry& geometry, uint64_t key, uint32_t segment,
                           uint64_t generation, uint64_t block, uint64_t payload_bytes) {
  DiskRecord record;
  record.space = {1, 2};
  record.key = {key, 3};
  record.layer_end = record.head_end = 1;
  record.segment = segment;
  record.generation = generation;
  record.offset = geometry.SegmentBegin(segment) + block * kDiskBlockBytes;
  record.payload_bytes = payload_bytes;
  record.sequence = key;
  return record;
}

// Does not own the device. Not thread-safe.
class DeviceDriver {
 public:
  DeviceDriver(DiskDevice& device, ResultSink& sink) : device_(device), sink_(sink) {}

  DiskResult Open(uint32_t segment, uint64_t generation) {
    DiskCommand command;
    command.kind = DiskCommand::Kind::kOpenSegment;
    command.record.segment = segment;
    command.record.generation = generation;
    return Run(command);
  }

  DiskResult Write(DiskRecord* record) {
    const MemoryMapping memory = PayloadMemory(record->payload_bytes);
    FillPayload(record->key.low, memory.bytes().first(record->payload_bytes));
    DiskResult result = Run(Command(DiskCommand::Kind::kWrite, *record, memory.bytes()));
    record->payload_crc = result.payload_crc;
    return result;
  }

  // `right`: the bytes are those that were written. Must hold when the result is OK.
  DiskResult Read(const DiskRecord& record, bool* right) {
    const MemoryMapping memory = PayloadMemory(record.payload_bytes);
    DiskResult result = Run(Command(DiskCommand::Kind::kRead, record, memory.bytes()));
    *right = IsPayload(record.key.low, memory.bytes().first(record.payload_bytes));
    return result;
  }
  absl::StatusCode ReadCode(const DiskRecord& record) {
    bool right = false;
    const DiskResult result = Read(record, &right);
    EXPECT_TRUE(right || result.code != absl::StatusCode::kOk) << record.key.low;
    return result.code;
  }

  DiskResult Copy(const DiskRecord& source, DiskRecord* record) {
    DiskCommand command = Command(DiskCommand::Kind::kCopy, *record, {});
    command.source = source;
    DiskResult result = Run(command);
    record->payload_crc = result.payload_crc;
    return result;
  }

  void Forget(const DiskRecord& record) {
    EXPECT_EQ(device_.Submit(Command(DiskCommand::Kind::kForget, record, {})), absl::OkStatus());
  }

  DiskResult Run(DiskCommand command) {
    command.token = next_token_++;
    const uint64_t token = command.token;
    const absl::Status submitted = device_.Submit(command);
    if (submitted.ok()) return sink_.WaitFor(token);
    DiskResult refused;
    refused.code = submitted.code();
    refused.why = std::string(submitted.message());
    return refused;
  }

  static DiskCommand Command(DiskCommand::Kind kind, const DiskRecord& record,
                             std::span<uint8_t> memory) {
    DiskCommand command;
    command.kind = kind;
    command.record = record;
    command.memory = memory;
    return command;
  }

 private:
  DiskDevice& device_;
  ResultSink& sink_;
  uint64_t next_token_ = uint64_t{1} << 40;  // below are the tests' own
};

}  // namespace larder
