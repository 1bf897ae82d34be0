// The entries of a disk device's index, version 1. docs/formats/disk_metadata.md is the
// specification. What holds them, files and log, is RocksDB's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "common/status.h"
#include "storage/disk/disk_record.h"

namespace larder {

inline constexpr char kDiskMetadataMagic[8] = {'L', 'A', 'R', 'D', 'E', 'R', 'D', 'M'};
inline constexpr uint32_t kDiskMetadataVersion = 1;

// The one entry that is no record; its value is a DiskMetadataIdentityV1. A record's key is longer.
inline constexpr char kDiskMetadataIdentityKey[] = "identity";

// Says for which device the index is. Written once, when the index is made.
struct DiskMetadataIdentityV1 {
  char magic[8];
  uint32_t version;
  uint32_t value_bytes;  // of a record
  uint64_t device_low;
  uint64_t device_high;
  uint32_t reserved;
  uint32_t crc;  // CRC32C of the bytes before it
};
static_assert(sizeof(DiskMetadataIdentityV1) == 40);
static_assert(offsetof(DiskMetadataIdentityV1, crc) == 36);
static_assert(std::is_trivially_copyable_v<DiskMetadataIdentityV1>);

// A part of a chunk.
struct DiskMetadataKeyV1 {
  uint64_t space_low;
  uint64_t space_high;
  uint64_t key_low;
  uint64_t key_high;
  uint16_t layer_begin;
  uint16_t layer_end;
  uint16_t head_begin;
  uint16_t head_end;
};
static_assert(sizeof(DiskMetadataKeyV1) == 40);
static_assert(std::is_trivially_copyable_v<DiskMetadataKeyV1>);

// Where that part is, and what else a restart must know of it.
struct DiskMetadataValueV1 {
  uint32_t segment;
  uint32_t flags;
  uint64_t generation;
  uint64_t offset;
  uint64_t payload_bytes;
  uint64_t sequence;
  uint64_t expiry_unix_ms;
  uint64_t written_unix_ms;
  uint64_t parent_low;
  uint64_t parent_high;
  uint32_t depth;
  uint32_t token_count;
  uint32_t payload_crc;
  uint32_t crc;  // CRC32C of the key, then of the bytes before it
};
static_assert(sizeof(DiskMetadataValueV1) == 88);
static_assert(offsetof(DiskMetadataValueV1, crc) == 84);
static_assert(std::is_trivially_copyable_v<DiskMetadataValueV1>);

DiskMetadataKeyV1 EncodeDiskMetadataKey(const DiskRecord& record);
DiskMetadataValueV1 EncodeDiskMetadataValue(const DiskRecord& record);
DiskMetadataIdentityV1 EncodeDiskMetadataIdentity(DiskDeviceId device);

// DATA_LOSS, saying why, unless the entry is one that was written. Whether its place exists is for
// those to say who know the device.
absl::StatusOr<DiskRecord> DecodeDiskMetadata(std::span<const uint8_t> key,
                                              std::span<const uint8_t> value);

// The device that the index is for. DATA_LOSS when the entry is damaged, FAILED_PRECONDITION when
// it has another version.
absl::StatusOr<DiskDeviceId> DecodeDiskMetadataIdentity(std::span<const uint8_t> value);

}  // namespace larder
