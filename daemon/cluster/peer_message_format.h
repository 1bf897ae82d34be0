// The messages that nodes of a cluster send each other over the peer transport.
// docs/formats/cluster_messages.md describes them; everything is little-endian.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/ids.h"

namespace larder {

enum class PeerMessageKind : uint16_t {
  kFetch = 1,    // write these chunks into my windows
  kFetched = 2,  // one of them is there, or why not
  kRelease = 3,  // the windows are done with, whatever came
  kOffer = 4,    // fetch copies of these from me
  kOffered = 5,  // what became of it
  kLocate = 6,   // who holds these?
  kLocated = 7,
  kProbe = 8,  // say something; a header alone
  kAlive = 9,  // the answer; a header alone
};

struct PeerMessageHeader {
  uint16_t kind;
  uint16_t reserved;  // zero
  uint32_t count;     // items that follow the message's own fields
};
static_assert(sizeof(PeerMessageHeader) == 8);

// Bound on `count`.
inline constexpr uint32_t kPeerItemsMax = 1024;

// Followed by count FetchItems.
struct FetchMessage {
  PeerMessageHeader header;
  SpaceId space;
  uint32_t granule_bytes;  // each container begins at a multiple of it in the window
  uint32_t deadline_ms;    // from now; what is not there by then is not wanted
};
static_assert(sizeof(FetchMessage) == 32);

struct FetchItem {
  KeyHash key;
  uint64_t window;
  uint64_t window_bytes;
};
static_assert(sizeof(FetchItem) == 32);

enum class FetchResultCode : uint32_t {
  kWritten = 0,  // count FetchedParts follow; the message comes after their bytes
  kGone = 1,     // not here when this node's log of events ended at `bytes_or_log_end`
  kResized = 2,  // does not fit the window: `bytes_or_log_end` bytes would
  kBusy = 3,     // too much to do, or still on its way from disk at the deadline
};

struct FetchedMessage {
  PeerMessageHeader header;
  uint64_t window;
  uint32_t code;      // FetchResultCode
  uint32_t reserved;  // zero
  uint64_t bytes_or_log_end;
  uint64_t ttl_ms;  // of the chunk, from now; 0: for ever
};
static_assert(sizeof(FetchedMessage) == 40);

// One container in the window.
struct FetchedPart {
  uint64_t offset;
  uint64_t bytes;
};
static_assert(sizeof(FetchedPart) == 16);

// Followed by count windows (u64).
struct ReleaseMessage {
  PeerMessageHeader header;
};
static_assert(sizeof(ReleaseMessage) == 8);

// Followed by tenant, salt and serialised manifest of the space, and then count OfferItems, a
// prefix's beginning first.
struct OfferMessage {
  PeerMessageHeader header;
  uint32_t deadline_ms;  // from now
  uint32_t tenant_bytes;
  uint32_t salt_bytes;
  uint32_t manifest_bytes;
};
static_assert(sizeof(OfferMessage) == 24);

struct OfferItem {
  uint64_t offer;  // the sender's number, for the answer
  KeyHash key;
  uint32_t pages;     // of 4096 bytes: its containers, each rounded up
  uint32_t reserved;  // zero
};
static_assert(sizeof(OfferItem) == 32);

// Followed by count OfferedItems.
struct OfferedMessage {
  PeerMessageHeader header;
};
static_assert(sizeof(OfferedMessage) == 8);

enum class OfferAnswerCode : uint32_t {
  kTaken = 0,    // it is here now
  kHeld = 1,     // it was before
  kRefused = 2,  // not wanted
  kFailed = 3,   // did not come
};

struct OfferedItem {
  uint64_t offer;
  uint32_t answer;    // OfferAnswerCode
  uint32_t reserved;  // zero
};
static_assert(sizeof(OfferedItem) == 16);

// Followed by count KeyHashes, at most kLocateKeysMax.
struct LocateMessage {
  PeerMessageHeader header;
  SpaceId space;
  uint64_t question;  // the sender's number, for the answer
};
static_assert(sizeof(LocateMessage) == 32);

// Followed by count LocatedItems: for each key that was asked for at most kLocatedHoldersMax, none
// for one that nobody holds.
struct LocatedMessage {
  PeerMessageHeader header;
  uint64_t question;
  uint32_t partial;   // 1: the sender does not know yet what all nodes hold; else 0
  uint32_t reserved;  // zero
};
static_assert(sizeof(LocatedMessage) == 24);

inline constexpr size_t kLocatedHoldersMax = 4;
// Keys in a question, so that the answer's items are not too many.
inline constexpr size_t kLocateKeysMax = kPeerItemsMax / kLocatedHoldersMax;

struct LocatedItem {
  uint32_t key;  // its position in the question
  uint32_t pages;
  uint8_t tiers;
  uint8_t name_bytes;
  uint8_t reserved[6];
  char name[64];  // of the node
};
static_assert(sizeof(LocatedItem) == 80);

}  // namespace larder
