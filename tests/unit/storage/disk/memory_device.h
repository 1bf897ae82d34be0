// A real DiskDevice on a disk in memory.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "common/file_descriptor.h"
#include "storage/disk/disk_device_parts.h"
#include "tests/unit/storage/disk/fake_disk.h"

namespace larder {

struct MemoryDeviceOptions {
  DiskGeometry geometry = {{5, 6}, uint64_t{16} << 20, 5};
  uint64_t capacity_bytes = uint64_t{160} << 20;
  uint32_t depth = 8;
  absl::Duration io_timeout = absl::Seconds(30);
  absl::Duration sync_interval = absl::Seconds(2);
  std::string metadata_directory;
};

inline absl::StatusOr<std::unique_ptr<DiskDevice>> OpenMemoryDevice(
    FakeDisk& disk, const MemoryDeviceOptions& options, DiskDevice::OnResults on_results) {
  DiskDeviceParts parts;
  parts.geometry = options.geometry;
  parts.depth = options.depth;
  parts.capacity_bytes = options.capacity_bytes;
  parts.io_timeout = options.io_timeout;
  parts.sync_interval = options.sync_interval;
  parts.engine_description = "memory";
  ASSIGN_OR_RETURN(parts.work_memory, MemoryMapping::MapAnonymous(DiskWorkBytes(parts.depth)));
  parts.space = disk.MakeSpace();
  parts.engine = disk.MakeEngine(DiskEngineDepth(parts.depth));
  DiskMetadata::Options metadata;
  metadata.device = parts.geometry.device;
  ASSIGN_OR_RETURN(parts.metadata, DiskMetadata::Open(options.metadata_directory, metadata));
  return StartDiskDevice(std::move(parts), std::move(on_results));
}

}  // namespace larder
