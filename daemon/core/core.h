// The node's brain: every decision about spaces, chunks, reservations and leases is taken here.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"
#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/ids.h"
#include "common/status.h"
#include "daemon/core/core_types.h"
#include "daemon/core/elsewhere.h"
#include "kernels/format/manifest.h"
#include "storage/arena/block_table.h"
#include "storage/arena/extent_allocator.h"
#include "storage/catalog/catalog.h"
#include "storage/disk/disk_tier.h"
#include "storage/insight/insight.h"

namespace larder {

// Removed while a reader held it: its bytes are in use, but a restarted daemon must not find it.
inline constexpr uint32_t kBlockFlagDoomed = 2;

// Bound on the search for one victim: how many chunks that may not go are passed over. Each is set
// aside and not met again, so that only the first search through a very long prefix takes as many.
inline constexpr uint32_t kLooksPerVictimMax = 1 << 15;

// A longer life is as good as forever, and adding this one to a time cannot overflow.
inline constexpr absl::Duration kTtlMax = absl::Hours(24 * 365 * 100);

inline bool PartsOverlap(const Part& a, const Part& b) {
  return a.layer_begin < b.layer_end && b.layer_begin < a.layer_end && a.head_begin < b.head_end &&
         b.head_begin < a.head_end;
}

inline Part PartOf(const BlockRecord& record) {
  return {record.layer_begin, record.layer_end, record.head_begin, record.head_end};
}

// Parts of a chunk never overlap: they make it whole when their areas add up to that of the whole.
inline uint64_t AreaOf(const Part& part) {
  return uint64_t{1} * (part.layer_end - part.layer_begin) * (part.head_end - part.head_begin);
}

// Requests and time go in, decisions come out. It moves no bytes, waits for nothing, reads no clock
// and draws no random numbers, so that the same calls give the same answers. Its one lasting effect
// is in the block table, whose memory is injected. Not thread-safe: one event loop owns it.
//
// A chunk becomes visible when its last part is committed. A leased chunk keeps its bytes until the
// lease ends, even when it is removed meanwhile. A reservation's extent is never given to anyone
// else before its writer has committed, aborted or died, even when its deadline has passed; after a
// restart, for orphan_grace.
class Core {
 public:
  // `blocks` must outlive the core. `unix_ms` is the calendar at `now`, for lasting expiry times.
  Core(const CoreOptions& options, BlockTable* blocks, MonotonicTime now, int64_t unix_ms);

  // --- recovery: first the spaces, then once the blocks -------------------------------------
  absl::StatusOr<SpaceHandle> RestoreSpace(const SpaceDescription& description);
  RecoveryReport RecoverBlocks(MonotonicTime now);
  // Arena bytes [0, backed_bytes) may be handed out from now on. Never shrinks.
  void GrowBackedBytes(uint64_t backed_bytes);

  // --- sessions -----------------------------------------------------------------------------
  absl::StatusOr<SessionId> OpenSession();
  // The session's process is gone: its leases and reservations end.
  void CloseSession(SessionId session);
  // The session stopped answering but may still write: leases end, reservations become void, but
  // their extents stay untouched until CloseSession.
  void RevokeSession(SessionId session);

  // --- spaces -------------------------------------------------------------------------------
  // Idempotent. RESOURCE_EXHAUSTED when spaces_max are open.
  absl::StatusOr<SpaceHandle> OpenSpace(const SpaceDescription& description);
  // Null if there is no such space.
  const Space* FindSpace(SpaceHandle handle) const;
  std::optional<SpaceHandle> FindSpace(const SpaceId& id) const;
  std::span<const std::unique_ptr<Space>> spaces() const { return spaces_; }

