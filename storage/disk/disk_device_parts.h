// A device put together from its parts, so that tests can give it a disk that fails.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "common/file_descriptor.h"
#include "storage/disk/disk_device.h"
#include "storage/disk/disk_metadata.h"
#include "storage/disk/disk_record.h"
#include "storage/disk/io_engine.h"
#include "storage/disk/segment_space.h"

namespace larder {

// Copies under way at once, each through a buffer of its own.
inline constexpr uint32_t kDiskCopiesMax = 4;
inline constexpr uint64_t kDiskBounceBytes = uint64_t{1} << 20;

// What a device needs in memory of its own: a block a command, and the copies' buffers.
constexpr uint64_t DiskWorkBytes(uint32_t depth) {
  return depth * kDiskBlockBytes + kDiskCopiesMax * kDiskBounceBytes;
}
// Operations of so many commands: a header and a payload each, and one sync.
constexpr uint32_t DiskEngineDepth(uint32_t depth) { return 2 * depth + 1; }

struct DiskDeviceParts {
  DiskGeometry geometry;
  std::unique_ptr<SegmentSpace> space;
  MemoryMapping work_memory;         // DiskWorkBytes(depth)
  std::unique_ptr<IoEngine> engine;  // on the space; DiskEngineDepth(depth) deep
  std::unique_ptr<DiskMetadata> metadata;
  std::string engine_description;
  // As in DiskDeviceOptions.
  uint64_t capacity_bytes = 0;
  uint32_t depth = 64;
  absl::Duration io_timeout = absl::Seconds(10);
  absl::Duration sync_interval = absl::Seconds(2);
};

// Reads what the device holds and starts its thread.
absl::StatusOr<std::unique_ptr<DiskDevice>> StartDiskDevice(DiskDeviceParts parts,
                                                            DiskDevice::OnResults on_results);

}  // namespace larder
