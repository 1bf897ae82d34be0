// Clients that break every rule of the protocol while a good one works and checks every byte.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <bit>
#include <cstring>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "tests/e2e/hostile_fixture.h"
#include "transport/local/frame.h"

namespace larder {
namespace {

constexpr uint16_t kLastOpcode = static_cast<uint16_t>(Opcode::kReportCorrupt);

// --- before there is a session
// --------------------------------------------------------------------

TEST_F(HostileClientTest, GarbageInsteadOfAHello) {
  SeededRandom random(1);
  for (int i = 0; i < 500; ++i) {
    const FileDescriptor socket = RawSocket();
    std::vector<uint8_t> packet = RandomBytes(random, random.Below(600) + 1);
    if (i % 2 == 0 && packet.size() >= sizeof(FrameHeader)) {
      const size_t payload_bytes = packet.size() - sizeof(FrameHeader);
      const FrameHeader header = MakeFrameHeader(
          {.opcode = static_cast<uint16_t>(i % 4 == 0 ? kOpcodeHello : random.Below(64))},
          payload_bytes);
      std::memcpy(packet.data(), &header, sizeof header);
    }
    (void)SendWithDescriptors(socket, packet, {});
  }
}

TEST_F(HostileClientTest, ConnectionsThatSayNothing) {
  std::vector<FileDescriptor> silent;
  for (int i = 0; i < 500; ++i) silent.push_back(RawSocket());
  ExpectProgress();
  // They are put out, and in the meantime others get in.
  EXPECT_TRUE(Session().OpenSpace(KnownManifest()).ok());
  char byte;
  EXPECT_TRUE(Eventually(
      [&] {
        ssize_t received;
        while ((received = recv(silent[0].get(), &byte, 1, MSG_DONTWAIT)) > 0) {
        }
        return received == 0;
      },
      absl::Seconds(5)));
}

TEST_F(HostileClientTest, DescriptorsThatNobodyAskedFor) {
  for (int i = 0; i < 100; ++i) {
    const FileDescriptor socket = RawSocket();
    const std::vector<int> descriptors(kDescriptorsPerPacketMax, 0);
    const auto hello = EncodeHello({.client_name = "hostile"});
    ASSERT_TRUE(hello.ok());
    (void)SendWithDescriptors(socket, EncodeFrame({.opcode = kOpcodeHello}, *hello), descriptors);
  }
}

// --- frames
// ---------------------------------------------------------------------------------------

// One frame with an opcode and a payload that are each right, nearly right or random.
std::vector<uint8_t> OddPayload(Random& random) {
  MessageWriter writer;
  const uint64_t shape = random.Below(4);
  if (shape == 0) return RandomBytes(random, random.Below(2000));
  if (shape == 1) {  // a list of keys or reservations with a count that may lie
    const uint32_t count = static_cast<uint32_t>(OddNumber(random));
    writer.Write(KeysRequest{.space = static_cast<uint32_t>(random.Below(3)),
                             .key_count = random.Below(2) == 0 ? count : 3,
                             .flags = static_cast<uint32_t>(random.Next()),
                             .wait_ms_or_chunks_min = 0,
                             .part = std::bit_cast<PartMessage>(random.Next())});
    for (int i = 0; i < 3; ++i) writer.Write(KeyHashMessage{random.Below(9), random.Below(9)});
  } else if (shape == 2) {
    writer.Write(ReserveRequest{
        .space = static_cast<uint32_t>(random.Below(3)),
        .item_count = static_cast<uint32_t>(random.Below(2) == 0 ? OddNumber(random) : 2),
        .flags = static_cast<uint32_t>(random.Below(4)),
        .reserved = 0,
        .deadline_ms = OddNumber(random),
        .ttl_ms = OddNumber(random)});
    for (int i = 0; i < 2; ++i) {
      const Part whole = KnownManifest().WholePart();
      writer.Write(ReserveItemMessage{.key = {random.Below(99), random.Below(9)},
                                      .parent = {random.Below(9), random.Below(9)},
                                      .bytes = random.Below(2) == 0 ? OddNumber(random) : 66'000,
                                      .part = random.Below(2) == 0
                                                  ? std::bit_cast<PartMessage>(random.Next())
                                                  : std::bit_cast<PartMessage>(whole),
                                      .depth = static_cast<uint32_t>(OddNumber(random)),
                                      .reserved = 0});
    }
  } else {
    writer.Write(
        ReservationsRequest{.count = static_cast<uint32_t>(random.Below(4)), .reserved = 0});
    for (int i = 0; i < 3; ++i) writer.Write(OddNumber(random));
  }
  return {writer.payload().begin(), writer.payload().end()};
}

TEST_F(HostileClientTest, ValidFramesWithOddPayloadsForEveryOperation) {
  std::vector<std::thread> threads;
  for (uint64_t thread = 0; thread < 3; ++thread) {
    threads.emplace_back([this, thread] {
      SeededRandom random(100 + thread);
      RawSession session = Session(/*wants_rings=*/thread != 2);
      ASSERT_TRUE(session.OpenSpace(KnownManifest()).ok());
      for (int i = 0; i < 5000; ++i) {
        const auto opcode = static_cast<Opcode>(
            kFirstOperationOpcode + random.Below(kLastOpcode - kFirstOperationOpcode + 3));
        const std::vector<uint8_t> payload = OddPayload(random);
        ASSERT_TRUE(session.Post(opcode, payload).ok()) << i;
        Frame reply;
        while (session.channel().TryReceive(&reply).value_or(false)) {
        }
        if (session.rings() != nullptr) session.rings()->Beat();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST_F(HostileClientTest, RandomPacketsOnTheSocketOfASession) {
  SeededRandom random(2);
  for (int i = 0; i < 300; ++i) {
    const FileDescriptor socket = RawSocket();
    const auto hello = EncodeHello({.wants_rings = i % 2 == 0, .client_name = "hostile"});
    ASSERT_TRUE(
        SendWithDescriptors(socket, EncodeFrame({.opcode = kOpcodeHello}, *hello), {}).ok());
    for (int packets = 0; packets < 20; ++packets) {
      std::vector<uint8_t> packet =
          EncodeFrame({.opcode = static_cast<uint16_t>(kFirstOperationOpcode + random.Below(14))},
                      OddPayload(random));
      if (packets == 19) packet[random.Below(packet.size())] ^= 1 << random.Below(8);
      if (packets == 18 && i % 3 == 0) packet.resize(random.Below(packet.size()) + 1);
      if (!SendWithDescriptors(socket, packet, {}).ok()) break;
    }
  }
}

TEST_F(HostileClientTest, AClientThatNeverReadsItsReplies) {
  std::vector<RawSession> sessions;
  for (int i = 0; i < 4; ++i) {
    sessions.push_back(Session(/*wants_rings=*/i % 2 == 0));
    uint64_t sent = 0;
    while (sent < 100'000 && sessions.back()
                                 .channel()
                                 .Send({.opcode = static_cast<uint16_t>(Opcode::kStats)}, {})
                                 .ok()) {
      ++sent;
    }
  }
  ExpectProgress();
}

}  // namespace
}  // namespace larder
