// What the writer and the checker of the power-cut test agree on: the device and its records.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "common/status.h"
#include "storage/disk/disk_device.h"

namespace larder {

inline constexpr absl::Duration kPowercutSyncInterval = absl::Milliseconds(200);
inline constexpr uint64_t kPowercutPayloadBytesMax = uint64_t{24} << 10;

// Length and bytes follow from seed, key and version. Another version is another content.
uint64_t PowercutPayloadBytes(uint64_t seed, uint64_t key, uint64_t version);
void FillPowercutPayload(uint64_t seed, uint64_t key, uint64_t version, std::span<uint8_t> payload);

// A device and what its commands came to. Used by one thread.
class PowercutDevice {
 public:
  static absl::StatusOr<std::unique_ptr<PowercutDevice>> Open(const std::string& directory,
                                                              absl::Duration sync_interval);

  DiskDevice& device() { return *device_; }
  // Submits all, then waits for all; results in the order of the commands, whose tokens it sets.
  absl::StatusOr<std::vector<DiskResult>> Run(std::vector<DiskCommand> commands);

 private:
  PowercutDevice() = default;

  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<uint64_t, DiskResult> results_;  // guarded by mutex_
  uint64_t next_token_ = 1;
  std::unique_ptr<DiskDevice> device_;  // last: it reports until it is gone
};

}  // namespace larder