  // --- reading ------------------------------------------------------------------------------
  // How many of `keys`, from the first on, are visible, here or on other nodes. Touches those in
  // memory, deepest first, if asked.
  absl::StatusOr<PrefixMatch> Match(SpaceHandle space, std::span<const KeyHash> keys,
                                    const LookupOptions& options, MonotonicTime now);
  // Where each of them is, up to the first that is nowhere.
  std::vector<ChunkPlace> Places(SpaceHandle space, std::span<const KeyHash> keys,
                                 MonotonicTime now);
  // Leases the longest visible prefix of `keys` and tells where the blocks are that overlap
  // `wanted`. An empty prefix has no lease.
  absl::StatusOr<AcquireResult> Acquire(SessionId session, SpaceHandle space,
                                        std::span<const KeyHash> keys, const Part& wanted,
                                        MonotonicTime now);
  // Leases one chunk, complete or not, for looking after: it is no use of the chunk and in no
  // statistics. No lease when there is no such chunk.
  absl::StatusOr<AcquireResult> AcquireUncounted(SessionId session, SpaceHandle space,
                                                 const KeyHash& key);
  absl::Status Release(SessionId session, LeaseId lease);
  absl::StatusOr<uint32_t> Touch(SpaceHandle space, std::span<const KeyHash> keys,
                                 MonotonicTime now);

  // --- writing ------------------------------------------------------------------------------
  // One outcome an item: kGranted with a reservation, or why there is none.
  absl::StatusOr<std::vector<ReserveOutcome>> Reserve(SessionId session, SpaceHandle space,
                                                      std::span<const ReserveItem> items,
                                                      const ReserveOptions& options,
                                                      MonotonicTime now);
  // Null if the session has no such reservation.
  const Reservation* FindReservation(SessionId session, ReservationId id) const;
  // One status a reservation. List a prefix shallowest first.
  std::vector<absl::Status> Commit(SessionId session, std::span<const ReservationId> ids,
                                   MonotonicTime now);
  absl::Status Abort(SessionId session, ReservationId id);
  // Before the commit: where the block may be cut short under pressure. INVALID_ARGUMENT for what
  // is not within it.
  absl::Status SetCuts(SessionId session, ReservationId id, const BlockCuts& cuts);
  // Copies bytes within the arena, between ranges that do not overlap. Without one, chunks that
  // lose levels stay where they are.
  using Mover = std::function<void(uint64_t from, uint64_t to, uint64_t bytes)>;
  void SetMover(Mover mover) { mover_ = std::move(mover); }

  // Says something of stored chunks; see Hints. Counts those that were found.
  absl::StatusOr<HintReport> Hint(SpaceHandle space, std::span<const KeyHash> keys,
                                  const Hints& hints, MonotonicTime now);

  // --- the disk tier ------------------------------------------------------------------------
  // Of the tenants with quotas, as DiskTierOptions wants them.
  std::vector<TierLimits> DiskLimits() const;
  // After RecoverBlocks, before the first request, if there is a disk tier at all. Its devices are
  // added to it already. What they hold has to be restored before the first Tick, which begins to
  // use the segments that hold nothing.
  void AttachDisk(std::unique_ptr<DiskTier> disk);
  // What a device held at the start. One that nobody can read (unknown space, impossible part) is
  // forgotten.
  void RestoreDiskRecord(uint32_t device, const DiskRecord& record);
  // Starts to bring the longest prefix of `keys` that is on disk, or on other nodes, into memory,
  // as far as there is room on the way. Nothing is coming when there is nothing to wait for.
  struct LoadResult {
    uint32_t in_memory = 0;  // of `keys`, from the first on
    uint32_t coming = 0;     // those, and the next ones that are on their way
  };
  LoadResult Load(SpaceHandle space, std::span<const KeyHash> keys, bool local_only,
                  MonotonicTime now);
  // Changes whenever it is worth asking again for what Load promised.
  uint64_t loads_ended() const { return loads_ended_; }
  void OnDiskResult(const DiskResult& result, MonotonicTime now);
  void OnDeviceOutOfService(uint32_t device);
  void RetireDevice(uint32_t device);
  // What the devices are to do, in order.
  std::vector<DiskOrder> TakeDiskOrders();
  const DiskTier* disk() const { return disk_.get(); }

