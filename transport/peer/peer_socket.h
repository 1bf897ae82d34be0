// The stream of bytes beneath the protocol: a TCP socket. It is the place for TLS: once a handshake
// has given the keys to the kernel (kTLS), receiving and sendfile work on the socket as they do
// now.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <span>
#include <string>
#include <vector>

#include "common/file_descriptor.h"
#include "transport/peer/peer_transport.h"

namespace larder {

// A resolved address.
struct SocketAddress {
  sockaddr_storage storage = {};
  socklen_t size = 0;

  // "HOST:PORT" or "[HOST]:PORT"; asks the system's resolver for names, which may take long.
  static absl::StatusOr<SocketAddress> Resolve(const std::string& host_port, bool numeric_only);
  std::string ToString() const;
};

struct SocketOptions {
  absl::Duration user_timeout;
  std::string congestion;
};

// A listening socket; `bound` gets its real address.
absl::StatusOr<FileDescriptor> ListenOn(const SocketAddress& address, SocketAddress* bound);

// Owns one socket, non-blocking. Receiving is done on its descriptor by a PeerIo. Thread-safe when
// only one thread at a time sends.
class PeerSocket {
 public:
  PeerSocket(FileDescriptor fd, const SocketOptions& options);

  // Begins to connect: writable when it has ended, well or not.
  static absl::StatusOr<FileDescriptor> Connect(const SocketAddress& address);
  // UNAVAILABLE when it ended badly.
  absl::Status ConnectResult() const;

  // Sends as much as goes at once: `head`, then `ranges` of the memory. Returns the bytes, or
  // -errno.
  ssize_t Send(std::span<const uint8_t> head, std::span<const MemoryRange> ranges,
               const PeerMemory& memory) const;
  // The same of one range's pages without copying them: they must stay as they are until the peer
  // has taken them.
  ssize_t SendFile(const MemoryRange& range, const PeerMemory& memory) const;
  // A head that SendFile follows.
  ssize_t SendHead(std::span<const uint8_t> head) const;

  void ShutdownSending() const;
  void Shutdown() const;
  int fd() const { return fd_.get(); }

 private:
  FileDescriptor fd_;
};

}  // namespace larder
