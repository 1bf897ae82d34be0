#include "transport/local/socket_channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "transport/local/socket.h"

namespace larder {
namespace {

// What the kernel takes off a socket's send buffer before it compares a packet with it.
constexpr int kSendBufferOverheadBytes = 64;

// The events of `socket` after at most `timeout`; 0 for none.
short PollSocket(const FileDescriptor& socket, absl::Duration timeout) {
  pollfd event = {socket.get(), POLLIN | POLLRDHUP, 0};
  const timespec relative = absl::ToTimespec(timeout);
  return ppoll(&event, 1, &relative, nullptr) == 1 ? event.revents : 0;
}

}  // namespace

absl::StatusOr<std::unique_ptr<SocketChannel>> SocketChannel::Create(
    FileDescriptor socket, const ChannelOptions& options) {
  const int wanted_bytes = 2 * kFrameBytesMax;
  if (setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &wanted_bytes, sizeof wanted_bytes) != 0) {
    return ErrnoStatus(errno, "setting a socket's send buffer");
  }
  int granted_bytes = 0;
  socklen_t option_bytes = sizeof granted_bytes;
  if (getsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &granted_bytes, &option_bytes) != 0) {
    return ErrnoStatus(errno, "reading a socket's send buffer");
  }
  if (granted_bytes < static_cast<int>(kFrameBytesMax) + kSendBufferOverheadBytes) {
    return absl::FailedPreconditionError(
        absl::StrCat("the system grants a socket buffer of ", granted_bytes, " bytes, frames need ",
                     kFrameBytesMax + kSendBufferOverheadBytes, ": raise net.core.wmem_max"));
  }
  return std::make_unique<SocketChannel>(Key(), std::move(socket), options);
}

SocketChannel::SocketChannel(Key, FileDescriptor socket, const ChannelOptions& options)
    : socket_(std::move(socket)),
      options_(options),
      receive_buffer_(std::make_unique_for_overwrite<uint8_t[]>(kFrameBytesMax)) {}

absl::Status SocketChannel::Send(const FrameLabel& label, std::span<const uint8_t> payload) {
  RETURN_IF_ERROR(failure_.status());
  RETURN_IF_ERROR(CheckPayloadSize(payload.size()));
  FrameHeader header = MakeFrameHeader(label, payload.size());
  iovec parts[] = {{&header, sizeof header},
                   {const_cast<uint8_t*>(payload.data()), payload.size()}};
  msghdr message = {};
  message.msg_iov = parts;
  message.msg_iovlen = std::size(parts);
  if (sendmsg(socket_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return absl::OkStatus();
  return SocketSendStatus(errno, header.frame_bytes);
}

absl::StatusOr<bool> SocketChannel::TryReceive(Frame* frame) {
  RETURN_IF_ERROR(failure_.status());
  const std::span<uint8_t> buffer(receive_buffer_.get(), kFrameBytesMax);
  const auto packet = ReceiveWithDescriptors(socket_, buffer, /*descriptors_max=*/0);
  if (!packet.ok()) return failure_.Keep(packet.status());
  if (!packet->has_value()) return false;
  if (absl::Status status = DecodeFrame(buffer.first((*packet)->packet_bytes), frame);
      !status.ok()) {
    return failure_.Keep(Annotate(status, "frame on the socket"));
  }
  return true;
}

absl::Status SocketChannel::WaitReadable(MonotonicTime deadline) {
  RETURN_IF_ERROR(failure_.status());
  const auto readable = [this] { return PollSocket(socket_, absl::ZeroDuration()) != 0; };
  if (readable() ||
      spinner_.Until(options_.spin_limit, deadline, /*calls_per_clock_read=*/1, readable)) {
    return WaitResult();
  }
  while (true) {
    const absl::Duration left = deadline - SystemClock::Get().Now();
    if (PollSocket(socket_, std::max(left, absl::ZeroDuration())) != 0) return WaitResult();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError("nothing was received before the deadline");
    }
  }
}

// The socket has an event: OK when a packet is there, UNAVAILABLE when it is only the peer's end.
absl::Status SocketChannel::WaitResult() {
  uint8_t byte;
  ssize_t peeked = recv(socket_.get(), &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT);
  // As in ReceiveWithDescriptors: the reset is reported before the packets that came earlier.
  if (peeked < 0 && errno == ECONNRESET) {
    peeked = recv(socket_.get(), &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT);
  }
  if (peeked > 0 || (peeked < 0 && errno == EAGAIN)) return absl::OkStatus();
  return failure_.Keep(absl::UnavailableError("the peer has closed its socket or died"));
}

}  // namespace larder
