// What has come into a window, checked before anybody sees it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "daemon/cluster/peer_messages.h"
#include "kernels/format/container.h"

namespace larder {

// The containers of a kFetched message of code kWritten, in its order.
struct CheckedArrival {
  std::vector<ContainerView> containers;
  std::string problem;  // empty: all are sound, their sums included
};

// Sums every byte, so it is for a thread that may take the time. `room` is the window's memory.
// Thread-safe.
CheckedArrival CheckArrival(std::span<const uint8_t> room, const PeerFetched& fetched);

}  // namespace larder
