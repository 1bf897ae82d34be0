// Looks at a disk device while no daemon has it: what lies in its segments.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "common/file_descriptor.h"
#include "common/status.h"
#include "storage/disk/disk_record.h"
#include "storage/disk/segment_headers.h"

namespace larder {

enum class PayloadCheck : uint8_t { kSkip, kSum };

struct DiskScanCounts {
  uint64_t records = 0;
  uint64_t payload_bytes = 0;      // of the records
  uint64_t damaged_headers = 0;    // of records that cannot be told any more
  uint64_t damaged_payloads = 0;   // with kSum
  uint64_t unreadable_blocks = 0;  // the device gave an error
};

// Holds the device's lock, so that no daemon and no other tool has it open; changes nothing on the
// device. Not thread-safe.
class OfflineDisk {
 public:
  // `path` and `metadata_directory` as in DiskDeviceOptions. Errors name the path:
  //   NOT_FOUND            there is no device
  //   FAILED_PRECONDITION  it is something else, of another format version, or in use
  //   INVALID_ARGUMENT     a metadata directory without a block device, or the other way round
  //   DATA_LOSS            its superblock is damaged
  static absl::StatusOr<std::unique_ptr<OfflineDisk>> Open(const std::string& path,
                                                           const std::string& metadata_directory);

  const Superblock& superblock() const { return superblock_; }
  // As many segments as the file has bytes of; the last one may be cut off.
  const DiskGeometry& geometry() const { return geometry_; }
  uint64_t bytes() const { return bytes_; }
  // Those with a header that can be read: only they have records.
  std::span<const SegmentHeader> segments() const { return segments_; }
  // With an opened segment's magic, and damaged.
  uint64_t damaged_segments() const { return damaged_segments_; }
  const std::string& index_directory() const { return index_directory_; }

  // Visits the records of the present generations in the order of their places. `payload_ok` is
  // true when payloads are not summed.
  void Scan(PayloadCheck check,
            absl::FunctionRef<void(const DiskRecord& record, bool payload_ok)> visit,
            DiskScanCounts* counts);

 private:
  OfflineDisk() = default;

  absl::Status OpenFile(const std::string& path, const std::string& metadata_directory);
  absl::Status ReadSuperblock();
  absl::Status Lock(const std::string& directory);
  absl::Status ReadSegmentHeaders();
  void ScanSegment(const SegmentHeader& segment, PayloadCheck check,
                   absl::FunctionRef<void(const DiskRecord&, bool)> visit, DiskScanCounts* counts);
  std::span<const uint8_t> BlockAt(uint64_t offset, uint64_t read_bytes);
  std::span<const uint8_t> ReadBefore(uint64_t offset, uint64_t bytes) const;
  bool PayloadIsRight(const DiskRecord& record);
  uint64_t ReadAt(uint64_t offset, std::span<uint8_t> memory);

  FileDescriptor file_;
  uint64_t bytes_ = 0;
  FileDescriptor state_directory_;
  FileDescriptor lock_;
  std::string index_directory_;
  Superblock superblock_;
  DiskGeometry geometry_;
  std::vector<SegmentHeader> segments_;
  uint64_t damaged_segments_ = 0;
  MemoryMapping headers_;  // headers_bytes_ of the device from headers_begin_ on, read ahead
  uint64_t headers_begin_ = 0, headers_bytes_ = 0;
  MemoryMapping payload_;
};

}  // namespace larder