  // --- other nodes --------------------------------------------------------------------------
  // Null: there are none. It outlives the core, or is taken back. From now on changes are noted.
  void SetElsewhere(Elsewhere* elsewhere) {
    elsewhere_ = elsewhere;
    tracks_changes_ = elsewhere != nullptr;
  }
  // Room for a chunk that comes from another node; an offset in the arena. It is given back with
  // DropArrival, or becomes the chunk's with CommitArrival.
  uint64_t arriving_bytes_max() const {
    return std::min(options_.arriving_bytes_max, options_.data_bytes / 4);
  }
  std::optional<uint64_t> AllocateArrival(SpaceHandle space, uint64_t bytes, MonotonicTime now);
  void DropArrival(SpaceHandle space, uint64_t offset, uint64_t bytes);
  // The whole chunk lies there, verified. Unless it is taken, its room is given back.
  enum class ArrivalEnd : uint8_t {
    kTaken,
    kUnwanted,  // somebody has put it meanwhile, or is about to; or there is no room for its
                // records
    kNotWhole,
  };
  ArrivalEnd CommitArrival(SpaceHandle space, const Arrival& arrival, MonotonicTime now);
  // A chunk that was to come from another node is there, or does not come, or it is known where it
  // is: see loads_ended.
  void NoteFetchEnded() { ++loads_ended_; }
  // Appends what is here now of each chunk that came, went or moved since the last call. False:
  // there were too many of them, and only a walk tells what is here.
  bool TakeChanges(std::vector<Holding>* holdings);
  // A walk through all complete chunks that are here, at most `limit` a call: call again with the
  // returned cursor until it is nullopt. Chunks that come, go or move meanwhile are in the changes.
  std::optional<uint64_t> HoldingsStep(uint64_t cursor, size_t limit,
                                       std::vector<Holding>* holdings) const;
  Holding HoldingOf(SpaceHandle space, const KeyHash& key) const;
  // What a chunk that is here is worth to others when this node leaves; only the order counts.
  double ValueOf(SpaceHandle space, const KeyHash& key);

  // --- administration -----------------------------------------------------------------------
  // Pins or unpins; returns how many chunks were found. RESOURCE_EXHAUSTED when pinned chunks
  // would take more than their share; those before the first refused one stay pinned.
  absl::StatusOr<uint32_t> SetPinned(SpaceHandle space, std::span<const KeyHash> keys, bool pinned);
  absl::StatusOr<uint32_t> Remove(SpaceHandle space, std::span<const KeyHash> keys,
                                  RemovalCause cause);
  // Removes the space's chunks (all spaces' without one), a bounded number a call: call again with
  // the returned cursor until it is nullopt.
  std::optional<ChunkIndex> ClearStep(std::optional<SpaceHandle> space, ChunkIndex cursor,
                                      uint64_t* removed);
  // A page of the chunks, in no order, starting at `cursor`; likewise bounded.
  std::optional<ChunkIndex> ListStep(std::optional<SpaceHandle> space, ChunkIndex cursor,
                                     size_t limit, std::vector<ChunkInfo>* infos) const;
  std::optional<ChunkInfo> Inspect(SpaceHandle space, const KeyHash& key) const;
  // What is known of each key, stored or not. RESOURCE_EXHAUSTED for more than kExplainKeysMax.
  static constexpr size_t kExplainKeysMax = 64;
  absl::StatusOr<std::vector<Explanation>> Explain(SpaceHandle space, std::span<const KeyHash> keys,
                                                   MonotonicTime now) const;

  // From now on reservations are refused; reading goes on.
  void StartDraining() { draining_ = true; }
  bool draining() const { return draining_; }

  // Expires chunks and reservations, a bounded number a call. Call it a few times a second.
  void Tick(MonotonicTime now);

  CoreStats Stats() const;
  // What other sizes and policies would be worth; fed by the matches that touch. Call its Study
  // when there is nothing else to do.
  Insight& insight() { return insight_; }

