// The bytes of a disk tier's device: a superblock, then segments of records. Version 1.
// docs/formats/segments.md is the specification.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace larder {

// Unit of every offset and length on a device: what O_DIRECT asks of memory, offset and length.
inline constexpr uint64_t kDiskBlockBytes = 4096;
// Segment i occupies segment_bytes from kSegmentsBegin + i * segment_bytes on.
inline constexpr uint64_t kSegmentsBegin = uint64_t{1} << 20;
inline constexpr uint32_t kDiskFormatVersion = 1;

inline constexpr char kSuperblockMagic[8] = {'L', 'A', 'R', 'D', 'E', 'R', 'D', 'K'};
inline constexpr char kSegmentMagic[8] = {'L', 'A', 'R', 'D', 'E', 'R', 'S', 'G'};
inline constexpr char kRecordMagic[8] = {'L', 'A', 'R', 'D', 'E', 'R', 'R', 'C'};

inline constexpr size_t kDiskOwnerBytesMax = 64;

// Offset 0 of the device. Written once, when the device is made.
struct SuperblockV1 {
  char magic[8];
  uint32_t version;
  uint32_t block_bytes;
  uint64_t device_low;  // a random id, part of every header on the device
  uint64_t device_high;
  uint64_t segment_bytes;
  char owner[kDiskOwnerBytesMax];  // the node it belongs to; padded with zeros
  uint32_t crc;                    // CRC32C of the bytes before it
  uint32_t reserved;
};
static_assert(sizeof(SuperblockV1) == 112);
static_assert(std::is_trivially_copyable_v<SuperblockV1>);

// First block of a segment; written before any record of this generation.
struct SegmentHeaderV1 {
  char magic[8];
  uint32_t version;
  uint32_t segment;  // its number
  uint64_t device_low;
  uint64_t device_high;
  uint64_t generation;  // rises with each opening of any segment of the device; never 0
  uint32_t lifetime_class;
  uint32_t crc;  // CRC32C of the bytes before it
};
static_assert(sizeof(SegmentHeaderV1) == 48);
static_assert(std::is_trivially_copyable_v<SegmentHeaderV1>);

// One block in front of its payload, which begins at the next block and is filled up to a whole
// number of blocks. Records follow each other without gaps, but any of them may be missing: writes
// are not ordered. It says everything that the metadata knows, so that a scan can rebuild that.
struct RecordHeaderV1 {
  char magic[8];
  uint32_t version;
  uint32_t segment;
  uint64_t device_low;
  uint64_t device_high;
  uint64_t generation;  // of its segment: a record of another generation is no record
  uint64_t offset;      // of this header on the device
  uint64_t space_low;
  uint64_t space_high;
  uint64_t key_low;
  uint64_t key_high;
  uint64_t parent_low;
  uint64_t parent_high;
  uint64_t payload_bytes;
  uint64_t sequence;        // order of writes, for recency after a restart
  uint64_t expiry_unix_ms;  // 0: never
  uint64_t written_unix_ms;
  uint32_t depth;
  uint32_t token_count;
  uint16_t layer_begin;
  uint16_t layer_end;
  uint16_t head_begin;
  uint16_t head_end;
  uint32_t flags;
  uint32_t payload_crc;  // CRC32C of the payload_bytes
  uint32_t reserved;
  uint32_t crc;  // CRC32C of the bytes before it
};
static_assert(sizeof(RecordHeaderV1) == 160);
static_assert(offsetof(RecordHeaderV1, crc) == 156);
static_assert(std::is_trivially_copyable_v<RecordHeaderV1>);

}  // namespace larder
