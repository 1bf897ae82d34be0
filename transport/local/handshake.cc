#include "transport/local/handshake.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>

#include "absl/strings/str_cat.h"
#include "transport/local/socket.h"
#include "transport/local/socket_channel.h"

namespace larder {
namespace {

// The refusal is the longest packet of the handshake.
constexpr size_t kHandshakePacketBytesMax = sizeof(FrameHeader) + kRefusalBytesMax;

struct HandshakePacket {
  Frame frame;
  std::vector<FileDescriptor> descriptors;
};

absl::StatusOr<std::optional<HandshakePacket>> ReceiveHandshake(const FileDescriptor& socket,
                                                                size_t descriptors_max) {
  std::array<uint8_t, kHandshakePacketBytesMax> buffer;
  ASSIGN_OR_RETURN(auto received, ReceiveWithDescriptors(socket, buffer, descriptors_max));
  if (!received.has_value()) return std::nullopt;
  HandshakePacket packet;
  RETURN_IF_ERROR(DecodeFrame(std::span(buffer).first(received->packet_bytes), &packet.frame));
  packet.descriptors = std::move(received->descriptors);
  return packet;
}

absl::StatusOr<HandshakePacket> WaitForAnswer(const FileDescriptor& socket,
                                              MonotonicTime deadline) {
  while (true) {
    ASSIGN_OR_RETURN(auto packet, ReceiveHandshake(socket, kDescriptorsPerPacketMax));
    if (packet.has_value()) return *std::move(packet);
    const absl::Duration left = deadline - SystemClock::Get().Now();
    if (left <= absl::ZeroDuration()) {
      return absl::DeadlineExceededError("the daemon has not answered the hello in time");
    }
    pollfd event = {socket.get(), POLLIN, 0};
    const timespec timeout = absl::ToTimespec(left);
    ppoll(&event, 1, &timeout, nullptr);
  }
}

uint32_t SpinLimitInMicroseconds(absl::Duration spin_limit) {
  const int64_t microseconds = absl::ToInt64Microseconds(spin_limit);
  return static_cast<uint32_t>(
      std::clamp<int64_t>(microseconds, 0, std::numeric_limits<uint32_t>::max()));
}

absl::StatusOr<Welcome> ReadWelcome(const HandshakePacket& packet, const Hello& hello) {
  const FrameHeader& header = packet.frame.header;
  if (header.opcode == kOpcodeRefused) return DecodeRefusal(packet.frame);
  if (header.opcode != kOpcodeWelcome) {
    return absl::DataLossError(
        absl::StrCat("the daemon answers the hello with a frame of opcode ", header.opcode));
  }
  ASSIGN_OR_RETURN(Welcome welcome, DecodeWelcome(packet.frame.payload));
  if (welcome.version < hello.version_min || welcome.version > hello.version_max) {
    return absl::DataLossError(absl::StrCat("the daemon chose protocol version ", welcome.version,
                                            ", offered were ", hello.version_min, " to ",
                                            hello.version_max));
  }
  if (welcome.has_rings() && !hello.wants_rings) {
    return absl::DataLossError("the daemon answers with rings that were not asked for");
  }
  const size_t expected_descriptors = welcome.has_rings() ? 3 : 1;
  if (packet.descriptors.size() != expected_descriptors) {
    return absl::DataLossError(absl::StrCat("the welcome brings ", packet.descriptors.size(),
                                            " descriptors instead of ", expected_descriptors));
  }
  return welcome;
}

absl::Status CheckArenaFile(const FileDescriptor& arena, uint64_t data_bytes) {
  struct stat stat_buffer;
  if (fstat(arena.get(), &stat_buffer) != 0) {
    return ErrnoStatus(errno, "reading the arena file's size");
  }
  if (stat_buffer.st_size >= 0 && static_cast<uint64_t>(stat_buffer.st_size) >= data_bytes) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat("the arena file has ", stat_buffer.st_size,
                                          " bytes, the welcome announces ", data_bytes));
}

absl::Status SendWelcome(const FileDescriptor& socket, const Welcome& welcome,
                         std::span<const int> descriptors) {
  return SendWithDescriptors(
      socket, EncodeFrame({.opcode = kOpcodeWelcome}, EncodeWelcome(welcome)), descriptors);
}

// This and the next take `*socket` over only when they succeed.
absl::StatusOr<ServerSession> WelcomeWithRings(FileDescriptor* socket, const Welcome& welcome,
                                               const FileDescriptor& arena,
                                               const ChannelOptions& options) {
  ASSIGN_OR_RETURN(RingMemory memory,
                   RingMemory::Create(welcome.request_ring_bytes, welcome.reply_ring_bytes));
  FileDescriptor wakeup(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wakeup) return ErrnoStatus(errno, "creating a session's eventfd");
  const int descriptors[] = {arena.get(), memory.file().get(), wakeup.get()};
  RETURN_IF_ERROR(SendWelcome(*socket, welcome, descriptors));
  memory.CloseFile();
  auto channel = std::make_unique<RingChannel>(RingChannel::Side::kServer, std::move(memory),
                                               std::move(*socket), std::move(wakeup), options);
  RingChannel* rings = channel.get();
  return ServerSession{.channel = std::move(channel), .rings = rings};
}

absl::StatusOr<ServerSession> WelcomeOnSocket(FileDescriptor* socket, const Welcome& welcome,
                                              const FileDescriptor& arena,
                                              const ChannelOptions& options) {
  const int descriptors[] = {arena.get()};
  RETURN_IF_ERROR(SendWelcome(*socket, welcome, descriptors));
  // This fails for want of large enough buffers; the client, which asks for the same, then says so.
  ASSIGN_OR_RETURN(std::unique_ptr<Channel> channel,
                   SocketChannel::Create(std::move(*socket), options));
  return ServerSession{.channel = std::move(channel), .rings = nullptr};
}

absl::Status ChooseVersion(const Hello& hello, Welcome* welcome) {
  if (hello.version_min > kProtocolVersionMax || hello.version_max < kProtocolVersionMin) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the client speaks protocol versions ", hello.version_min, " to ", hello.version_max,
        ", the daemon ", kProtocolVersionMin, " to ", kProtocolVersionMax));
  }
  welcome->version = std::min(hello.version_max, kProtocolVersionMax);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ClientHandshake> ConnectLocal(const std::string& path, const ConnectOptions& options,
                                             MonotonicTime deadline) {
  const Hello hello = {.wants_rings = options.wants_rings,
                       .spin_limit_us = SpinLimitInMicroseconds(options.channel.spin_limit),
                       .client_name = options.client_name};
  ASSIGN_OR_RETURN(const std::vector<uint8_t> hello_payload, EncodeHello(hello));
  ASSIGN_OR_RETURN(FileDescriptor socket, UnixConnect(path, deadline));
  RETURN_IF_ERROR(
      SendWithDescriptors(socket, EncodeFrame({.opcode = kOpcodeHello}, hello_payload), {}));
  ASSIGN_OR_RETURN(HandshakePacket answer, WaitForAnswer(socket, deadline));
  ClientHandshake result;
  ASSIGN_OR_RETURN(result.welcome, ReadWelcome(answer, hello));
  result.arena = std::move(answer.descriptors[0]);
  RETURN_IF_ERROR(CheckArenaFile(result.arena, result.welcome.arena_data_bytes));
  if (!result.welcome.has_rings()) {
    ASSIGN_OR_RETURN(result.channel, SocketChannel::Create(std::move(socket), options.channel));
    return result;
  }
  ASSIGN_OR_RETURN(RingMemory memory, RingMemory::Open(std::move(answer.descriptors[1]),
                                                       result.welcome.request_ring_bytes,
                                                       result.welcome.reply_ring_bytes));
  auto channel = std::make_unique<RingChannel>(RingChannel::Side::kClient, std::move(memory),
                                               std::move(socket), std::move(answer.descriptors[2]),
                                               options.channel);
  result.rings = channel.get();
  result.channel = std::move(channel);
  return result;
}