 private:
  struct Session {
    absl::flat_hash_set<LeaseId> leases;
    uint64_t leased_chunks = 0;
    absl::flat_hash_set<ReservationId> reservations;
    bool revoked = false;
  };
  struct Lease {
    SessionId session;
    std::vector<ChunkIndex> chunks;
  };
  struct ChunkName {
    SpaceHandle space;
    KeyHash key;
    friend bool operator==(const ChunkName&, const ChunkName&) = default;
    template <typename H>
    friend H AbslHashValue(H h, const ChunkName& name) {
      return H::combine(std::move(h), name.space, name.key);
    }
  };
  // A chunk on its way from disk into memory.
  struct Loading {
    KeyHash parent;
    uint32_t depth = 0;
    int64_t expiry_unix_ms = 0;
    std::vector<BlockIndex> blocks;
    uint64_t bytes = 0;
    uint32_t pending = 0;
    bool failed = false;
    MonotonicTime since;
  };
  // A chunk in memory that is being written to disk; it is leased meanwhile.
  struct Demotion {
    uint32_t pending = 0;
    uint64_t bytes = 0;
    bool failed = false;
    bool leaves = false;  // it is to leave memory afterwards
  };
  // A chunk that can leave memory at once, unless it was used since.
  struct Ready {
    ChunkIndex chunk = kNoChunk;
    uint32_t generation = 0;
    PolicyTicks last_use = 0;
    uint64_t bytes = 0;
  };
  // Chunks of a group that have lost levels and are in no order, first to leave first.
  struct ShortenedQueue {
    std::deque<Ready> chunks;
    uint64_t bytes = 0;
  };
  // The reservations of one chunk that may still be committed; their parts do not overlap.
  using Writers = absl::InlinedVector<ReservationId, 2>;

