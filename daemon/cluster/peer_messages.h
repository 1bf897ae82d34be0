// Reads and writes the messages of peer_message_format.h.
//
// What comes in is hostile: a reader returns a message only when every length and count in it is
// in bounds; INVALID_ARGUMENT says what is not.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "daemon/cluster/peer_message_format.h"
#include "daemon/core/core_types.h"

namespace larder {

struct PeerFetch {
  SpaceId space;
  uint32_t granule_bytes = 0;
  uint32_t deadline_ms = 0;
  std::vector<FetchItem> items;
};

struct PeerFetched {
  uint64_t window = 0;
  FetchResultCode code = FetchResultCode::kGone;
  uint64_t bytes_or_log_end = 0;
  uint64_t ttl_ms = 0;
  std::vector<FetchedPart> parts = {};
};

struct PeerOffer {
  uint32_t deadline_ms = 0;
  SpaceDescription space;
  std::vector<OfferItem> items;
};

struct PeerLocate {
  SpaceId space;
  uint64_t question = 0;
  std::vector<KeyHash> keys;
};

struct PeerLocated {
  struct Item {
    uint32_t key = 0;  // its position in the question
    uint32_t pages = 0;
    uint8_t tiers = 0;
    std::string node;
  };
  uint64_t question = 0;
  bool partial = false;  // a chunk without items may be held all the same
  std::vector<Item> items;
};

// What kind of message it is.
absl::StatusOr<PeerMessageKind> KindOf(std::span<const uint8_t> message);

absl::StatusOr<PeerFetch> ReadFetch(std::span<const uint8_t> message);
absl::StatusOr<PeerFetched> ReadFetched(std::span<const uint8_t> message);
absl::StatusOr<std::vector<uint64_t>> ReadRelease(std::span<const uint8_t> message);
absl::StatusOr<PeerOffer> ReadOffer(std::span<const uint8_t> message);
absl::StatusOr<std::vector<OfferedItem>> ReadOffered(std::span<const uint8_t> message);
absl::StatusOr<PeerLocate> ReadLocate(std::span<const uint8_t> message);
absl::StatusOr<PeerLocated> ReadLocated(std::span<const uint8_t> message);
// kProbe and kAlive, which say nothing but their kind.
absl::Status CheckProbe(std::span<const uint8_t> message);

// REQUIRES of all of them: at most kPeerItemsMax items.
std::vector<uint8_t> WriteMessage(const PeerFetch& message);
std::vector<uint8_t> WriteMessage(const PeerFetched& message);
std::vector<uint8_t> WriteRelease(std::span<const uint64_t> windows);
std::vector<uint8_t> WriteMessage(const PeerOffer& message);
std::vector<uint8_t> WriteOffered(std::span<const OfferedItem> items);
std::vector<uint8_t> WriteMessage(const PeerLocate& message);
std::vector<uint8_t> WriteMessage(const PeerLocated& message);
std::vector<uint8_t> WriteProbe(PeerMessageKind kind);

}  // namespace larder
