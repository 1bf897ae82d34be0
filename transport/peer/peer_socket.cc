#include "transport/peer/peer_socket.h"

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <memory>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/clock.h"

namespace larder {
namespace {

constexpr int kListenBacklog = 128;
// How long an address may still be in use, and between two tries.
constexpr absl::Duration kListenPatience = absl::Seconds(2);
constexpr auto kListenPause = std::chrono::milliseconds(20);
constexpr size_t kSendIovecsMax = 64;

void SetOption(int fd, int level, int option, int value) {
  // Each makes it better and none is needed.
  [[maybe_unused]] const int result = setsockopt(fd, level, option, &value, sizeof value);
}

ssize_t Result(ssize_t moved) { return moved < 0 ? -errno : moved; }

// "HOST:PORT" or "[HOST]:PORT" in two.
absl::StatusOr<std::pair<std::string, std::string>> Split(const std::string& host_port) {
  const size_t colon = host_port.rfind(':');
  if (colon == std::string::npos || colon + 1 == host_port.size() || colon == 0) {
    return absl::InvalidArgumentError(absl::StrCat("address \"", host_port, "\" is not HOST:PORT"));
  }
  std::string host = host_port.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  return std::pair(std::move(host), host_port.substr(colon + 1));
}

}  // namespace

absl::StatusOr<SocketAddress> SocketAddress::Resolve(const std::string& host_port,
                                                     bool numeric_only) {
  ASSIGN_OR_RETURN(const auto parts, Split(host_port));
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICSERV | (numeric_only ? AI_NUMERICHOST : 0);
  addrinfo* found = nullptr;
  const int error = getaddrinfo(parts.first.c_str(), parts.second.c_str(), &hints, &found);
  if (error != 0) {
    return absl::UnavailableError(
        absl::StrCat("address \"", host_port, "\": ", gai_strerror(error)));
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
  SocketAddress address;
  address.size = found->ai_addrlen;
  std::copy_n(reinterpret_cast<const char*>(found->ai_addr), found->ai_addrlen,
              reinterpret_cast<char*>(&address.storage));
  return address;
}

std::string SocketAddress::ToString() const {
  std::array<char, NI_MAXHOST> host;
  std::array<char, NI_MAXSERV> port;
  if (getnameinfo(reinterpret_cast<const sockaddr*>(&storage), size, host.data(), host.size(),
                  port.data(), port.size(), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
    return "unknown";
  }
  const bool bracketed = storage.ss_family == AF_INET6;
  return absl::StrCat(bracketed ? "[" : "", host.data(), bracketed ? "]:" : ":", port.data());
}

absl::StatusOr<FileDescriptor> ListenOn(const SocketAddress& address, SocketAddress* bound) {
  FileDescriptor fd;
  const MonotonicTime deadline = SystemClock::Get().Now() + kListenPatience;
  for (;;) {
    fd = FileDescriptor(
        socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return ErrnoStatus(errno, "making a socket");
    SetOption(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
    if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) == 0 &&
        listen(fd.get(), kListenBacklog) == 0) {
      break;
    }
    const int error = errno;
    // What a killed process had in an io_uring the kernel closes a moment after its end.
    if (error != EADDRINUSE || SystemClock::Get().Now() >= deadline) {
      return ErrnoStatus(error, absl::StrCat("listening on ", address.ToString()));
    }
    std::this_thread::sleep_for(kListenPause);
  }
  bound->size = sizeof bound->storage;
  if (getsockname(fd.get(), reinterpret_cast<sockaddr*>(&bound->storage), &bound->size) != 0) {
    return ErrnoStatus(errno, "asking for a socket's address");
  }
  return fd;
}

PeerSocket::PeerSocket(FileDescriptor fd, const SocketOptions& options) : fd_(std::move(fd)) {
  SetOption(fd_.get(), IPPROTO_TCP, TCP_NODELAY, 1);
  SetOption(fd_.get(), IPPROTO_TCP, TCP_USER_TIMEOUT,
            static_cast<int>(absl::ToInt64Milliseconds(options.user_timeout)));
  if (!options.congestion.empty()) {
    [[maybe_unused]] const int result =
        setsockopt(fd_.get(), IPPROTO_TCP, TCP_CONGESTION, options.congestion.data(),
                   static_cast<socklen_t>(options.congestion.size()));
  }
}

absl::StatusOr<FileDescriptor> PeerSocket::Connect(const SocketAddress& address) {
  FileDescriptor fd(
      socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return ErrnoStatus(errno, "making a socket");
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0 &&
      errno != EINPROGRESS) {
    return ErrnoStatus(errno, absl::StrCat("connecting to ", address.ToString()));
  }
  return fd;
}

absl::Status PeerSocket::ConnectResult() const {
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size) != 0) error = errno;
  if (error == 0) return absl::OkStatus();
  return absl::UnavailableError(ErrnoStatus(error, "connecting").message());
}

ssize_t PeerSocket::Send(std::span<const uint8_t> head, std::span<const MemoryRange> ranges,
                         const PeerMemory& memory) const {
  std::array<iovec, kSendIovecsMax> parts;
  size_t count = 0;
  if (!head.empty()) parts[count++] = {const_cast<uint8_t*>(head.data()), head.size()};
  const size_t taken = std::min(ranges.size(), parts.size() - count);
  for (const MemoryRange& range : ranges.first(taken)) {
    parts[count++] = {memory.bytes.data() + range.offset, range.bytes};
  }
  msghdr message = {};
  message.msg_iov = parts.data();
  message.msg_iovlen = count;
  const int more = taken < ranges.size() ? MSG_MORE : 0;
  return Result(sendmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL | more));
}

ssize_t PeerSocket::SendFile(const MemoryRange& range, const PeerMemory& memory) const {
  auto offset = static_cast<off_t>(range.offset);
  return Result(sendfile(fd_.get(), memory.fd, &offset, range.bytes));
}

ssize_t PeerSocket::SendHead(std::span<const uint8_t> head) const {
  return Result(send(fd_.get(), head.data(), head.size(), MSG_DONTWAIT | MSG_NOSIGNAL | MSG_MORE));
}

void PeerSocket::ShutdownSending() const {
  [[maybe_unused]] const int result = shutdown(fd_.get(), SHUT_WR);
}

void PeerSocket::Shutdown() const {
  [[maybe_unused]] const int result = shutdown(fd_.get(), SHUT_RDWR);
}

}  // namespace larder
