#include "transport/local/socket.h"

#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

// Between two attempts to connect to a listener whose backlog is full.
constexpr absl::Duration kConnectPause = absl::Milliseconds(1);

// The buffer for a group's entry; a group with a longer member list cannot be named.
constexpr size_t kGroupEntryBytesMax = 1024 * 1024;

absl::StatusOr<sockaddr_un> SocketAddress(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("a socket path must be neither empty nor contain NUL");
  }
  if (path.size() >= sizeof address.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("socket path '", path, "' has ", path.size(),
                                                   " bytes, the system allows ",
                                                   sizeof address.sun_path - 1));
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

absl::StatusOr<FileDescriptor> NewSocket() {
  FileDescriptor fd(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoStatus(errno, "creating a socket");
  return fd;
}

// 0 or an errno value.
int Bind(const FileDescriptor& fd, const sockaddr_un& address) {
  return bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0
                                                                                          : errno;
}

int Connect(const FileDescriptor& fd, const sockaddr_un& address) {
  return connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0
             ? 0
             : errno;
}

// Removes the socket at `path` if nobody answers there.
absl::Status RemoveStaleSocket(const std::string& path, const sockaddr_un& address) {
  struct stat stat_buffer;
  if (lstat(path.c_str(), &stat_buffer) != 0) {
    return ErrnoStatus(errno, absl::StrCat("looking at ", path));
  }
  if (!S_ISSOCK(stat_buffer.st_mode)) {
    return absl::AlreadyExistsError(absl::StrCat(path, " exists and is not a socket"));
  }
  ASSIGN_OR_RETURN(const FileDescriptor probe, NewSocket());
  const int error_number = Connect(probe, address);
  if (error_number != ECONNREFUSED) {
    return absl::AlreadyExistsError(absl::StrCat(
        "another process listens at ", path,
        " (connecting to it: ", error_number == 0 ? "accepted" : std::strerror(error_number), ")"));
  }
  if (unlink(path.c_str()) != 0 && errno != ENOENT) {
    return ErrnoStatus(errno, absl::StrCat("removing the stale socket ", path));
  }
  return absl::OkStatus();
}

absl::StatusOr<gid_t> FindGroup(const std::string& name) {
  group entry;
  group* found = nullptr;
  std::vector<char> buffer(4096);
  int error_number = getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  while (error_number == ERANGE && buffer.size() < kGroupEntryBytesMax) {
    buffer.resize(buffer.size() * 2);
    error_number = getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  }
  if (error_number != 0) {
    return ErrnoStatus(error_number, absl::StrCat("looking up group '", name, "'"));
  }
  if (found == nullptr) {
    return absl::NotFoundError(absl::StrCat("there is no group '", name, "' for the socket"));
  }
  return entry.gr_gid;
}

absl::Status SetPermissions(const UnixListenerOptions& options) {
  if (!options.group.empty()) {
    ASSIGN_OR_RETURN(const gid_t group_id, FindGroup(options.group));
    if (lchown(options.path.c_str(), static_cast<uid_t>(-1), group_id) != 0) {
      return ErrnoStatus(errno,
                         absl::StrCat("giving ", options.path, " to group '", options.group, "'"));
    }
  }
  if (chmod(options.path.c_str(), options.mode) != 0) {
    return ErrnoStatus(errno, absl::StrCat("setting the permissions of ", options.path));
  }
  return absl::OkStatus();
}

// Collects every descriptor of a received message, so that none is left open unowned.
std::vector<FileDescriptor> TakeDescriptors(msghdr* message) {
  std::vector<FileDescriptor> descriptors;
  for (cmsghdr* control = CMSG_FIRSTHDR(message); control != nullptr;
       control = CMSG_NXTHDR(message, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof fd, sizeof fd);
      descriptors.emplace_back(fd);
    }
  }
  return descriptors;
}

