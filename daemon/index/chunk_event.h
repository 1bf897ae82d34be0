// What a node tells all others of one of its chunks.
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/ids.h"

namespace larder {

// A member's number in one node's tables; it means nothing to any other node.
using NodeSlot = uint16_t;
inline constexpr size_t kNodesMax = 1024;

// Where a node holds a chunk: any of them, or none.
inline constexpr uint8_t kTierMemory = 1;
inline constexpr uint8_t kTierDisk = 2;
inline constexpr uint8_t kTiersAll = kTierMemory | kTierDisk;

// The whole state of one chunk at one node, so that applying an event twice does no harm.
struct ChunkEvent {
  SpaceId space;
  KeyHash key;
  uint32_t pages = 0;  // of 4096 bytes, of all its containers, each rounded up
  uint8_t tiers = 0;   // 0: the node holds it no more

  friend bool operator==(const ChunkEvent&, const ChunkEvent&) = default;
};

}  // namespace larder
