// The chunks of the simulation: conversations that share prefixes. What a chunk holds follows from
// its number, so that wrong bytes are known wherever they turn up.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "daemon/core/core_types.h"
#include "kernels/format/container.h"

namespace larder {

inline constexpr uint32_t kSimSpaces = 2;
inline constexpr uint32_t kSimConversations = 24;
inline constexpr uint32_t kSimDepth = 12;

// One chunk: the conversation's one at that depth. Some conversations begin like others.
struct SimChunk {
  uint32_t space = 0;
  uint32_t conversation = 0;
  uint32_t depth = 0;

  friend bool operator==(const SimChunk&, const SimChunk&) = default;
};

SpaceDescription SimSpace(uint32_t space);
// The first `count` chunks of a conversation; those that it shares are the other conversation's.
std::vector<SimChunk> SimPrefix(uint32_t space, uint32_t conversation, uint32_t count);
// Every chunk there can be.
std::vector<SimChunk> AllSimChunks();

uint64_t NumberOf(const SimChunk& chunk);
KeyHash KeyOf(const SimChunk& chunk);
// Zero: it has none.
KeyHash ParentOf(const SimChunk& chunk);
// The chunk in so many parts, from one to as many as there are layers.
std::vector<Part> PartsOf(const SimChunk& chunk, uint32_t parts);

// Writes the container of a part; `memory` has exactly its bytes.
void WriteSimContainer(const SimChunk& chunk, const SpaceId& space, const Part& part,
                       std::span<uint8_t> memory);
// What is wrong with the container; empty: nothing.
std::string CheckSimContainer(const SimChunk& chunk, const SpaceId& space, const Part& part,
                              std::span<const uint8_t> memory);

}  // namespace larder
