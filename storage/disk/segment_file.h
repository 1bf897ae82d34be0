// The file or block device that holds a device's segments, and the directory around it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/file_descriptor.h"
#include "storage/disk/disk_device.h"
#include "storage/disk/segment_space.h"

namespace larder {

// Held by one process at a time. Not thread-safe.
class SegmentFile final : public SegmentSpace {
 public:
  // What is left for the metadata: this part of the capacity, but at least the minimum.
  static constexpr uint64_t kMetadataShare = 128;
  static constexpr uint64_t kMetadataBytesMin = uint64_t{64} << 20;

  // Makes the device when there is none or when options.reset says so. Errors are those of
  // DiskDevice::Open, without the path.
  static absl::StatusOr<std::unique_ptr<SegmentFile>> Open(const DiskDeviceOptions& options);

  const DiskGeometry& geometry() const { return geometry_; }
  const std::string& metadata_directory() const { return metadata_directory_; }
  int descriptor() const { return file_.get(); }
  // With O_DIRECT.
  bool direct() const { return direct_; }

  // Bytes of a capacity that are the metadata's.
  static uint64_t MetadataShareOf(uint64_t capacity_bytes);

  uint64_t size_bytes() const override { return size_bytes_; }
  absl::Status Extend(uint64_t bytes, uint64_t free_bytes) override;

 private:
  SegmentFile() = default;

  absl::Status OpenDirectory(const DiskDeviceOptions& options);
  absl::Status OpenBlockDevice(const DiskDeviceOptions& options);
  absl::Status TakeState(const std::string& directory);
  absl::Status OpenFile(const DiskDeviceOptions& options);
  absl::Status MakeFile(const DiskDeviceOptions& options);
  absl::Status MakeSuperblock(const DiskDeviceOptions& options, const FileDescriptor& file);
  absl::Status ReadSuperblock(const DiskDeviceOptions& options);
  absl::StatusOr<uint32_t> SegmentsThatFit(const DiskDeviceOptions& options,
                                           uint64_t segment_bytes) const;
  absl::Status CheckFreeSpace(uint64_t bytes, uint64_t free_bytes) const;
  absl::Status FitToCapacity(const DiskDeviceOptions& options);

  std::string metadata_directory_;
  FileDescriptor state_;  // the directory with `lock` and `metadata`
  FileDescriptor lock_;
  FileDescriptor file_;
  bool direct_ = false;
  bool is_block_device_ = false;
  uint64_t size_bytes_ = 0;
  DiskGeometry geometry_;
};

}  // namespace larder
