// The persistent half of the catalog: one fixed record for each block of an arena.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "common/ids.h"
#include "common/status.h"
#include "storage/arena/block_table_format.h"

namespace larder {

using ArenaUuid = Id128<struct ArenaUuidTag>;

inline constexpr uint32_t kBlockFlagPinned = 1;

// What a table is made for; it is opened again only with the same geometry.
struct BlockTableGeometry {
  uint64_t capacity_records = 0;  // 1 to kBlockRecordsMax
  uint64_t data_bytes = 0;        // a multiple of the granule
  uint64_t granule_bytes = 0;     // a power of two, at least kBackedUnitBytes

  friend bool operator==(const BlockTableGeometry&, const BlockTableGeometry&) = default;
};

// Lengths to which a block may be cut so that what is left makes sense, ascending, in units of
// kBlockCutUnitBytes; after the last one zeros.
inline constexpr uint64_t kBlockCutUnitBytes = 64;
using BlockCuts = std::array<uint32_t, 3>;

struct BlockRecord {
  SpaceId space;
  KeyHash key;
  KeyHash parent;
  uint64_t offset = 0;  // of the block in the data, bytes
  uint64_t bytes = 0;
  uint32_t depth = 0;
  uint32_t token_count = 0;
  uint16_t layer_begin = 0;
  uint16_t layer_end = 0;
  uint16_t head_begin = 0;
  uint16_t head_end = 0;
  uint64_t sequence = 0;       // order of commits and touches, for recency after a restart
  int64_t expiry_unix_ms = 0;  // 0: never
  uint32_t flags = 0;          // kBlockFlag...
  BlockCuts cuts = {};
  uint32_t dropped_levels = 0;  // so many were cut off already

  friend bool operator==(const BlockRecord&, const BlockRecord&) = default;
};

// What a scan at start found.
struct BlockRecovery {
  uint32_t committed = 0;    // kept
  uint32_t uncommitted = 0;  // reserved when the last owner died
  uint32_t damaged = 0;      // checksum, guard or bounds wrong
  uint32_t refused = 0;      // the caller did not want them

  // Where uncommitted blocks lay, as far as their records say so: within the data, but not
  // verified. A client that outlived the last owner may still be writing there.
  struct Extent {
    uint64_t offset;
    uint64_t bytes;
  };
  std::vector<Extent> uncommitted_extents;
};

// Records live in memory that the caller provides and that outlives the table: a mapped file of
// the daemon, which no client maps, so that no client can scribble on it. Nothing is kept on the
// heap for a record. The process may be killed between any two instructions: the next Open and
// Recover find each block either committed with exactly its fields, or free.
//
// Not thread-safe, except backed_bytes and SetBackedBytes. An index that is out of range or in the
// wrong state is a bug of the caller and aborts.
class BlockTable {
 public:
  // Makes the first `bytes` of the memory safe to write (backed by the file system), before records
  // in them are used for the first time; called in steps. May be null: all of it is safe already.
  using BackMemory = std::function<absl::Status(uint64_t bytes)>;

  // INVALID_ARGUMENT, naming the field, for a geometry that no table can have.
  static absl::Status CheckGeometry(const BlockTableGeometry& geometry);

  // Bytes of memory for a table of `capacity_records`.
  static uint64_t MemoryBytes(uint64_t capacity_records);

  // Writes an empty table. REQUIRES: memory is zero-filled, aligned to 8 bytes and outlives the
  // table. INVALID_ARGUMENT for an impossible geometry or memory that is too small.
  static absl::StatusOr<BlockTable> Create(std::span<uint8_t> memory, ArenaUuid uuid,
                                           const BlockTableGeometry& geometry,
                                           BackMemory back_memory = nullptr);

  // Whether Open would accept a table that begins with these bytes (at least a header of them); its
  // errors, without mapping the whole.
  static absl::Status CheckHeader(std::span<const uint8_t> header_bytes,
                                  const BlockTableGeometry& geometry);

  // Takes over what an earlier owner left; Recover must be called before anything else.
  // FAILED_PRECONDITION for another magic, version or geometry, naming both values; DATA_LOSS for a
  // damaged header. Memory as in Create.
  static absl::StatusOr<BlockTable> Open(std::span<uint8_t> memory,
                                         const BlockTableGeometry& geometry,
                                         BackMemory back_memory = nullptr);

  // Visits every committed record whose checksum and bounds are right, in no useful order. Frees
  // every other one, and those for which `keep` returns false. Cost: one pass up to the highest
  // record ever used. `keep` must not call the table.
  BlockRecovery Recover(absl::FunctionRef<bool(uint32_t index, const BlockRecord& record)> keep);

  // A record in state kReserved, or nothing when all are in use or the memory cannot be backed.
  std::optional<uint32_t> AllocateRecord();

  // Writes all fields but `sequence` of a reserved record; a reader after a crash ignores them.
  void WriteReserved(uint32_t index, const BlockRecord& record);

  // Of a reserved and written record.
  void SetCuts(uint32_t index, const BlockCuts& cuts);

  // Makes a reserved and written record permanent, in one store. REQUIRES, here and in SetSequence:
  // sequence <= kGuardedValueMax.
  void Commit(uint32_t index, uint64_t sequence);

  // Each changes one field of a committed record in one store. Of several such changes a kill may
  // leave the first ones only. The expiry may be set before the commit too.
  void SetSequence(uint32_t index, uint64_t sequence);
  void SetExpiry(uint32_t index, int64_t expiry_unix_ms);
  void SetFlags(uint32_t index, uint32_t flags);

  // Gives up a reserved or committed record, in one store.
  void Free(uint32_t index);

  // REQUIRES: reserved and written, or committed. Not verified again: Recover has done so.
  BlockRecord Read(uint32_t index) const;

  BlockState state(uint32_t index) const;
  ArenaUuid uuid() const { return uuid_; }
  const BlockTableGeometry& geometry() const { return geometry_; }
  uint32_t used_records() const { return used_records_; }
  // Records at and above it were never in use, or none has been since the last recovery.
  uint32_t high_water() const { return high_water_; }

  // How much of the data, from its start, the file system is known to hold for us. Kept here
  // because it must survive the process. A damaged value reads as 0. Thread-safe.
  uint64_t backed_bytes() const;
  void SetBackedBytes(uint64_t bytes);

 private:
  BlockTable(std::span<uint8_t> memory, const BlockTableGeometry& geometry, BackMemory back_memory);

  BlockTableHeaderV1& header() const;
  BlockRecordV1& record(uint32_t index) const;
  uint32_t FieldsCrc(uint32_t index) const;
  std::optional<BlockRecord> ReadVerified(uint32_t index) const;
  void PushFree(uint32_t index);
  bool ExtendHighWater();
  void StoreHighWater(uint32_t records);

  std::span<uint8_t> memory_;
  BlockTableGeometry geometry_;
  BackMemory back_memory_;
  ArenaUuid uuid_;
  uint32_t high_water_ = 0;
  uint32_t used_records_ = 0;
  // First of the free records below the high-water mark plus one, 0 for none; the others are
  // threaded through the records themselves. Rebuilt by Recover.
  uint32_t free_head_ = 0;
  uint64_t memory_backed_bytes_ = 0;
};

}  // namespace larder
