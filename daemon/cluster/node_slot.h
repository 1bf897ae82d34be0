// How the pure parts of the cluster name nodes: by small numbers.
#pragma once

#include <cstddef>
#include <cstdint>

namespace larder {

// A member's number in this node's own tables, below kNodesMax; other nodes know nothing of it.
using NodeSlot = uint16_t;
inline constexpr size_t kNodesMax = 1024;

// In which tiers a node holds a chunk.
inline constexpr uint8_t kTierMemory = 1;
inline constexpr uint8_t kTierDisk = 2;

}  // namespace larder