  absl::StatusOr<Session*> LiveSession(SessionId session);
  absl::StatusOr<Space*> SpaceOf(SpaceHandle handle);
  ReserveOutcome ReserveOne(SessionId session, Space& space, const ReserveItem& item,
                            const ReserveOptions& options, MonotonicTime now);
  absl::Status CheckItem(const Space& space, const ReserveItem& item) const;
  // Whether `part` is stored already, could be added, or overlaps what is stored.
  ReserveOutcome::Kind PartFate(ChunkIndex chunk, const Part& part) const;
  // Whether somebody may still commit a part that overlaps `part`.
  bool IsBeingWritten(const ChunkName& name, const Part& part) const;
  void ForgetWriter(ReservationId id, const Reservation& reservation);
  struct Allocation {
    ReserveOutcome::Kind kind = ReserveOutcome::Kind::kNoSpace;  // kGranted: there is an extent
    uint64_t offset = 0;
  };
  // `newcomer`: a chunk that need not come in at all; null for one that has to.
  Allocation AllocateEvicting(SpaceHandle space, uint64_t bytes, const ChunkTraits* newcomer,
                              MonotonicTime now);
  void FreeExtent(SpaceHandle space, uint64_t offset, uint64_t bytes);
  // `bytes` are those of `part`.
  ChunkTraits TraitsOf(const Space& space, const KeyHash& key, uint32_t depth, const Part& part,
                       uint64_t bytes, uint8_t category) const;
  absl::StatusOr<ChunkIndex> CommitOne(SessionId session, ReservationId id, MonotonicTime now);
  // Puts a committed block under its chunk, which is made if need be, and shows it when complete.
  ChunkIndex Attach(SpaceHandle space, const KeyHash& key, const KeyHash& parent, uint32_t depth,
                    BlockIndex block, uint8_t category, MonotonicTime now);
  bool IsComplete(const Space& space, ChunkIndex chunk) const;
  // A chunk is nothing without one of its parts: it expires when the first of them does.
  void LimitExpiry(ChunkIndex chunk, MonotonicTime expiry);
  // The chunk, unless its time is over: then it goes now.
  ChunkIndex FindUnexpired(SpaceHandle space, const KeyHash& key, MonotonicTime now);
  // False when the block can't be what it says it is.
  bool RecoverBlock(BlockIndex block, const BlockRecord& record, MonotonicTime used,
                    std::vector<std::pair<ChunkIndex, KeyHash>>* parents);
  void EndReservation(ReservationId id);
  void VoidReservation(ReservationId id, Reservation& reservation);
  void EndLease(LeaseId id);
  void RemoveChunk(ChunkIndex chunk, RemovalCause cause);
  enum class HintAnswer : uint8_t { kAccepted, kClipped, kRefused };
  HintAnswer HintOne(ChunkIndex chunk, const Hints& hints, MonotonicTime now);
  HintAnswer KeepFor(ChunkIndex chunk, absl::Duration duration, MonotonicTime now);
  void RecordDeparture(SpaceHandle space, const KeyHash& key, AbsenceReason reason,
                       Departure departure);
  bool IsStoredIn(SpaceHandle space, const KeyHash& key, MonotonicTime now) const;
  void TakeDiskDepartures();
  void FreeChunk(ChunkIndex chunk);
  void AppendExtents(ChunkIndex chunk, const Part& wanted, AcquireResult* result) const;
  uint64_t ChunkBytes(ChunkIndex chunk) const;
  void AddPinned(SpaceHandle space, uint64_t bytes);
  void SubtractPinned(SpaceHandle space, uint64_t bytes);
  // What a chunk of the space takes in the arena, about.
  uint64_t MeanChunkBytes(const Space& space) const;
  bool IsOnDisk(ChunkIndex chunk) const;
  uint64_t InFlightMax(uint64_t limit) const;
  bool WritesToDisk() const {
    return disk_ != nullptr && options_.disk_mode != DiskMode::kReadOnly;
  }
  // The chunk that should leave memory next for the sake of the group, or kNoChunk.
  ChunkIndex VictimFor(GroupIndex group, MonotonicTime now);
  // The same, but for those that can leave at once.
  ChunkIndex NextToLeave(GroupIndex group, MonotonicTime now);
  void Evict(ChunkIndex victim, RemovalCause cause);
  // The chunk of the group that should make room next, or kNoChunk.
  ChunkIndex VictimIn(GroupIndex group, MonotonicTime now);
  // Takes the finest levels of a victim that has more than it must keep, and puts it behind others.
  // May move so many bytes. False when it can only leave whole.
  bool Shorten(ChunkIndex victim, uint64_t* move_budget);
  // Those of its blocks that have levels to lose now.
  std::vector<BlockIndex> LongBlocks(ChunkIndex chunk) const;
  // Returns how many bytes that saved: none without a free record.
  uint64_t ShortenBlock(ChunkIndex chunk, BlockIndex block, uint64_t* move_budget);
  // What the block takes without the levels that it may lose.
  uint64_t ShortBytes(const BlockRecord& record) const;
  bool IsUnused(const Ready& entry) const;
  ChunkIndex OldestShortened(GroupIndex group);
  ChunkIndex TakeReady();
  void SetReady(ChunkIndex chunk);
  // Writes what will leave memory next, so that it can leave at once.
  void PrepareEvictions(MonotonicTime now);
  // False when it cannot be written now; `give_up` says that it need not be tried again.
  bool StartDemotion(ChunkIndex chunk, bool leaves, MonotonicTime now, bool* give_up);
  DiskCandidate CandidateOf(ChunkIndex chunk) const;
  bool IsWorthWriting(ChunkIndex chunk, MonotonicTime now);
  void MarkUsedOnDisk(DiskChunkIndex chunk);
  void FinishTransfer(const DiskTier::Finished& finished, MonotonicTime now);
  void FinishDemotion(ChunkIndex chunk);
  bool StartLoad(SpaceHandle space, DiskChunkIndex disk_chunk, MonotonicTime now);
  void FinishLoad(const ChunkName& name, MonotonicTime now);
  void FreeBlock(SpaceHandle space, BlockIndex block);
  // True if it was there. A load of it under way comes to nothing.
  bool ForgetOnDisk(SpaceHandle space, const KeyHash& key);
  // How many of `keys`, from the first on, are complete in either tier. Marks them as used, if
  // asked.
  uint64_t CountHere(SpaceHandle space, std::span<const KeyHash> keys, bool use, MonotonicTime now);
  // The same with other nodes, whose share is added to `*elsewhere`, when the first of `keys` is
  // not in memory.
  uint64_t CountBeyondMemory(SpaceHandle space, std::span<const KeyHash> keys,
                             const LookupOptions& options, MonotonicTime now, uint64_t* elsewhere);
  // In all tiers, and on other nodes unless `local_only`. No use of what is found.
  size_t CountEverywhere(SpaceHandle space, std::span<const KeyHash> keys, bool local_only,
                         MonotonicTime now);
  uint64_t RoundToGranule(uint64_t bytes) const {
    return (bytes + options_.granule_bytes - 1) / options_.granule_bytes * options_.granule_bytes;
  }
  bool IsWhole(const Space& space, const Arrival& arrival) const;
  uint32_t PagesOnDisk(DiskChunkIndex chunk) const;
  // Other nodes may have to be told what is here of the chunk.
  void NoteChange(SpaceHandle space, const KeyHash& key);
  // Writes what was stored and is not on disk yet, as far as there is room on the way.
  void WriteThrough(MonotonicTime now);
  ChunkInfo InfoOf(ChunkIndex chunk) const;
  ChunkInfo DiskInfoOf(const DiskTier::Listed& listed) const;
  std::optional<ChunkIndex> NextCursor(ChunkIndex cursor) const;
  std::optional<ChunkIndex> ClearDiskStep(std::optional<SpaceHandle> space, ChunkIndex cursor,
                                          uint64_t* removed);
  std::optional<ChunkIndex> ListDiskStep(std::optional<SpaceHandle> space, ChunkIndex cursor,
                                         size_t limit, std::vector<ChunkInfo>* infos) const;
  MonotonicTime FromUnixMs(int64_t unix_ms) const;
  int64_t ToUnixMs(MonotonicTime time) const;

