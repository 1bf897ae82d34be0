// What a disk tier knows of one stored part of a chunk.
#pragma once

#include <cstdint>

#include "common/ids.h"
#include "common/status.h"
#include "storage/disk/segment_format.h"

namespace larder {

using DiskDeviceId = Id128<struct DiskDeviceIdTag>;

struct DiskRecord {
  SpaceId space;
  KeyHash key;
  KeyHash parent;  // zero: none
  uint32_t depth = 0;
  uint32_t token_count = 0;
  uint16_t layer_begin = 0, layer_end = 0;
  uint16_t head_begin = 0, head_end = 0;
  uint32_t segment = 0;
  uint64_t generation = 0;  // of the segment
  uint64_t offset = 0;      // of the record's header on the device
  uint64_t payload_bytes = 0;
  uint32_t payload_crc = 0;
  uint32_t flags = 0;
  uint64_t sequence = 0;
  int64_t expiry_unix_ms = 0;  // 0: never
  int64_t written_unix_ms = 0;

  friend bool operator==(const DiskRecord&, const DiskRecord&) = default;
};

constexpr uint64_t RoundUpToDiskBlocks(uint64_t bytes) {
  return (bytes + kDiskBlockBytes - 1) / kDiskBlockBytes * kDiskBlockBytes;
}
// Bytes that a record takes on the device, header included.
constexpr uint64_t DiskRecordBytes(uint64_t payload_bytes) {
  return kDiskBlockBytes + RoundUpToDiskBlocks(payload_bytes);
}

// Where a device's segments are and how many there are.
struct DiskGeometry {
  DiskDeviceId device;
  uint64_t segment_bytes = 0;  // a multiple of kDiskBlockBytes
  uint32_t segments = 0;

  uint64_t SegmentBegin(uint32_t segment) const { return kSegmentsBegin + segment * segment_bytes; }
  uint64_t end() const { return SegmentBegin(segments); }
};

// INVALID_ARGUMENT, saying what is wrong, unless the record can lie where it says and every field
// is one that a header can carry.
absl::Status CheckDiskRecord(const DiskGeometry& geometry, const DiskRecord& record);

// The header of `record`, ready to be written in front of its payload.
RecordHeaderV1 EncodeRecordHeader(const DiskGeometry& geometry, const DiskRecord& record);

// The record that the bytes at `offset` of the device announce. DATA_LOSS, saying why, unless every
// field can be what it says: magic, version, checksum, device, place, generation and bounds.
absl::StatusOr<DiskRecord> DecodeRecordHeader(const DiskGeometry& geometry,
                                              const RecordHeaderV1& header, uint64_t offset,
                                              uint64_t generation);

}  // namespace larder
