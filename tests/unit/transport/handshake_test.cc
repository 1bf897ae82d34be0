#include "transport/local/handshake.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <thread>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "tests/unit/transport/channel_pairs.h"
#include "tests/unit/transport/temporary_directory.h"
#include "transport/local/socket.h"

namespace larder {
namespace {

using testing::HasSubstr;

constexpr size_t kArenaBytes = 8192;

Welcome Offer() {
  Welcome offer;
  offer.heartbeat_interval_ms = 500;
  offer.daemon_epoch = 0x1122334455667788;
  offer.session = SessionId{42};
  for (size_t i = 0; i < offer.arena_uuid.size(); ++i) {
    offer.arena_uuid[i] = static_cast<uint8_t>(0xa0 + i);
  }
  offer.arena_data_bytes = kArenaBytes;
  offer.arena_granule_bytes = 4096;
  offer.request_ring_bytes = kRingBytesDefault;
  offer.reply_ring_bytes = kRingBytesDefault;
  return offer;
}

FileDescriptor MakeArena() {
  FileDescriptor arena(memfd_create("arena", MFD_CLOEXEC));
  EXPECT_EQ(ftruncate(arena.get(), kArenaBytes), 0);
  EXPECT_EQ(pwrite(arena.get(), "arena", 5, 0), 5);
  return arena;
}

void WaitFor(int fd, short events) {
  pollfd event = {fd, events, 0};
  EXPECT_EQ(poll(&event, 1, static_cast<int>(absl::ToInt64Milliseconds(kPatience))), 1);
}

std::string Hex(std::span<const uint8_t> bytes) {
  return absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

class HandshakeTest : public testing::Test {
 protected:
  using Answer = std::function<void(FileDescriptor socket)>;

  // Runs the daemon's side for one connection in a thread and the client's side here.
  absl::StatusOr<ClientHandshake> Connect(const Answer& answer, const ConnectOptions& options,
                                          absl::Duration patience = kPatience) {
    std::thread daemon([&] {
      WaitFor(listener_.fd(), POLLIN);
      answer(std::move(listener_.Accept().value()->socket));
    });
    auto result = ConnectLocal(Path(), options, After(patience));
    daemon.join();
    return result;
  }

  // Answers as the daemon does and keeps the session.
  Answer Accept(const Welcome& offer) {
    return [this, offer](FileDescriptor socket) {
      WaitFor(socket.get(), POLLIN);
      hello_ = ReceiveHello(socket).value().value();
      session_ = AcceptHello(std::move(socket), hello_, offer, arena_, {});
    };
  }

  // Answers with these bytes and descriptors, and keeps the connection open.
  Answer Raw(std::vector<uint8_t> packet, size_t arenas = 1) {
    return [this, packet = std::move(packet), arenas](FileDescriptor socket) {
      const std::vector<int> descriptors(arenas, arena_.get());
      EXPECT_TRUE(SendWithDescriptors(socket, packet, descriptors).ok());
      kept_ = std::move(socket);
    };
  }

  std::string Path() const { return directory_.path() + "/larder.sock"; }

  TemporaryDirectory directory_;
  UnixListener listener_ = UnixListener::Listen({.path = Path()}).value();
  FileDescriptor arena_ = MakeArena();
  Hello hello_;
  absl::StatusOr<ServerSession> session_ = absl::UnknownError("no session yet");
  FileDescriptor kept_;
};

TEST_F(HandshakeTest, ClientAndDaemonMeet) {
  for (const bool wants_rings : {true, false}) {
    SCOPED_TRACE(wants_rings);
    auto client = Connect(Accept(Offer()), {.client_name = "vllm-7",
                                            .wants_rings = wants_rings,
                                            .channel = {.spin_limit = absl::Microseconds(123)}});
    ASSERT_TRUE(client.ok()) << client.status();
    ASSERT_TRUE(session_.ok()) << session_.status();
    EXPECT_EQ(hello_.client_name, "vllm-7");
    EXPECT_EQ(hello_.spin_limit_us, 123u);
    EXPECT_EQ(hello_.wants_rings, wants_rings);
    EXPECT_EQ(client->rings != nullptr, wants_rings);
    EXPECT_EQ(session_->rings != nullptr, wants_rings);
    Welcome expected = Offer();
    if (!wants_rings) expected.request_ring_bytes = expected.reply_ring_bytes = 0;
    EXPECT_EQ(client->welcome, expected);
    char word[5] = {};
    EXPECT_EQ(pread(client->arena.get(), word, sizeof word, 0), 5);
    EXPECT_EQ(std::string(word, sizeof word), "arena");

    Frame frame;
    ASSERT_TRUE(client->channel->Send({.request_id = 3}, PatternPayload(1, 30)).ok());
    ASSERT_TRUE(ReceiveWithin(session_->channel.get(), &frame).ok());
    EXPECT_EQ(frame.payload, PatternPayload(1, 30));
    ASSERT_TRUE(session_->channel->Send({.request_id = 3}, frame.payload).ok());
    ASSERT_TRUE(ReceiveWithin(client->channel.get(), &frame).ok());
    EXPECT_EQ(frame.header.request_id, 3u);
  }
}

TEST_F(HandshakeTest, ADaemonWithoutRingsServesOnTheSocket) {
  Welcome offer = Offer();
  offer.request_ring_bytes = offer.reply_ring_bytes = 0;
  const auto client = Connect(Accept(offer), {});
  ASSERT_TRUE(client.ok()) << client.status();
  EXPECT_EQ(client->rings, nullptr);
}

TEST_F(HandshakeTest, ARefusalBringsTheDaemonsReason) {
  const auto client = Connect(
      [](FileDescriptor socket) {
        RefuseConnection(socket, absl::PermissionDeniedError("user 7 may\nnot connect"));
      },
      {});
  EXPECT_TRUE(absl::IsPermissionDenied(client.status())) << client.status();
  EXPECT_THAT(std::string(client.status().message()), HasSubstr("user 7 may\\nnot connect"));
}

TEST_F(HandshakeTest, VersionsMustMeet) {
  auto [client, server] = SocketPair();
  const auto session =
      AcceptHello(std::move(server), {.version_min = 2, .version_max = 9}, Offer(), arena_, {});
  EXPECT_TRUE(absl::IsFailedPrecondition(session.status())) << session.status();
  std::vector<uint8_t> buffer(4096);
  const auto packet = ReceiveWithDescriptors(client, buffer, 3).value();
  ASSERT_TRUE(packet.has_value());
  Frame frame;
  ASSERT_TRUE(DecodeFrame(std::span(buffer).first(packet->packet_bytes), &frame).ok());
  EXPECT_EQ(frame.header.opcode, kOpcodeRefused);
  EXPECT_THAT(std::string(DecodeRefusal(frame).message()),
              HasSubstr("the client speaks protocol versions 2 to 9, the daemon 1 to 1"));
}

TEST_F(HandshakeTest, OneVersionInCommonIsEnough) {
  auto [client, server] = SocketPair();
  const auto session =
      AcceptHello(std::move(server), {.version_min = 1, .version_max = 9}, Offer(), arena_, {});
  EXPECT_TRUE(session.ok()) << session.status();
}

TEST_F(HandshakeTest, ASilentClientDoesNotBlockTheDaemon) {
  auto [client, server] = SocketPair();
  EXPECT_FALSE(ReceiveHello(server).value().has_value());
  client.Reset();
  EXPECT_TRUE(absl::IsUnavailable(ReceiveHello(server).status()));
}

TEST_F(HandshakeTest, ASilentDaemonIsADeadline) {
  const auto client = Connect([this](FileDescriptor socket) { kept_ = std::move(socket); }, {},
                              absl::Milliseconds(50));
  EXPECT_TRUE(absl::IsDeadlineExceeded(client.status())) << client.status();
}

TEST_F(HandshakeTest, ADaemonThatHangsUpIsUnavailable) {
  const auto client = Connect([](FileDescriptor) {}, {});
  EXPECT_TRUE(absl::IsUnavailable(client.status())) << client.status();
}

TEST_F(HandshakeTest, TheClientChecksTheWelcome) {
  const auto error = [this](const Answer& answer) {
    return std::string(Connect(answer, {.wants_rings = false}).status().message());
  };
  const auto packet = [](const Welcome& welcome) {
    return EncodeFrame({.opcode = kOpcodeWelcome}, EncodeWelcome(welcome));
  };
  Welcome plain = Offer();
  plain.request_ring_bytes = plain.reply_ring_bytes = 0;
  EXPECT_THAT(error(Raw(packet(plain), 2)), HasSubstr("brings 2 descriptors instead of 1"));
  EXPECT_THAT(error(Raw(packet(plain), 0)), HasSubstr("brings 0 descriptors instead of 1"));
  EXPECT_THAT(error(Raw(packet(Offer()), 3)), HasSubstr("rings that were not asked for"));
  Welcome newer = plain;
  newer.version = 2;
  EXPECT_THAT(error(Raw(packet(newer))), HasSubstr("chose protocol version 2"));
  Welcome larger = plain;
  larger.arena_data_bytes = kArenaBytes + 1;
  EXPECT_THAT(error(Raw(packet(larger))), HasSubstr("the welcome announces 8193"));
  Welcome lopsided = plain;
  lopsided.reply_ring_bytes = kRingBytesDefault;
  EXPECT_THAT(error(Raw(packet(lopsided))), HasSubstr("rings of 0 and 524288 bytes"));
  EXPECT_THAT(error(Raw(EncodeFrame({.opcode = 77}, {}))), HasSubstr("opcode 77"));
  EXPECT_THAT(error(Raw(EncodeFrame({.opcode = kOpcodeRefused}, {}))),
              HasSubstr("a refusal with status 0"));
}

TEST_F(HandshakeTest, AHostileHelloIsAnError) {
  const std::vector<uint8_t> good =
      EncodeFrame({.opcode = kOpcodeHello}, EncodeHello({.client_name = "x"}).value());
  const auto receive = [](std::span<const uint8_t> packet) {
    auto [client, server] = SocketPair();
    EXPECT_TRUE(SendWithDescriptors(client, packet, {}).ok());
    return ReceiveHello(server).status();
  };
  EXPECT_TRUE(receive(good).ok());
  for (size_t size = 1; size < good.size(); ++size) {
    EXPECT_FALSE(receive(std::span(good).first(size)).ok()) << size;
  }
  EXPECT_FALSE(receive(std::vector<uint8_t>(100'000)).ok());
  EXPECT_FALSE(receive(EncodeFrame({.opcode = kFirstOperationOpcode}, {})).ok());
  const std::string nonsense = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
  const absl::Status status =
      receive(std::span(reinterpret_cast<const uint8_t*>(nonsense.data()), nonsense.size()));
  EXPECT_THAT(std::string(status.message()), HasSubstr("frame magic is 0x20544547"));
}

TEST(HandshakeMessageTest, RandomBytesDecodeOrFail) {
  constexpr uint64_t kSeed = 5;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  SeededRandom random(kSeed);
  int decoded = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::vector<uint8_t> bytes = EncodeHello({.client_name = "engine"}).value();
    bytes[random.Below(bytes.size())] = static_cast<uint8_t>(random.Next());
    bytes.resize(random.Below(2) == 0 ? bytes.size() : random.Below(100));
    const auto hello = DecodeHello(bytes);
    if (!hello.ok()) continue;
    ++decoded;
    EXPECT_LE(hello->client_name.size(), kClientNameBytesMax);
    EXPECT_TRUE(EncodeHello(*hello).ok());
  }
  EXPECT_GT(decoded, 100);
  EXPECT_LT(decoded, 20'000);
}

TEST(HandshakeMessageTest, BadHellosAreNamed) {
  EXPECT_THAT(std::string(EncodeHello({.version_min = 3, .version_max = 2}).status().message()),
              HasSubstr("versions 3 to 2"));
  EXPECT_THAT(std::string(EncodeHello({.client_name = std::string(65, 'a')}).status().message()),
              HasSubstr("65 bytes"));
  EXPECT_FALSE(EncodeHello({.client_name = "two\nlines"}).ok());
}

TEST(HandshakeMessageTest, WhatNoEncoderWritesIsRefused) {
  const auto message = [](const absl::Status& status) { return std::string(status.message()); };
  std::vector<uint8_t> hello = EncodeHello({.client_name = "a"}).value();
  hello[4] = 3;
  EXPECT_THAT(message(DecodeHello(hello).status()), HasSubstr("hello's flags are 3"));
  hello.push_back(0);
  EXPECT_THAT(message(DecodeHello(hello).status()), HasSubstr("followed by 1 more bytes"));
  hello.resize(10);
  EXPECT_THAT(message(DecodeHello(hello).status()), HasSubstr("hello ends early, after 10 bytes"));
  for (const size_t reserved_at : {2, 60}) {
    std::vector<uint8_t> welcome = EncodeWelcome(Offer());
    EXPECT_EQ(DecodeWelcome(welcome).value(), Offer());
    welcome[reserved_at] = 1;
    EXPECT_THAT(message(DecodeWelcome(welcome).status()), HasSubstr("reserved"));
  }
}

TEST(HandshakeMessageTest, ALongRefusalIsCut) {
  Frame frame;
  const std::vector<uint8_t> packet = EncodeRefusal(absl::InternalError(std::string(5000, 'x')));
  ASSERT_TRUE(DecodeFrame(packet, &frame).ok());
  EXPECT_EQ(frame.payload.size(), kRefusalBytesMax);
  EXPECT_TRUE(absl::IsInternal(DecodeRefusal(frame)));
}

// The worked examples of docs/formats/local_protocol.md: these bytes must never change.
TEST(HandshakeMessageTest, BytesAreThoseOfTheDocument) {
  const std::vector<uint8_t> hello =
      EncodeFrame({.opcode = kOpcodeHello},
                  EncodeHello({.spin_limit_us = 50, .client_name = "vllm-7"}).value());
  EXPECT_EQ(Hex(hello),
            "4c445246010001003600000000000000"
            "00000000000000000000000000000000"
            "01000100010000003200000006000000"
            "766c6c6d2d37");
  EXPECT_EQ(Hex(EncodeFrame({.opcode = kOpcodeWelcome}, EncodeWelcome(Offer()))),
            "4c445246010002006000000000000000"
            "00000000000000000000000000000000"
            "01000000f40100008877665544332211"
            "2a00000000000000a0a1a2a3a4a5a6a7"
            "a8a9aaabacadaeaf0020000000000000"
            "00100000000008000000080000000000");
  EXPECT_EQ(Hex(EncodeRefusal(absl::PermissionDeniedError("no"))),
            "4c445246010003002200000007000000"
            "00000000000000000000000000000000"
            "6e6f");
}

}  // namespace
}  // namespace larder
