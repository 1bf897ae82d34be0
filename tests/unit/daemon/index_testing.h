// Names and events for the tests of the global index.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <tuple>
#include <utility>
#include <vector>

#include "common/hash.h"
#include "common/ids.h"
#include "daemon/index/global_index.h"

namespace larder {

inline SpaceId SpaceOf(uint64_t number) { return {.low = number + 1, .high = 77}; }

inline KeyHash KeyOf(uint64_t number) {
  const Hash128 hash =
      HashBytes({reinterpret_cast<const uint8_t*>(&number), sizeof number}, /*seed=*/5);
  return {.low = hash.low, .high = hash.high};
}

inline ChunkEvent Held(uint64_t key, uint8_t tiers = kTierMemory, uint32_t pages = 1) {
  return {.space = SpaceOf(0), .key = KeyOf(key), .pages = pages, .tiers = tiers};
}
inline ChunkEvent Gone(uint64_t key) { return Held(key, 0, 0); }

inline std::unique_ptr<GlobalIndex> MakeIndex(size_t entries_max, uint64_t seed = 9) {
  return GlobalIndex::Create({.entries_max = entries_max, .seed = seed}).value();
}

// The nodes that hold a key, in ascending order.
inline std::map<NodeSlot, uint8_t> HoldersOf(const GlobalIndex& index, const SpaceId& space,
                                             const KeyHash& key) {
  FoundChunks found;
  index.Find(space, std::span(&key, 1), /*stop_at_first_unknown=*/false, &found);
  std::map<NodeSlot, uint8_t> holders;
  for (const ChunkHolder& holder : found.HoldersOf(found.chunks.at(0))) {
    holders.emplace(holder.node, holder.tiers);
  }
  return holders;
}

}  // namespace larder
