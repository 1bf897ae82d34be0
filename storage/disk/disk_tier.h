// The disk tier's brain: what is on which device, what to write, read, move and forget.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/clock.h"
#include "common/ids.h"
#include "common/paged_vector.h"
#include "storage/catalog/hash_index.h"
#include "storage/disk/disk_device.h"
#include "storage/disk/segment_pool.h"
#include "storage/disk/write_budget.h"
#include "storage/policy/tenant_shares.h"

namespace larder {

// Names a chunk on disk while it is there; reused afterwards.
using DiskChunkIndex = uint32_t;
inline constexpr DiskChunkIndex kNoDiskChunk = 0xffffffffu;

struct DiskTierOptions {
  // Keys the index, so that callers cannot choose collisions.
  uint64_t hash_seed = 0;
  // Endurance budget of all devices together; 0: none.
  uint64_t write_bytes_per_day = 0;
  // Reclaiming may move so many bytes for each byte written anew: it bounds write amplification.
  double kept_fraction_max = 0.06;
  // Of the groups 1, 2, ... (see SetGroup), and what their shares are taken of.
  std::vector<TierLimits> groups = {};
  uint64_t capacity_bytes = 0;
};

// A command for a device, whose result comes back through OnResult. Of kWrite and kRead the memory
// is RoundUpToDiskBlocks(payload_bytes) bytes of the arena's data from `arena_offset` on; whoever
// carries the order out fills in command.memory.
struct DiskOrder {
  uint32_t device = 0;
  DiskCommand command;
  uint64_t arena_offset = 0;
};

struct DiskTierStats {
  uint64_t chunks = 0, records = 0, live_bytes = 0;
  uint64_t capacity_bytes = 0;  // of the devices in service
  uint64_t devices = 0, devices_out_of_service = 0;
  uint64_t free_segments = 0, broken_segments = 0;
  uint64_t written_bytes = 0;  // payloads, for the first time
  uint64_t device_bytes = 0;   // all that was written: headers, padding and moved records too
  uint64_t kept_bytes = 0;     // payloads moved by reclaiming
  uint64_t reclaimed_segments = 0, reclaimed_chunks = 0;
  uint64_t refused_no_room = 0, refused_budget = 0, refused_ceiling = 0;
  uint64_t budget_bytes = 0;  // that may be written now; 0 without a budget
  uint64_t corrupt_records = 0, failed_reads = 0, failed_writes = 0;
};

// Pure: no I/O, no clock. Not thread-safe; the core owns it. Spaces are numbers of the caller's; a
// chunk is there when its parts, which never overlap, add up to its whole area. A chunk that loses
// one part loses all: it would be of no use.
//
// Each call may add orders; the caller takes them and has the devices carry them out.
class DiskTier {
 public:
  DiskTier(const DiskTierOptions& options, MonotonicTime now);

  // Chunks of the space count for the group; spaces of which nothing is said are group 0. What a
  // group has below its guarantee is kept by reclaiming. Call it before the space's first chunk.
  void SetGroup(uint32_t space, size_t group);
  uint64_t GroupBytes(size_t group) const { return shares_.used_bytes(group); }

  // Returns the device's number. `generations` and `highest_generation` as in DiskContents.
  uint32_t AddDevice(const DiskGeometry& geometry, std::span<const uint64_t> generations,
                     uint64_t highest_generation = 0);
  // After AddDevice, before anything else: a record that was found on it. Of two that contradict
  // each other the newer one stays.
  void Restore(uint32_t device, uint32_t space, const DiskRecord& record, uint32_t chunk_area);
  // Has the device's metadata forget a record.
  void Forget(uint32_t device, const DiskRecord& record);
  // What is on it is there no longer; its results may still come in.
  void TakeOutOfService(uint32_t device);
  // Nothing new is written to it, and nothing on it makes room.
  void Retire(uint32_t device) { devices_[device].retired = true; }
  bool IsRetired(uint32_t device) const { return devices_[device].retired; }

  // The complete chunk of `key`, or kNoDiskChunk.
  DiskChunkIndex Find(uint32_t space, const KeyHash& key, int64_t now_unix_ms) const;
  // The chunk was used: reclaiming keeps it if it can. True: for the first time since it was
  // written or moved.
  bool MarkUsed(DiskChunkIndex chunk) { return !std::exchange(chunks_[chunk].used, true); }
  // A mark of the caller's, kNoMark until it is set; lost with a restart.
  static constexpr uint8_t kNoMark = 0xff;
  void SetMark(DiskChunkIndex chunk, uint8_t mark) { chunks_[chunk].mark = mark; }
  uint8_t mark(DiskChunkIndex chunk) const { return chunks_[chunk].mark; }
  // 1: plenty, or no budget at all; 0: spent.
  double budget_left(MonotonicTime now) { return budget_.left(now); }
  // Its records, without `space`.
  void AppendRecords(DiskChunkIndex chunk, std::vector<DiskRecord>* records) const;
  uint64_t PayloadBytes(DiskChunkIndex chunk) const;

  struct Ordered {
    uint64_t token = 0;    // 0: refused
    bool for_now = false;  // refused because no segment is open or the budget is spent
  };
  // Orders the write of one part; `record` says all but its place, checksum and sequence.
  Ordered Write(uint32_t space, const DiskRecord& record, uint32_t chunk_area,
                uint64_t arena_offset, MonotonicTime now);
  // Orders the read of the chunk's record at `position` (as in AppendRecords). Returns a token.
  uint64_t Read(DiskChunkIndex chunk, size_t position, uint64_t arena_offset);
  // Forgets the chunk, complete or not; true if it was there.
  bool Remove(uint32_t space, const KeyHash& key);

