// The kinds of peer transport that the contract tests run on.
#pragma once

#include <array>
#include <memory>

#include "transport/peer/memory_network.h"
#include "transport/peer/peer_io.h"
#include "transport/peer/tcp_transport.h"

namespace larder {

enum class PeerKind : uint8_t { kMemory, kEpoll, kUring };
inline constexpr std::array kPeerKinds = {PeerKind::kMemory, PeerKind::kEpoll, PeerKind::kUring};
inline constexpr std::array kTcpKinds = {PeerKind::kEpoll, PeerKind::kUring};

inline absl::string_view PeerKindName(PeerKind kind) {
  switch (kind) {
    case PeerKind::kMemory:
      return "memory";
    case PeerKind::kEpoll:
      return "epoll";
    case PeerKind::kUring:
      return "uring";
  }
  return "unknown";
}

// Where nodes of one kind live.
class PeerWorld {
 public:
  explicit PeerWorld(PeerKind kind) : kind_(kind) {}

  // Not OK, saying why, where this kind cannot run.
  absl::Status Permitted() const {
    return kind_ == PeerKind::kUring ? MakeUringPeerIo().status() : absl::OkStatus();
  }

  absl::StatusOr<std::unique_ptr<PeerTransport>> Start(PeerTransportOptions options,
                                                       PeerMemory memory, PeerHandler* handler) {
    if (kind_ == PeerKind::kMemory) return network_.Join(options, memory, handler);
    options.engine = kind_ == PeerKind::kUring ? PeerEngine::kUring : PeerEngine::kEpoll;
    options.send_file = kind_ == PeerKind::kEpoll;  // So that both ways are tried.
    return StartTcpTransport(options, memory, handler);
  }

 private:
  const PeerKind kind_;
  MemoryNetwork network_;
};

}  // namespace larder
