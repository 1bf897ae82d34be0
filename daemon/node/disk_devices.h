// The hands of the disk tier: opens its devices, carries out the core's orders, brings results
// back.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/core/core.h"
#include "daemon/node/spaces_file.h"
#include "daemon/node/task_queue.h"
#include "storage/disk/disk_device.h"

namespace larder {

struct DiskOptions {
  // Directories, or block devices as DEVICE:DIRECTORY with a directory for the metadata; separated
  // by commas. Empty: no disk tier.
  std::string paths;
  uint64_t capacity_bytes = uint64_t{64} << 30;  // of each
  uint64_t segment_bytes = uint64_t{128} << 20;
  std::string owner;                 // the node's name; empty: the host's
  std::string mode = "write-back";   // or write-through, read-only
  std::string admission = "all";     // or second-sight
  std::string engine = "auto";       // or io_uring, threads
  uint64_t write_bytes_per_day = 0;  // of all devices together; 0: no limit
  absl::Duration io_timeout = absl::Seconds(10);
};

// What the core is told of the options.
DiskMode ParseDiskMode(absl::string_view mode);
DiskAdmissionKind ParseDiskAdmission(absl::string_view admission);

struct DiskDeviceStatus {
  std::string path;
  std::string engine;
  uint64_t capacity_bytes = 0;
  DiskDeviceStats stats;
};

// Belongs to the event loop but for what the devices' threads report. `tasks` outlives it.
class DiskDevices {
 public:
  // Opens all of them. `arena` is the memory of reads and writes and outlives the devices.
  static absl::StatusOr<std::unique_ptr<DiskDevices>> Open(const DiskOptions& options,
                                                           std::span<uint8_t> arena,
                                                           TaskQueue* tasks);
  ~DiskDevices();

  // Gives the core a disk tier with these devices and what is on them.
  void AttachTo(Core& core, uint64_t hash_seed, MonotonicTime now);

  // The spaces of what is on the devices: memory may have been lost, and its list with it.
  std::vector<SpaceDescription> ReadSpaces() const;
  // Has every device remember these spaces; returns at once. A read-only tier stays as it is.
  void WriteSpaces(std::span<const SpaceDescription> spaces);

  // Tells the core what the devices have reported. True if there was anything.
  bool TakeReports(Core& core, MonotonicTime now);
  // Passes the core's orders on. True if one could not be, and the core was told so.
  bool PassOrders(Core& core, MonotonicTime now);

  std::vector<DiskDeviceStatus> Status() const;
  // The number of the device at `path`.
  std::optional<uint32_t> Find(absl::string_view path) const;

 private:
  struct Device {
    std::string path;
    std::string directory;
    uint64_t capacity_bytes = 0;
    std::unique_ptr<DiskDevice> device;
    std::unique_ptr<SpacesFileKeeper> spaces;
    std::deque<DiskCommand> waiting;  // for room in the device's queue
    MonotonicTime warned;             // zero: not yet
    uint64_t unsaid = 0;              // warnings since then
  };
  struct Reports {
    std::vector<std::pair<uint32_t, DiskResult>> results;  // with the device's number
    std::vector<uint32_t> out_of_service;
  };

  DiskDevices(const DiskOptions& options, std::span<uint8_t> arena, TaskQueue* tasks)
      : options_(options), arena_(arena), tasks_(tasks) {}
  absl::Status OpenAll();
  static void Warn(Device& device, const DiskResult& result, MonotonicTime now);
  void Report(uint32_t device, std::vector<DiskResult> results, bool out_of_service);
  bool SubmitWaiting(Device& device, Core& core, MonotonicTime now);

  const DiskOptions options_;
  const std::span<uint8_t> arena_;
  TaskQueue* const tasks_;
  std::mutex mutex_;
  Reports reports_;
  std::atomic<bool> reported_{false};
  std::vector<Device> devices_;  // after what their threads use
};

}  // namespace larder
