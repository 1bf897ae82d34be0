// The bytes of the block table, version 1. docs/formats/arena.md is the specification.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <type_traits>

namespace larder {

inline constexpr char kBlockTableMagic[8] = {'L', 'A', 'R', 'D', 'E', 'R', 'B', 'T'};
inline constexpr uint32_t kBlockTableVersion = 1;
inline constexpr uint32_t kBlockTableHeaderBytes = 4096;
inline constexpr uint32_t kBlockRecordBytes = 128;
inline constexpr uint64_t kBlockRecordsMax = 1ull << 24;

// A guarded word: a value of up to 48 bits in the low bits, the low 16 bits of the CRC32C of the
// value's 6 bytes above them. It changes in one 8-byte store, so a kill leaves the old or the new
// value, and damage is noticed.
inline constexpr uint64_t kGuardedValueMax = (1ull << 48) - 1;
uint64_t EncodeGuarded(uint64_t value);
std::optional<uint64_t> DecodeGuarded(uint64_t word);

// Offset 0 of the table. The fields up to `crc` are written once, before the table gets its name.
struct BlockTableHeaderV1 {
  char magic[8];
  uint32_t version;
  uint32_t record_bytes;
  uint32_t header_bytes;
  uint32_t reserved0;
  uint64_t uuid_low;
  uint64_t uuid_high;
  uint64_t capacity_records;
  uint64_t data_bytes;
  uint64_t granule_bytes;
  uint32_t crc;  // CRC32C of the 64 bytes before it
  uint32_t reserved1;
  uint8_t padding0[56];
  uint64_t high_water;  // guarded: records at and above it were never in use
  uint8_t padding1[56];
  uint64_t backed_bytes;  // guarded, in units of kBackedUnitBytes; own cache line, other thread
  uint8_t padding2[3896];
};
inline constexpr uint64_t kBackedUnitBytes = 4096;
static_assert(sizeof(BlockTableHeaderV1) == kBlockTableHeaderBytes);
static_assert(offsetof(BlockTableHeaderV1, crc) == 64);
static_assert(offsetof(BlockTableHeaderV1, high_water) == 128);
static_assert(offsetof(BlockTableHeaderV1, backed_bytes) == 192);
static_assert(std::is_trivially_copyable_v<BlockTableHeaderV1>);

// The upper half of a record's commit word; the lower half is the CRC when committed, else 0.
enum class BlockState : uint32_t {
  kFree = 0,
  kReserved = 0x56534552,   // "RESV" in memory
  kCommitted = 0x544D4F43,  // "COMT" in memory
};

// Record i is at kBlockTableHeaderBytes + i * kBlockRecordBytes.
struct BlockRecordV1 {
  uint64_t commit_word;  // BlockState << 32 | CRC32C(index as u32, fields from space_low on)
  uint64_t sequence;     // guarded; in a free record: the next free record's index plus one
  uint64_t expiry;       // guarded: milliseconds since 1970, 0 for none
  uint64_t flags;        // guarded
  uint64_t space_low;    // from here on fixed at commit and covered by the CRC
  uint64_t space_high;
  uint64_t key_low;
  uint64_t key_high;
  uint64_t parent_low;
  uint64_t parent_high;
  uint64_t offset;
  uint64_t bytes;
  uint32_t depth;
  uint32_t token_count;
  uint16_t layer_begin;
  uint16_t layer_end;
  uint16_t head_begin;
  uint16_t head_end;
  uint32_t cuts[3];         // where it may be cut short, in units of kBlockCutUnitBytes
  uint32_t dropped_levels;  // so many were cut off already
};
static_assert(sizeof(BlockRecordV1) == kBlockRecordBytes);
static_assert(offsetof(BlockRecordV1, space_low) == 32);
static_assert(offsetof(BlockRecordV1, offset) == 80);
static_assert(offsetof(BlockRecordV1, cuts) == 112);
static_assert(std::is_trivially_copyable_v<BlockRecordV1>);

}  // namespace larder
