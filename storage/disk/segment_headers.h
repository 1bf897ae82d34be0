// The two small headers of a device: its superblock, and the first block of each segment.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "common/status.h"
#include "storage/disk/disk_record.h"
#include "storage/disk/segment_format.h"

namespace larder {

// Bounds of a device's segment_bytes, a multiple of kDiskBlockBytes.
inline constexpr uint64_t kSegmentBytesMin = uint64_t{64} << 10;
inline constexpr uint64_t kSegmentBytesMax = uint64_t{1} << 40;

struct Superblock {
  DiskDeviceId device;
  uint64_t segment_bytes = 0;
  std::string owner;  // 1 to kDiskOwnerBytesMax bytes, none of them zero
};

// INVALID_ARGUMENT when a field is out of its bounds.
absl::Status CheckSuperblock(const Superblock& superblock);

// REQUIRES: CheckSuperblock.
SuperblockV1 EncodeSuperblock(const Superblock& superblock);

// FAILED_PRECONDITION when it is no superblock of ours or of another version; DATA_LOSS when it is
// damaged.
absl::StatusOr<Superblock> DecodeSuperblock(const SuperblockV1& bytes);

struct SegmentHeader {
  uint32_t segment = 0;
  uint64_t generation = 0;
  uint32_t lifetime_class = 0;
};

SegmentHeaderV1 EncodeSegmentHeader(const DiskGeometry& geometry, const SegmentHeader& header);

// DATA_LOSS, saying why, unless it is the header of that segment of that device.
absl::StatusOr<SegmentHeader> DecodeSegmentHeader(const DiskGeometry& geometry,
                                                  const SegmentHeaderV1& bytes, uint32_t segment);

}  // namespace larder
