// The peer transport over TCP: one thread with io_uring or epoll, several connections per peer.
#pragma once

#include <memory>

#include "transport/peer/peer_transport.h"

namespace larder {

// INVALID_ARGUMENT for bad options; UNAVAILABLE and the like when the address cannot be listened
// on; PERMISSION_DENIED or UNIMPLEMENTED when io_uring was asked for and is not to be had.
// `handler` outlives the transport.
absl::StatusOr<std::unique_ptr<PeerTransport>> StartTcpTransport(
    const PeerTransportOptions& options, PeerMemory memory, PeerHandler* handler);

}  // namespace larder