  struct Finished {
    uint64_t token = 0;
    bool ok = false;
  };
  // What a device reports. Of a read or write it is said that it has finished; a chunk whose read
  // failed is forgotten.
  std::optional<Finished> OnResult(const DiskResult& result);

  // Opens and reclaims segments, a bounded number of records a call. After OnResult and Write, and
  // a few times a second.
  void Step(MonotonicTime now);

  std::vector<DiskOrder> TakeOrders();
  // Complete chunks that went without the caller's asking, since the last call; a bounded number
  // is remembered.
  struct Dropped {
    uint32_t space = 0;
    KeyHash key;
    bool used = false;     // since it was written
    bool corrupt = false;  // or its segment was reclaimed
  };
  std::vector<Dropped> TakeDropped() { return std::exchange(dropped_, {}); }
  bool has_orders() const { return !orders_.empty(); }

  // For walks in bounded steps: chunks lie in [0, end_index()).
  struct Listed {
    uint32_t space = 0;
    KeyHash key;
    uint32_t depth = 0;
    uint64_t bytes = 0;
  };
  DiskChunkIndex end_index() const { return static_cast<DiskChunkIndex>(chunks_.size()); }
  // Nothing when there is no complete chunk at `chunk`.
  std::optional<Listed> ListAt(DiskChunkIndex chunk) const;

  size_t devices() const { return devices_.size(); }
  DiskTierStats Stats() const;

 private:
  using RecordIndex = uint32_t;
  static constexpr RecordIndex kNoRecord = 0xffffffffu;

  struct Chunk {
    KeyHash key;
    KeyHash parent;
    int64_t expiry_unix_ms = 0;
    uint32_t space = 0;
    uint32_t depth = 0;
    uint32_t token_count = 0;
    uint32_t missing_area = 0;
    RecordIndex first = kNoRecord;
    bool in_use = false;
    bool used = false;
    uint8_t mark = kNoMark;
  };
  struct Record {
    uint64_t offset = 0;
    uint64_t payload_bytes = 0;
    uint64_t sequence = 0;  // distinguishes the users of this index; 0: free
    DiskChunkIndex chunk = kNoDiskChunk;
    RecordIndex next = kNoRecord;  // of the same chunk
    uint32_t device = 0;
    uint32_t segment = 0;
    uint32_t payload_crc = 0;
    uint16_t layer_begin = 0, layer_end = 0, head_begin = 0, head_end = 0;
  };
  struct Reclaim {
    bool active = false;
    uint32_t segment = 0;
    size_t next = 0;  // in the segment's list of records
    uint32_t copies = 0;
  };
  struct Device {
    SegmentPool pool;
    std::vector<std::vector<RecordIndex>> segment_records;  // also indices that moved on
    Reclaim reclaim = {};
    bool out_of_service = false;
    bool retired = false;
  };
  struct Operation {
    DiskCommand::Kind kind = DiskCommand::Kind::kRead;
    uint32_t device = 0;
    uint32_t space = 0;
    uint32_t chunk_area = 0;
    RecordIndex index = kNoRecord;  // kRead, kCopy
    uint64_t sequence = 0;          // kRead, kCopy: of the record when it was ordered
    DiskRecord record;              // kWrite, kCopy: the new place
  };

  struct Room {
    uint32_t device = 0;
    SegmentPool::Place place;
  };
  size_t GroupOf(uint32_t space) const { return space < groups_.size() ? groups_[space] : 0; }
  std::optional<Room> FindRoom(const KeyHash& key, uint64_t record_bytes, LifetimeClass lifetime);
  DiskChunkIndex FindAny(uint32_t space, const KeyHash& key) const;
  bool InService(const Chunk& chunk) const;
  void AddRecord(uint32_t device, uint32_t space, const DiskRecord& record, uint32_t chunk_area);
  // False when what is stored already is newer.
  bool MakeWay(DiskChunkIndex chunk, const DiskRecord& record);
  void DropChunk(DiskChunkIndex chunk);
  void NoteDropped(DiskChunkIndex chunk, bool corrupt);
  DiskRecord Describe(RecordIndex index) const;
  uint64_t AddOrder(Operation operation, DiskCommand command, uint64_t arena_offset = 0);

  void FinishWrite(const Operation& operation, const DiskResult& result);
  void FinishCopy(const Operation& operation, const DiskResult& result);
  void FinishRead(const Operation& operation, const DiskResult& result);
  void StepReclaim(uint32_t device, MonotonicTime now);
  // Orders the move of a record out of a segment that is reclaimed; false when it is not worth it.
  bool Keep(uint32_t device, RecordIndex index, MonotonicTime now);

  const DiskTierOptions options_;
  TenantShares shares_;
  std::vector<size_t> groups_;  // by space
  WriteBudget budget_;
  double kept_credit_bytes_ = 0;
  std::vector<Device> devices_;
  std::vector<SpaceId> space_ids_;  // by the caller's number
  PagedVector<Chunk> chunks_;
  std::vector<DiskChunkIndex> free_chunks_;
  PagedVector<Record> records_;
  std::vector<RecordIndex> free_records_;
  HashIndex index_;
  absl::flat_hash_map<uint64_t, Operation> operations_;  // by token
  uint64_t next_token_ = 1;
  uint64_t sequence_ = 0;
  std::vector<DiskOrder> orders_;
  std::vector<Dropped> dropped_;
  DiskTierStats stats_;
};

}  // namespace larder
