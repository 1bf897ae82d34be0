// Drives a DiskDevice as fast as it goes, so many commands at a time.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "common/status.h"
#include "storage/disk/disk_device.h"

namespace larder {

// One thread at a time. Not owned: `memory`, of which command i of `depth` uses an equal share.
class DiskRunner {
 public:
  static absl::StatusOr<std::unique_ptr<DiskRunner>> Open(const DiskDeviceOptions& options,
                                                          uint32_t depth);

  const DiskDevice& device() const { return *device_; }

  // Opens all segments anew and lays out records of `payload_bytes` in them.
  absl::StatusOr<std::vector<DiskRecord>> LayOut(uint64_t payload_bytes);

  // Writes or reads all of them, in their order, and gives the seconds it took. What is written is
  // what is in the memory; a write sets payload_crc.
  absl::StatusOr<double> Run(DiskCommand::Kind kind, std::vector<DiskRecord>* records);

 private:
  DiskRunner(std::span<uint8_t> memory, uint32_t depth) : memory_(memory), depth_(depth) {}
  absl::Status Submit(DiskCommand::Kind kind, const DiskRecord& record, size_t number,
                      size_t place);
  absl::Status OpenSegment(uint32_t segment);
  std::vector<DiskResult> WaitForResults();

  const std::span<uint8_t> memory_;
  const uint32_t depth_;
  uint64_t generation_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<DiskResult> results_;  // guarded by mutex_, as is
  bool out_of_service_ = false;
  std::unique_ptr<DiskDevice> device_;
};

}  // namespace larder
