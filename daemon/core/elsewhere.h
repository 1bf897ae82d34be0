// What the core asks about chunks that other nodes hold.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "absl/time/time.h"
#include "common/clock.h"
#include "common/ids.h"

namespace larder {

struct PlaceElsewhere {
  uint16_t node = 0;  // a number of this daemon's; the cluster knows its name
  bool on_disk = false;
  absl::Duration predicted;  // until the chunk is here
};

// Answers from memory, at once. Called on the event loop's thread only. Spaces are the core's
// handles (SpaceHandle).
class Elsewhere {
 public:
  virtual ~Elsewhere() = default;

  // How many of `keys`, from the first on, other nodes hold that can be asked.
  virtual size_t CountHeld(uint32_t space, std::span<const KeyHash> keys, MonotonicTime now) = 0;
  // Where the chunk would be fetched from.
  virtual std::optional<PlaceElsewhere> Find(uint32_t space, const KeyHash& key,
                                             MonotonicTime now) = 0;
  // Starts to bring the chunk here, unless it is on its way. False: nobody has it who can be asked
  // now.
  virtual bool Fetch(uint32_t space, const KeyHash& key, MonotonicTime now) = 0;
  // Whether anything is on its way, chunks or answers as to where they are.
  virtual bool fetching() const = 0;
  // Whether the answer is to come where this chunk is; Core::NoteFetchEnded follows. The calls
  // above ask others where that is not known, and answer as if such chunks were nowhere.
  virtual bool IsLocating(uint32_t, const KeyHash&) const { return false; }
};

}  // namespace larder
