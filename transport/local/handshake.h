// How a client and the daemon meet on the Unix socket and come away with a channel each.
//
// The client sends Hello; the daemon answers Welcome with the arena's descriptor and, if rings are
// wanted and offered, those of the rings; or it answers Refused. With rings the socket afterwards
// carries nothing: it stays open so that each side notices the other's death.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "common/clock.h"
#include "common/file_descriptor.h"
#include "common/status.h"
#include "transport/local/channel.h"
#include "transport/local/handshake_message.h"
#include "transport/local/ring_channel.h"

namespace larder {

struct ConnectOptions {
  std::string client_name = {};
  // False: plain frames on the socket, for processes that cannot share memory with the daemon.
  bool wants_rings = true;
  ChannelOptions channel = {};
};

struct ClientHandshake {
  std::unique_ptr<Channel> channel;
  // The same channel when it has rings, for heartbeats and revocation; null otherwise.
  RingChannel* rings = nullptr;
  Welcome welcome;
  // The arena's file, which has at least welcome.arena_data_bytes.
  FileDescriptor arena;
};

// The client's side, blocking until `deadline`. Besides what UnixConnect says: the daemon's own
// status when it refuses, DATA_LOSS or INVALID_ARGUMENT when its answer makes no sense.
absl::StatusOr<ClientHandshake> ConnectLocal(const std::string& path, const ConnectOptions& options,
                                             MonotonicTime deadline);

// The daemon's side, called by its event loop when an accepted connection is readable; never
// blocks. A packet is whole or not there, so that nobody can dribble; the loop itself decides how
// long it leaves a silent connection open.
//
// The Hello, or nothing when none is there yet. Any error: refuse or drop the connection.
absl::StatusOr<std::optional<Hello>> ReceiveHello(const FileDescriptor& socket);

struct ServerSession {
  std::unique_ptr<Channel> channel;
  RingChannel* rings = nullptr;  // as ClientHandshake
};

// Answers `hello`. `offer` says what the daemon grants; its version is chosen here, and its ring
// sizes count only if the client wants rings. Borrows `arena`. After an error the client has been
// told why, as far as possible, and the connection is closed.
absl::StatusOr<ServerSession> AcceptHello(FileDescriptor socket, const Hello& hello, Welcome offer,
                                          const FileDescriptor& arena,
                                          const ChannelOptions& options);

// Tells the client why it gets no session; best effort. REQUIRES: `why` is not OK.
void RefuseConnection(const FileDescriptor& socket, const absl::Status& why);

}  // namespace larder
