// What the parts of the index benchmark share.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "daemon/index/global_index.h"
#include "tools/bench/index.h"
#include "tools/bench/micro.h"

namespace larder {

inline constexpr uint64_t kIndexPrefixChunks = 1000;
inline constexpr uint64_t kIndexNodes = 8;

inline uint64_t ScatteredBits(uint64_t number) {
  number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9u;
  number = (number ^ (number >> 27)) * 0x94d049bb133111ebu;
  return number ^ (number >> 31);
}
inline SpaceId IndexBenchSpace() { return {.low = 1, .high = 2}; }
inline KeyHash IndexBenchKey(uint64_t number) {
  return {.low = ScatteredBits(2 * number + 1), .high = ScatteredBits(2 * number + 2)};
}
inline ChunkEvent IndexBenchEvent(uint64_t number, uint8_t tiers = kTierMemory) {
  return {.space = IndexBenchSpace(),
          .key = IndexBenchKey(number),
          .pages = tiers == 0 ? 0u : 1024u,
          .tiers = tiers};
}

// A node with options.entries chunks on a server of this process, and one that begins to follow it.
absl::Status MeasureFollowerSync(const IndexBenchOptions& options, MicroReport* report);

}  // namespace larder
