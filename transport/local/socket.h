// Unix sockets of whole packets (SOCK_SEQPACKET): listening, connecting, passing descriptors.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/clock.h"
#include "common/file_descriptor.h"
#include "common/status.h"

namespace larder {

// Descriptors in one packet; a packet with more is refused whole.
inline constexpr size_t kDescriptorsPerPacketMax = 8;

// Connections that wait to be accepted; the kernel refuses or delays more.
inline constexpr int kListenBacklogMax = 1024;

// Who is at the other end, as the kernel knew when the connection was made.
struct PeerCredentials {
  pid_t process_id = 0;
  uid_t user_id = 0;
  gid_t group_id = 0;
};

struct UnixConnection {
  FileDescriptor socket;  // non-blocking, close-on-exec
  PeerCredentials peer;
};

struct UnixListenerOptions {
  std::string path = {};
  // Who may connect: a process needs write permission on the socket.
  mode_t mode = 0600;
  // Name of the group that the socket belongs to; empty leaves the process's own.
  std::string group = {};
};

// Owns a listening socket and its name in the file system, which it removes at the end if it still
// is its own. Not thread-safe.
class UnixListener {
 public:
  // A socket that nobody answers at is replaced; ALREADY_EXISTS when somebody does, or when the
  // path is something else than a socket. Two processes that start at the same moment are not told
  // apart here: the lock of the arena does that. The permissions are set before anybody can
  // connect.
  static absl::StatusOr<UnixListener> Listen(const UnixListenerOptions& options);

  UnixListener(UnixListener&&) = default;
  UnixListener& operator=(UnixListener&&) = delete;
  ~UnixListener();

  // The next connection, or nothing when none waits. Never blocks.
  absl::StatusOr<std::optional<UnixConnection>> Accept() const;

  // Polls readable when a connection waits.
  int fd() const { return socket_.get(); }

 private:
  UnixListener(FileDescriptor socket, std::string path, dev_t device, ino_t inode)
      : socket_(std::move(socket)), path_(std::move(path)), device_(device), inode_(inode) {}

  FileDescriptor socket_;
  std::string path_;
  dev_t device_;
  ino_t inode_;
};

// Connects to `path`; the socket is non-blocking. UNAVAILABLE when nobody listens there,
// DEADLINE_EXCEEDED when the listener has accepted nobody in time.
absl::StatusOr<FileDescriptor> UnixConnect(const std::string& path, MonotonicTime deadline);

// Sends one packet, never blocks. RESOURCE_EXHAUSTED without room, UNAVAILABLE when the peer is
// gone, INVALID_ARGUMENT for more than kDescriptorsPerPacketMax descriptors. Borrows them.
absl::Status SendWithDescriptors(const FileDescriptor& socket, std::span<const uint8_t> bytes,
                                 std::span<const int> descriptors);

// The status for an errno of sendmsg on such a socket, as SendWithDescriptors describes.
absl::Status SocketSendStatus(int error_number, size_t packet_bytes);

struct ReceivedPacket {
  size_t packet_bytes = 0;
  std::vector<FileDescriptor> descriptors;  // close-on-exec
};

// Receives one packet into `buffer`, or nothing when none is there; never blocks. UNAVAILABLE when
// the peer is gone. DATA_LOSS when the packet is larger than `buffer` or brings more than
// `descriptors_max` descriptors (at most kDescriptorsPerPacketMax); all of them are then closed.
absl::StatusOr<std::optional<ReceivedPacket>> ReceiveWithDescriptors(const FileDescriptor& socket,
                                                                     std::span<uint8_t> buffer,
                                                                     size_t descriptors_max);

}  // namespace larder
