// What goes into the core and what comes out of it: plain values.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/clock.h"
#include "common/ids.h"
#include "kernels/format/manifest.h"
#include "storage/catalog/catalog.h"
#include "storage/disk/disk_admission.h"
#include "storage/policy/departures.h"
#include "storage/policy/hints.h"
#include "storage/policy/recompute_cost.h"
#include "storage/policy/tenant_shares.h"

namespace larder {

// Position of a space in the core; stable for the daemon's lifetime.
using SpaceHandle = uint32_t;

// When chunks are written to the disk tier.
enum class DiskMode : uint8_t {
  kWriteBack,     // shortly before they would leave memory
  kWriteThrough,  // as soon as they are stored
  kReadOnly,      // never
};

// What a chunk in several levels that has to make room loses first.
enum class DropLevels : uint8_t {
  kNever,        // all of it
  kFinestFirst,  // the levels above CoreOptions::levels_min
};

struct CoreOptions {
  uint64_t data_bytes = 0;
  uint64_t granule_bytes = 4096;
  // Arena bytes that may be handed out at the start; the rest follows with GrowBackedBytes.
  uint64_t backed_bytes = 0;
  // Keys the hash index, so that callers cannot choose collisions.
  uint64_t hash_seed = 0;
  // Longest time from Reserve to Commit; a caller's own deadline is clipped to it.
  absl::Duration reservation_ttl_max = absl::Seconds(60);
  // After a restart, extents that the last daemon had handed out to be written are left alone for
  // so long: their writers may not have noticed its death yet.
  absl::Duration orphan_grace = absl::Seconds(5);
  // Pinned chunks may take this share of the arena, so that pins cannot starve everyone else.
  double pinned_fraction_max = 0.5;
  // In which order chunks leave; see docs/POLICY.md.
  OrderKind order = OrderKind::kLearned;
  CostModel cost = {};
  // Coarser values are nearer to what an engine wants than none. With two of its four levels a
  // chunk takes half of its bytes, so that two of them fit in the place of one.
  DropLevels drop_levels = DropLevels::kNever;
  uint32_t levels_min = 2;
  // Tenants with quotas; each has an order of its own.
  std::vector<TenantLimits> tenants = {};
  HintOptions hints = {};
  // So many chunks that went are remembered, to explain why they are not there.
  uint64_t explain_records = 1 << 16;
  DiskMode disk_mode = DiskMode::kWriteBack;
  DiskAdmissionKind disk_admission = DiskAdmissionKind::kAll;
  // This share of the arena is kept free or ready to be freed at once, by writing what will leave
  // next ahead of time.
  double disk_ready_fraction = 1.0 / 16;
  // Bytes on their way to and from the disk tier at once.
  uint64_t demoting_bytes_max = uint64_t{256} << 20;
  uint64_t loading_bytes_max = uint64_t{256} << 20;
  // The same of chunks from other nodes, and no more than a quarter of the arena.
  uint64_t arriving_bytes_max = uint64_t{256} << 20;
  uint32_t sessions_max = 4096;
  uint32_t spaces_max = 4096;
  uint32_t leases_per_session_max = 65536;
  // Chunks in all of a session's leases, each counted as often as it is leased.
  uint32_t leased_chunks_per_session_max = 1u << 19;
  uint32_t reservations_per_session_max = 65536;
};

// A part is at least this share of its chunk. So no chunk has more parts, since parts never
// overlap, and looking at all of them is cheap.
inline constexpr uint64_t kPartsPerChunkMax = 1024;

// What names a space; the id is derived from it.
struct SpaceDescription {
  std::string tenant;
  std::string salt;
  Manifest manifest;
};

// kDemoted: it left memory and is still on disk. kQuota: its tenant was at its ceiling.
enum class RemovalCause : uint8_t {
  kCapacity,
  kExpired,
  kRemoved,
  kCleared,
  kCorrupt,
  kDemoted,
  kQuota
};
inline constexpr size_t kRemovalCauses = 7;

struct SpaceStats {
  uint64_t lookups = 0;
  uint64_t hit_chunks = 0, miss_chunks = 0;
  uint64_t hit_bytes = 0, miss_bytes = 0;
  uint64_t hit_tokens = 0, miss_tokens = 0;
  uint64_t peer_hit_chunks = 0;  // of the hits, those that only other nodes had, about
  uint64_t fetched_chunks = 0, fetched_bytes = 0;
  uint64_t stored_chunks = 0, stored_bytes = 0;  // committed since the start
  uint64_t resident_chunks = 0, resident_bytes = 0;
  std::array<uint64_t, kRemovalCauses> removed_chunks{};
};

struct Space {
  SpaceId id;
  SpaceHandle handle = 0;
  SpaceDescription description;
  uint64_t whole_payload_bytes = 0;
  SpaceStats stats;
};

struct RecoveryReport {
  uint64_t chunks = 0, bytes = 0;
  uint64_t discarded_blocks = 0;  // reserved but never committed, damaged, or of an unknown space
};

struct LookupOptions {
  bool touch = false;       // it is a use of what is found
  bool local_only = false;  // other nodes don't count
  uint32_t chunks_min = 0;  // a prefix of fewer is none, and no use
  bool may_wait = false;    // see PrefixMatch::locating
};

struct PrefixMatch {
  uint32_t chunks = 0;
  uint32_t memory_chunks = 0;  // those before the first that has to come from elsewhere
  uint32_t peer_chunks = 0;    // those that have to come from other nodes, about
  uint64_t tokens = 0;
  uint64_t bytes = 0;
  // Another node has been asked where the first chunk is that was not found. Nothing else is said
  // or counted, and the caller, who may wait, comes again: see Core::loads_ended.
  bool locating = false;
};

// Where a chunk is, and how long it takes until it is in this node's memory.
struct ChunkPlace {
  enum class Tier : uint8_t { kMemory, kDisk, kPeerMemory, kPeerDisk };
  Tier tier = Tier::kMemory;
  uint16_t node = 0;  // kPeer...: see PlaceElsewhere
  absl::Duration predicted = absl::ZeroDuration();
};

// What this node has of a chunk, as others need to know it. Sizes are in pages, so that they fit
// wherever containers are aligned to such.
inline constexpr uint64_t kHoldingPageBytes = 4096;
struct Holding {
  SpaceHandle space = 0;
  KeyHash key = {};
  bool in_memory = false, on_disk = false;  // complete
  uint32_t pages = 0;                       // of its containers, each rounded up
};

// A chunk that has come from another node into room of AllocateArrival.
struct Arrival {
  struct StoredPart {
    uint64_t offset =
        0;               // from the beginning of the room; parts follow each other, granule-aligned
    uint64_t bytes = 0;  // of the container
    Part part = {};
    uint32_t token_count = 0;
  };
  KeyHash key = {}, parent = {};
  uint32_t depth = 0;
  uint64_t offset = 0, bytes = 0;  // the room
  std::vector<StoredPart> parts = {};
  absl::Duration ttl = absl::InfiniteDuration();
  // Other nodes hold it as well: it leaves first once it was read, unless it is asked for again.
  bool is_copy = false;
};

// Where one container lies in the arena.
struct BlockExtent {
  uint64_t offset = 0;
  uint64_t bytes = 0;
  Part part;

