// What a caller says of stored chunks beforehand, and what comes of it.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/time/time.h"

namespace larder {

enum class ChunkPriority : uint8_t { kLow, kNormal, kHigh };

// Hints are requests. What they ask for is bounded in time and in bytes, so that they cannot starve
// others: whatever is kept for a hint shares a part of what its tenant may have.
struct Hints {
  // Stay for so long, unless nothing else of the tenant can go (a soft pin).
  std::optional<absl::Duration> keep = {};
  // It will be used again in about so long: stay until then and a bit.
  std::optional<absl::Duration> next_use = {};
  // It won't be used again: leave first, until somebody uses it all the same.
  bool no_next_use = false;
  // Its session has ended: the same for the end of the prefix that no other session shares.
  bool session_end = false;
  // Expire after so long, if it would not sooner.
  std::optional<absl::Duration> ttl = {};
  // Low: leave before others. High: stay for two minutes after each use, as with `keep`.
  std::optional<ChunkPriority> priority = {};
  // Stay until unpinned, whatever comes (a hard pin).
  bool pin = false;
};

// Of how many chunks which answer was given: for each the least favourable of those to its hints.
struct HintReport {
  uint32_t found = 0;
  uint32_t accepted = 0;
  uint32_t clipped = 0;  // kept, but not for as long as was asked
  uint32_t refused = 0;  // the tenant's share for hints is in use, or pins have theirs
};

struct HintOptions {
  // The longest time that a hint keeps a chunk.
  absl::Duration keep_max = absl::Minutes(10);
  // Kept chunks may take this share of what their tenant is sure of (of the arena without quotas).
  double kept_fraction_max = 0.25;
};

}  // namespace larder
