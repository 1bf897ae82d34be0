// The payloads of operation frames, after the handshake. docs/formats/local_protocol.md lists them;
// everything is little-endian and every struct a multiple of 8 bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "transport/local/frame_format.h"

namespace larder {

// A reply repeats the request's opcode and id. A reply with a status other than OK has the error's
// text as its payload. The operations without a reply are marked.
enum class Opcode : uint16_t {
  kOpenSpace = kFirstOperationOpcode,
  kMatch,
  kAcquire,
  kRelease,  // no reply
  kReserve,
  kCommit,
  kAbort,  // no reply
  kTouch,
  kPin,
  kUnpin,
  kRemove,
  kStats,
  kReportCorrupt,  // no reply
  kHint,
  kReplicate,
};

// Keys (or items, or ids) in one frame; a longer batch is split by the sender.
inline constexpr uint32_t kMessageKeysMax = 4096;
inline constexpr uint32_t kMessageItemsMax = 2048;
inline constexpr uint32_t kTenantBytesMax = 64;
inline constexpr uint32_t kSaltBytesMax = 256;

struct KeyHashMessage {
  uint64_t low;
  uint64_t high;
};
static_assert(sizeof(KeyHashMessage) == 16);

struct PartMessage {
  uint16_t layer_begin;
  uint16_t layer_end;
  uint16_t head_begin;
  uint16_t head_end;
};
static_assert(sizeof(PartMessage) == 8);

// kOpenSpace: followed by tenant, salt and serialised manifest, back to back.
struct OpenSpaceRequest {
  uint32_t tenant_bytes;
  uint32_t salt_bytes;
  uint32_t manifest_bytes;
  uint32_t reserved;
  uint64_t space_id_low;  // what the client computed: the daemon must come to the same
  uint64_t space_id_high;
};
static_assert(sizeof(OpenSpaceRequest) == 32);

// Followed by a note of note_bytes, empty in most cases: how the manifest differs from the one of
// another space of the same tenant and model, the usual cause of unexpected misses.
struct OpenSpaceReply {
  uint32_t space;
  uint32_t note_bytes;
};
static_assert(sizeof(OpenSpaceReply) == 8);

inline constexpr uint32_t kMatchTouches = 1;
inline constexpr uint32_t kMatchPlaces = 2;  // the reply says where each chunk is
inline constexpr uint32_t kMatchLocalOnly = 4;

// kAcquire: brings chunks that are on disk or on other nodes into memory; the reply comes when the
// first one is there, or with kAcquireWaitsForAll all of them, or after wait_ms.
inline constexpr uint32_t kAcquireLoads = 1;
inline constexpr uint32_t kAcquireWaitsForAll = 2;
inline constexpr uint32_t kAcquireLocalOnly = 4;  // other nodes are not asked

// kMatch, kAcquire, kTouch, kPin, kUnpin, kRemove, kReportCorrupt: followed by key_count
// KeyHashMessages.
struct KeysRequest {
  uint32_t space = 0;
  uint32_t key_count = 0;
  uint32_t flags = 0;  // kMatch..., kAcquire...; otherwise zero
  // kAcquire: how long to wait. kMatch: a prefix of fewer chunks is none. Otherwise zero.
  uint32_t wait_ms_or_chunks_min = 0;
  PartMessage part = {};  // kAcquire: what is wanted; otherwise zero
};
static_assert(sizeof(KeysRequest) == 24);

// With kMatchPlaces followed by place_count ChunkPlaceMessages, one a chunk, and node_count
// NodeNameMessages for the nodes that they name.
struct MatchReply {
  uint32_t chunks;
  uint32_t memory_chunks;  // those before the first that has to come from elsewhere
  uint64_t tokens;
  uint64_t bytes;
  uint32_t peer_chunks;  // those that have to come from other nodes, about
  uint16_t place_count;
  uint16_t node_count;
};
static_assert(sizeof(MatchReply) == 32);

inline constexpr uint8_t kPlaceMemory = 0;
inline constexpr uint8_t kPlaceDisk = 1;
inline constexpr uint8_t kPlacePeerMemory = 2;
inline constexpr uint8_t kPlacePeerDisk = 3;

struct ChunkPlaceMessage {
  uint8_t place;  // kPlace...
  uint8_t reserved;
  uint16_t node;          // kPlacePeer...: in the names that follow
  uint32_t predicted_us;  // until it is in this node's memory
};
static_assert(sizeof(ChunkPlaceMessage) == 8);

struct NodeNameMessage {
  uint16_t node;
  uint16_t name_bytes;  // 1 to 64
  uint32_t reserved;
  char name[64];  // the rest is zero
};
static_assert(sizeof(NodeNameMessage) == 72);

// Followed by chunk_count LeasedChunkMessages and extent_count ExtentMessages.
struct AcquireReply {
  uint64_t lease;  // 0 when no chunk is held
  uint32_t chunk_count;
  uint32_t extent_count;
  uint32_t coming_count;  // how many of the next chunks are on their way from disk
  uint32_t reserved;
};
static_assert(sizeof(AcquireReply) == 24);

struct LeasedChunkMessage {
  uint32_t first_extent;
  uint32_t extent_count;
};
static_assert(sizeof(LeasedChunkMessage) == 8);

struct ExtentMessage {
  uint64_t offset;
  uint64_t bytes;
  PartMessage part;
};
static_assert(sizeof(ExtentMessage) == 24);

struct ReleaseRequest {
  uint64_t lease;
};
static_assert(sizeof(ReleaseRequest) == 8);

inline constexpr uint32_t kReservePins = 1;
// The chunks' category is in the flags from this bit on, two bits.
inline constexpr uint32_t kReserveCategoryShift = 8;
inline constexpr uint32_t kReserveCategoryMask = 3u << kReserveCategoryShift;

// Followed by item_count ReserveItemMessages.
struct ReserveRequest {
  uint32_t space;
  uint32_t item_count;
  uint32_t flags;  // kReservePins, category
  uint32_t reserved;
  uint64_t deadline_ms;  // 0: the daemon's longest
  uint64_t ttl_ms;       // 0: none
};
static_assert(sizeof(ReserveRequest) == 32);

struct ReserveItemMessage {
  KeyHashMessage key;
  KeyHashMessage parent;
  uint64_t bytes;
  PartMessage part;
  uint32_t depth;
  uint32_t reserved;
};
static_assert(sizeof(ReserveItemMessage) == 56);

// kReserve's reply is one of these for each item.
struct ReserveOutcomeMessage {
  uint32_t kind;  // ReserveOutcome::Kind
  uint32_t reserved;
  uint64_t reservation;
  uint64_t offset;
};
static_assert(sizeof(ReserveOutcomeMessage) == 24);

// kCommit, kAbort: followed by count u64 reservation ids.
struct ReservationsRequest {
  uint32_t count;
  uint32_t reserved;
};
static_assert(sizeof(ReservationsRequest) == 8);

// kCommit's reply is one u32 absl::StatusCode for each id.

// kTouch, kPin, kUnpin, kRemove: how many of the keys were found.
struct CountReply {
  uint32_t count;
  uint32_t reserved;
};
static_assert(sizeof(CountReply) == 8);

// What a hint says; a duration is there if it is not zero.
inline constexpr uint32_t kHintNoNextUse = 1;
inline constexpr uint32_t kHintSessionEnd = 2;
inline constexpr uint32_t kHintPin = 4;
// The priority, if bit 3 is set, is in bits 8 and 9: 0 low, 1 normal, 2 high.
inline constexpr uint32_t kHintHasPriority = 8;
inline constexpr uint32_t kHintPriorityShift = 8;
inline constexpr uint32_t kHintPriorityMask = 3u << kHintPriorityShift;

// kReplicate: followed by key_count KeyHashMessages. The reply comes when copies are made, or will
// not be, or after wait_ms.
struct ReplicateRequest {
  uint32_t space;
  uint32_t key_count;
  uint32_t copies;   // of each chunk, this node's own included; 0 with a node
  uint32_t wait_ms;  // 0: the reply comes at once
  uint32_t node_bytes;
  uint32_t reserved;
  char node[64];  // that is to hold a copy; the rest is zero
};
static_assert(sizeof(ReplicateRequest) == 88);

// Chunks: whose copies are made or begun, and of these those whose copies are there.
struct ReplicateReply {
  uint32_t accepted;
  uint32_t copied;
};
static_assert(sizeof(ReplicateReply) == 8);

// kHint: followed by key_count KeyHashMessages.
struct HintRequest {
  uint32_t space;
  uint32_t key_count;
  uint32_t flags;
  uint32_t reserved;
  uint64_t keep_ms;
  uint64_t next_use_ms;
  uint64_t ttl_ms;
};
static_assert(sizeof(HintRequest) == 40);

// Chunks: found, and of those the least favourable answer to what was asked for each.
struct HintReply {
  uint32_t found;
  uint32_t accepted;
  uint32_t clipped;
  uint32_t refused;
};
static_assert(sizeof(HintReply) == 16);

// kStats; the request has no payload.
struct StatsReply {
  uint64_t data_bytes;
  uint64_t used_bytes;
  uint64_t pinned_bytes;
  uint64_t reserved_bytes;
  uint64_t chunks;
  uint64_t sessions;
  uint64_t leases;
  uint64_t reservations;
  uint64_t evicted_chunks;
  uint64_t corrupt_chunks;
  // Of the disk tier; zero without one.
  uint64_t disk_chunks;
  uint64_t disk_demoting_bytes;
  uint64_t disk_payload_bytes_written;
  uint64_t disk_device_bytes_written;
  uint64_t disk_loads;
  uint64_t disk_demotions;
};
static_assert(sizeof(StatsReply) == 128);

}  // namespace larder
