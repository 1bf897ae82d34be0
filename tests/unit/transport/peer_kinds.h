// The kinds of peer transport that the contract tests run on.
#pragma once

#include <array>
#include <memory>

#include "transport/peer/memory_network.h"

namespace larder {

enum class PeerKind : uint8_t { kMemory };
inline constexpr std::array kPeerKinds = {PeerKind::kMemory};

inline absl::string_view PeerKindName(PeerKind) { return "memory"; }

// Where nodes of one kind live.
class PeerWorld {
 public:
  explicit PeerWorld(PeerKind) {}

  // Not OK, saying why, where this kind cannot run.
  absl::Status Permitted() const { return absl::OkStatus(); }

  absl::StatusOr<std::unique_ptr<PeerTransport>> Start(const PeerTransportOptions& options,
                                                       PeerMemory memory, PeerHandler* handler) {
    return network_.Join(options, memory, handler);
  }

 private:
  MemoryNetwork network_;
};

}  // namespace larder