absl::StatusOr<std::optional<Hello>> ReceiveHello(const FileDescriptor& socket) {
  ASSIGN_OR_RETURN(const auto packet, ReceiveHandshake(socket, /*descriptors_max=*/0));
  if (!packet.has_value()) return std::nullopt;
  if (packet->frame.header.opcode != kOpcodeHello) {
    return absl::InvalidArgumentError(absl::StrCat("a connection begins with a frame of opcode ",
                                                   packet->frame.header.opcode,
                                                   " instead of a hello"));
  }
  ASSIGN_OR_RETURN(Hello hello, DecodeHello(packet->frame.payload));
  return hello;
}

absl::StatusOr<ServerSession> AcceptHello(FileDescriptor socket, const Hello& hello, Welcome offer,
                                          const FileDescriptor& arena,
                                          const ChannelOptions& options) {
  if (!hello.wants_rings) offer.request_ring_bytes = offer.reply_ring_bytes = 0;
  if (absl::Status status = ChooseVersion(hello, &offer); !status.ok()) {
    RefuseConnection(socket, status);
    return status;
  }
  auto session = offer.has_rings() ? WelcomeWithRings(&socket, offer, arena, options)
                                   : WelcomeOnSocket(&socket, offer, arena, options);
  if (!session.ok() && socket) RefuseConnection(socket, session.status());
  return session;
}

void RefuseConnection(const FileDescriptor& socket, const absl::Status& why) {
  // A client that does not take the answer sees the connection close instead.
  SendWithDescriptors(socket, EncodeRefusal(why), {}).IgnoreError();
}

}  // namespace larder
