// Both ends of each kind of channel in one process, and bytes that can be checked.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "common/clock.h"
#include "transport/local/channel.h"
#include "transport/local/in_memory_channel.h"
#include "transport/local/ring_channel.h"
#include "transport/local/socket_channel.h"
#include "transport/local/spin.h"

namespace larder {

inline MonotonicTime After(absl::Duration duration) { return SystemClock::Get().Now() + duration; }

// Long enough for the slowest sanitizer on a busy machine: reaching it is a failure.
inline constexpr absl::Duration kPatience = absl::Seconds(30);

inline std::pair<FileDescriptor, FileDescriptor> SocketPair() {
  int fds[2];
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
  return {FileDescriptor(fds[0]), FileDescriptor(fds[1])};
}

// Waits for another thread: spins, so that the two meet closely, and now and then sleeps, so that a
// machine with more to do than cores gets both on.
class Backoff {
 public:
  void Wait() {
    if (++waits_ % kSpinsPerSleep == 0) {
      absl::SleepFor(absl::Microseconds(20));
    } else {
      PauseProcessor();
    }
  }

 private:
  static constexpr uint64_t kSpinsPerSleep = 300;
  uint64_t waits_ = 0;
};

struct ChannelPair {
  std::unique_ptr<Channel> client;
  std::unique_ptr<Channel> server;
};

struct RingPair {
  std::unique_ptr<RingChannel> client;
  std::unique_ptr<RingChannel> server;
  FileDescriptor file;    // the ring file, as a hostile client holds it
  FileDescriptor wakeup;  // the client's copy of the eventfd
};

inline RingPair MakeRingPair(const ChannelOptions& options) {
  RingPair pair;
  RingMemory server_memory = RingMemory::Create(kRingBytesDefault, kRingBytesDefault).value();
  pair.file = server_memory.file().Duplicate().value();
  RingMemory client_memory = RingMemory::Open(server_memory.file().Duplicate().value(),
                                              kRingBytesDefault, kRingBytesDefault)
                                 .value();
  server_memory.CloseFile();
  FileDescriptor wakeup(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  pair.wakeup = wakeup.Duplicate().value();
  auto [client_socket, server_socket] = SocketPair();
  pair.client =
      std::make_unique<RingChannel>(RingChannel::Side::kClient, std::move(client_memory),
                                    std::move(client_socket), wakeup.Duplicate().value(), options);
  pair.server = std::make_unique<RingChannel>(RingChannel::Side::kServer, std::move(server_memory),
                                              std::move(server_socket), std::move(wakeup), options);
  return pair;
}

struct RingKind {
  static ChannelPair Make(const ChannelOptions& options) {
    RingPair pair = MakeRingPair(options);
    return {std::move(pair.client), std::move(pair.server)};
  }
};

struct SocketKind {
  static ChannelPair Make(const ChannelOptions& options) {
    auto [client, server] = SocketPair();
    return {SocketChannel::Create(std::move(client), options).value(),
            SocketChannel::Create(std::move(server), options).value()};
  }
};

struct InMemoryKind {
  static ChannelPair Make(const ChannelOptions&) {
    InMemoryChannel::Pair pair = InMemoryChannel::CreatePair().value();
    return {std::move(pair.client), std::move(pair.server)};
  }
};

// The payload of frame number `sequence`: every byte depends on the number and on its place.
inline std::vector<uint8_t> PatternPayload(uint64_t sequence, size_t payload_bytes) {
  std::vector<uint8_t> payload(payload_bytes);
  for (size_t i = 0; i < payload_bytes; ++i) {
    payload[i] = static_cast<uint8_t>(sequence * 31 + i * 7 + (i >> 8));
  }
  return payload;
}

// Receives one frame, sleeping for it as long as kPatience.
inline absl::Status ReceiveWithin(Channel* channel, Frame* frame) {
  const MonotonicTime deadline = After(kPatience);
  while (true) {
    ASSIGN_OR_RETURN(const bool received, channel->TryReceive(frame));
    if (received) return absl::OkStatus();
    RETURN_IF_ERROR(channel->WaitReadable(deadline));
  }
}

// Sends one frame, again and again while there is no room.
inline absl::Status SendWithin(Channel* channel, const FrameLabel& label,
                               std::span<const uint8_t> payload) {
  const MonotonicTime deadline = After(kPatience);
  absl::Status status = channel->Send(label, payload);
  while (absl::IsResourceExhausted(status) && SystemClock::Get().Now() < deadline) {
    absl::SleepFor(absl::Microseconds(20));
    status = channel->Send(label, payload);
  }
  return status;
}

}  // namespace larder