// Receives once more after ECONNRESET: the kernel reports a peer that left unread packets behind
// before it hands out what that peer had sent.
ssize_t ReceiveMessage(const FileDescriptor& socket, msghdr* message) {
  const size_t control_bytes = message->msg_controllen;
  ssize_t received = recvmsg(socket.get(), message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (received < 0 && errno == ECONNRESET) {
    message->msg_controllen = control_bytes;
    received = recvmsg(socket.get(), message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  }
  return received;
}

}  // namespace

absl::StatusOr<UnixListener> UnixListener::Listen(const UnixListenerOptions& options) {
  ASSIGN_OR_RETURN(const sockaddr_un address, SocketAddress(options.path));
  ASSIGN_OR_RETURN(FileDescriptor socket, NewSocket());
  int error_number = Bind(socket, address);
  if (error_number == EADDRINUSE) {
    RETURN_IF_ERROR(RemoveStaleSocket(options.path, address));
    error_number = Bind(socket, address);
  }
  if (error_number != 0) {
    return ErrnoStatus(error_number, absl::StrCat("binding a socket to ", options.path));
  }
  struct stat stat_buffer;
  if (lstat(options.path.c_str(), &stat_buffer) != 0) {
    return ErrnoStatus(errno, absl::StrCat("looking at ", options.path));
  }
  UnixListener listener(std::move(socket), options.path, stat_buffer.st_dev, stat_buffer.st_ino);
  // Before listen() every attempt to connect is refused, so there is no moment with wrong rights.
  RETURN_IF_ERROR(SetPermissions(options));
  if (listen(listener.fd(), kListenBacklogMax) != 0) {
    return ErrnoStatus(errno, absl::StrCat("listening at ", options.path));
  }
  return listener;
}

UnixListener::~UnixListener() {
  if (!socket_) return;
  struct stat stat_buffer;
  if (lstat(path_.c_str(), &stat_buffer) == 0 && stat_buffer.st_dev == device_ &&
      stat_buffer.st_ino == inode_) {
    unlink(path_.c_str());
  }
}

absl::StatusOr<std::optional<UnixConnection>> UnixListener::Accept() const {
  FileDescriptor socket(accept4(fd(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!socket) {
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return std::nullopt;
    return ErrnoStatus(errno, absl::StrCat("accepting a connection at ", path_));
  }
  ucred credentials;
  socklen_t credentials_bytes = sizeof credentials;
  if (getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &credentials_bytes) != 0) {
    return ErrnoStatus(errno, "reading a peer's credentials");
  }
  return UnixConnection{
      .socket = std::move(socket),
      .peer = {
          .process_id = credentials.pid, .user_id = credentials.uid, .group_id = credentials.gid}};
}

absl::StatusOr<FileDescriptor> UnixConnect(const std::string& path, MonotonicTime deadline) {
  ASSIGN_OR_RETURN(const sockaddr_un address, SocketAddress(path));
  ASSIGN_OR_RETURN(FileDescriptor socket, NewSocket());
  while (true) {
    const int error_number = Connect(socket, address);
    if (error_number == 0) return socket;
    const std::string what = absl::StrCat("connecting to ", path);
    if (error_number == ECONNREFUSED || error_number == ENOENT) {
      return absl::UnavailableError(absl::StrCat(what, ": ", std::strerror(error_number)));
    }
    if (error_number != EAGAIN && error_number != EINTR) return ErrnoStatus(error_number, what);
    if (SystemClock::Get().Now() >= deadline) {
      return absl::DeadlineExceededError(absl::StrCat(what, ": too many others wait there"));
    }
    absl::SleepFor(kConnectPause);
  }
}

absl::Status SendWithDescriptors(const FileDescriptor& socket, std::span<const uint8_t> bytes,
                                 std::span<const int> descriptors) {
  if (descriptors.size() > kDescriptorsPerPacketMax) {
    return absl::InvalidArgumentError(absl::StrCat(
        descriptors.size(), " descriptors in one packet, allowed are ", kDescriptorsPerPacketMax));
  }
  iovec part = {const_cast<uint8_t*>(bytes.data()), bytes.size()};
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(kDescriptorsPerPacketMax * sizeof(int))] = {};
  if (!descriptors.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size_bytes());
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size_bytes());
  }
  if (sendmsg(socket.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return absl::OkStatus();
  return SocketSendStatus(errno, bytes.size());
}

absl::Status SocketSendStatus(int error_number, size_t packet_bytes) {
  const std::string what = absl::StrCat("sending a packet of ", packet_bytes, " bytes");
  switch (error_number) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
    case EINTR:
      return absl::ResourceExhaustedError(absl::StrCat(what, ": no room in the socket"));
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
      return absl::UnavailableError(absl::StrCat(what, ": the peer is gone"));
    default:
      return ErrnoStatus(error_number, what);
  }
}

absl::StatusOr<std::optional<ReceivedPacket>> ReceiveWithDescriptors(const FileDescriptor& socket,
                                                                     std::span<uint8_t> buffer,
                                                                     size_t descriptors_max) {
  iovec part = {buffer.data(), buffer.size()};
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(kDescriptorsPerPacketMax * sizeof(int))];
  msghdr message = {};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  // Without room for descriptors the kernel installs none.
  message.msg_control = descriptors_max > 0 ? control : nullptr;
  message.msg_controllen = descriptors_max > 0 ? sizeof control : 0;
  const ssize_t received = ReceiveMessage(socket, &message);
  if (received < 0) {
    if (errno == EAGAIN || errno == EINTR) return std::nullopt;
    if (errno == ECONNRESET) return absl::UnavailableError("the peer has reset the connection");
    return ErrnoStatus(errno, "receiving a packet");
  }
  ReceivedPacket packet = {.packet_bytes = static_cast<size_t>(received),
                           .descriptors = TakeDescriptors(&message)};
  if (received == 0) return absl::UnavailableError("the peer has closed the connection");
  if ((message.msg_flags & MSG_TRUNC) != 0) {
    return absl::DataLossError(
        absl::StrCat("a packet is larger than the ", buffer.size(), " bytes allowed"));
  }
  if ((message.msg_flags & MSG_CTRUNC) != 0 || packet.descriptors.size() > descriptors_max) {
    return absl::DataLossError(
        absl::StrCat("a packet brings more than the ", descriptors_max, " descriptors allowed"));
  }
  return packet;
}

}  // namespace larder
