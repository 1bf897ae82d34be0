// What has come into a window, checked before anybody sees it.
#pragma once

#include <cstdint>
#include <optional>
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

// Sums bytes as they come into a window, while they are in the cache, as far as they come in order
// and belong to one container at the window's beginning, which is the common case. Finish sums the
// rest. For a thread that may take the time; not thread-safe.
class ArrivalCheck {
 public:
  // `room` is the window's memory.
  explicit ArrivalCheck(std::span<const uint8_t> room) : room_(room) {}

  // Bytes [offset, offset + bytes) of the room are there.
  void OnLanded(uint64_t offset, uint64_t bytes);
  // All bytes are there.
  CheckedArrival Finish(const PeerFetched& fetched) const;

 private:
  absl::Status VerifyRest(const ContainerView& container, const FetchedPart& part) const;

  const std::span<const uint8_t> room_;
  uint64_t landed_end_ = 0;            // all before it are there
  std::optional<ContainerView> view_;  // of the first container, when its planes' places are known
  bool given_up_ = false;
  size_t verified_ = 0;  // of its entries
};

}  // namespace larder