  const CoreOptions options_;
  BlockTable* const blocks_;
  const int64_t unix_ms_at_zero_;  // the calendar when the monotonic clock showed zero
  ExtentAllocator allocator_;
  Catalog catalog_;
  TenantShares shares_;
  std::vector<uint64_t> pinned_bytes_;  // by group
  absl::flat_hash_map<std::string, GroupIndex> group_of_tenant_;
  DepartureLog departures_;
  MonotonicTime latest_;  // the time of the latest call that had one

  std::vector<std::unique_ptr<Space>> spaces_;
  absl::flat_hash_map<SpaceId, SpaceHandle> space_by_id_;

  absl::flat_hash_map<SessionId, Session> sessions_;
  absl::flat_hash_map<LeaseId, Lease> leases_;
  absl::flat_hash_map<ReservationId, Reservation> reservations_;
  absl::flat_hash_map<ChunkName, Writers> writers_;
  absl::btree_set<std::pair<MonotonicTime, ReservationId>> reservation_deadlines_;

  // Extents without a block that nobody gets before orphans_end_.
  std::vector<BlockRecovery::Extent> orphans_;
  MonotonicTime orphans_end_;

  std::unique_ptr<DiskTier> disk_;  // null: none
  DiskAdmission disk_admission_;
  absl::flat_hash_map<ChunkName, Loading> loads_;
  absl::flat_hash_map<uint64_t, ChunkName> load_tokens_;
  absl::flat_hash_map<ChunkIndex, Demotion> demotions_;
  absl::flat_hash_map<uint64_t, ChunkIndex> demotion_tokens_;
  std::deque<Ready> ready_;                // first to leave first
  std::vector<ShortenedQueue> shortened_;  // by group
  Mover mover_;                            // null: none
  // With write-through: chunks and their generations, in the order in which they were stored.
  std::deque<std::pair<ChunkIndex, uint32_t>> unsaved_;
  uint64_t loads_ended_ = 0;

  Elsewhere* elsewhere_ = nullptr;  // null: there are no other nodes
  bool tracks_changes_ = false;
  std::vector<ChunkName> changes_;
  bool changes_lost_ = false;

  Insight insight_;
  uint64_t next_handle_ = 1;
  uint64_t sequence_ = 0;
  bool draining_ = false;
  CoreStats stats_;
  std::vector<ChunkIndex> scratch_;  // kept between calls so that reading allocates nothing
};

}  // namespace larder
