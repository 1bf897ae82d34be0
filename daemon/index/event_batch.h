// Events as bytes for other nodes, and back. Stateless, thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/status.h"
#include "daemon/index/chunk_event.h"

namespace larder {

// Nothing for no events. REQUIRES: at most kEventBatchEventsMax events, of tiers within kTiersAll;
// those that say that a chunk is gone have no pages.
std::string EncodeEvents(std::span<const ChunkEvent> events);

// INVALID_ARGUMENT with the first thing that is wrong; nothing is believed then.
absl::StatusOr<std::vector<ChunkEvent>> DecodeEvents(absl::string_view bytes);

}  // namespace larder