  friend bool operator==(const BlockExtent&, const BlockExtent&) = default;
};

struct AcquireResult {
  LeaseId lease;  // none when no chunk is held
  struct LeasedChunk {
    uint32_t first_extent = 0;
    uint32_t extent_count = 0;
  };
  std::vector<LeasedChunk> chunks;
  std::vector<BlockExtent> extents;
};

struct ReserveItem {
  KeyHash key;
  KeyHash parent;  // zero: no parent
  uint32_t depth = 0;
  Part part;
  uint64_t bytes = 0;  // of the container
};

struct ReserveOptions {
  // Both positive.
  absl::Duration deadline = absl::InfiniteDuration();  // clipped to reservation_ttl_max
  absl::Duration ttl = absl::InfiniteDuration();       // of the chunk, from its commit
  bool pin = false;
  // Of the chunk, below kChunkCategories: kinds that the caller tells apart.
  uint8_t category = 0;
};

struct ReserveOutcome {
  enum class Kind : uint32_t {
    kGranted = 0,
    kExists = 1,    // this part is stored already: nothing to do
    kBusy = 2,      // another writer has reserved a part that overlaps this one
    kNoSpace = 3,   // nothing more can be evicted now
    kOverlaps = 4,  // another split of the chunk is stored
    kRefused = 5,   // what would have to go for it is expected to be of more use
    kQuota = 6,     // the tenant is at its ceiling, and nothing of it may go
  };
  Kind kind = Kind::kNoSpace;
  ReservationId id;
  uint64_t offset = 0;
};

struct ChunkInfo {
  SpaceHandle space = 0;
  KeyHash key;
  uint32_t depth = 0, children = 0, leases = 0;
  bool visible = false, pinned = false;
  bool in_memory = true, on_disk = false;
  PolicyTicks last_use = 0;
  std::optional<MonotonicTime> expiry;
  uint64_t bytes = 0;
  uint32_t dropped_levels = 0;  // under pressure; the most that one of its parts has lost
  std::vector<BlockExtent> extents;
};

// Why a chunk that was there, or was to be stored, is not. The first ones are RemovalCauses.
enum class AbsenceReason : uint8_t {
  kCapacity,
  kExpired,
  kRemoved,
  kCleared,
  kCorrupt,
  kDemoted,
  kQuota,
  kRefused,        // not worth what would have had to go for it
  kDiskReclaimed,  // its segment on disk was needed again
  kDiskCorrupt,    // its record on disk was damaged
};
static_assert(static_cast<size_t>(AbsenceReason::kRefused) == kRemovalCauses);
static_assert(static_cast<int>(AbsenceReason::kQuota) == static_cast<int>(RemovalCause::kQuota));

struct Explanation {
  KeyHash key;
  std::optional<ChunkInfo> chunk;  // it is stored; complete, if visible
  bool loading = false;            // on its way from disk
  // How it left, and when before now; nothing is known of a chunk that was never stored, or that
  // left long ago.
  std::optional<Departure> departure;
  absl::Duration gone_for;
  // Other spaces that hold a chunk of that key.
  std::vector<SpaceHandle> elsewhere;
};

struct Reservation {
  SessionId session;
  SpaceHandle space = 0;
  KeyHash key, parent;
  uint32_t depth = 0;
  Part part;
  uint64_t offset = 0, bytes = 0;
  uint32_t block = 0;
  MonotonicTime deadline;
  absl::Duration ttl = absl::InfiniteDuration();
  bool pin = false;
  uint8_t category = 0;
  bool is_void = false;  // its deadline passed or its session was revoked: it can't be committed
};

struct CoreStats {
  uint64_t data_bytes = 0, backed_bytes = 0, free_bytes = 0, largest_free_bytes = 0;
  uint64_t used_bytes = 0, pinned_bytes = 0, reserved_bytes = 0;
  uint64_t chunks = 0;
  uint64_t sessions = 0, leases = 0, reservations = 0, void_reservations = 0;
  uint64_t reserve_no_space = 0, expired_reservations = 0;
  uint64_t reserve_refused = 0, reserve_over_quota = 0;
  uint64_t hints_accepted = 0, hints_clipped = 0, hints_refused = 0;  // chunks
  uint64_t explain_records = 0, explain_overwritten = 0;
  struct Group {
    std::string tenant;  // empty: all without quotas
    uint64_t memory_bytes = 0, disk_bytes = 0, kept_bytes = 0;
    uint64_t memory_guaranteed = 0, memory_ceiling = 0;  // ceiling 0: none
    PolicyCounters policy;
  };
  std::vector<Group> groups;
  uint64_t demoting_bytes = 0, loading_bytes = 0, ready_bytes = 0;
  uint64_t arriving_bytes = 0, arrivals = 0;            // from other nodes; the latter are chunks
  uint64_t disk_loads = 0, disk_loads_failed = 0;       // chunks
  absl::Duration disk_load_time;                        // of a chunk, smoothed; zero: none yet
  uint64_t refused_admission = 0;                       // chunks that were not worth a write
  uint64_t demotions = 0, dropped_before_demotion = 0;  // chunks; the latter were not saved in time
  uint64_t shortened_chunks = 0, shortened_bytes = 0;   // lost their finest levels; saved by it
  uint64_t moved_bytes = 0;                             // within the arena, of such chunks
  std::array<uint64_t, kRemovalCauses> removed_chunks{};
};

}  // namespace larder
