// Clients that write where they should not into the memory that they share with the daemon.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <optional>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "kernels/format/container_format.h"
#include "tests/e2e/hostile_fixture.h"
#include "transport/local/frame.h"
#include "transport/local/ring_memory.h"

namespace larder {
namespace {

constexpr size_t kChunks = kHostileChunks;

using HostileMemoryTest = HostileClientTest;

// --- the rings
// ------------------------------------------------------------------------------------

// The shared pages of a session as its client can write them: the handshake by hand, because
// RawSession keeps its own.
struct OpenRings {
  FileDescriptor socket;
  RingMemory memory;
  FileDescriptor wakeup;

  void Ring() const {
    const uint64_t one = 1;
    (void)!write(wakeup.get(), &one, sizeof one);
  }
};

absl::StatusOr<OpenRings> ConnectRings(const std::string& path) {
  const MonotonicTime deadline = SystemClock::Get().Now() + kPatience;
  ASSIGN_OR_RETURN(FileDescriptor socket, UnixConnect(path, deadline));
  ASSIGN_OR_RETURN(const std::vector<uint8_t> hello, EncodeHello({.client_name = "hostile"}));
  RETURN_IF_ERROR(SendWithDescriptors(socket, EncodeFrame({.opcode = kOpcodeHello}, hello), {}));
  std::vector<uint8_t> buffer(4096);
  std::optional<ReceivedPacket> packet;
  while (!packet.has_value()) {
    ASSIGN_OR_RETURN(packet, ReceiveWithDescriptors(socket, buffer, kDescriptorsPerPacketMax));
    if (SystemClock::Get().Now() > deadline) return absl::DeadlineExceededError("no welcome");
  }
  Frame frame;
  RETURN_IF_ERROR(DecodeFrame(std::span(buffer).first(packet->packet_bytes), &frame));
  if (frame.header.opcode != kOpcodeWelcome) return DecodeRefusal(frame);
  ASSIGN_OR_RETURN(const Welcome welcome, DecodeWelcome(frame.payload));
  ASSIGN_OR_RETURN(RingMemory memory,
                   RingMemory::Open(std::move(packet->descriptors[1]), welcome.request_ring_bytes,
                                    welcome.reply_ring_bytes));
  return OpenRings{std::move(socket), std::move(memory), std::move(packet->descriptors[2])};
}

TEST_F(HostileMemoryTest, ScribbledRings) {
  std::vector<OpenRings> kept;  // Their processes live on: nothing but the daemon ends the session.
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    SeededRandom random(seed);
    auto rings = ConnectRings(daemon_.socket_path());
    ASSERT_TRUE(rings.ok()) << rings.status();
    RingControl* control = rings->memory.control();
    for (int i = 0; i < 20; ++i) {
      const std::span<uint8_t> request = rings->memory.request_ring();
      const uint64_t at = random.Below(4096) * 8;
      if (random.Below(2) == 0) {
        const FrameHeader header = MakeFrameHeader(
            {.opcode = static_cast<uint16_t>(kFirstOperationOpcode + random.Below(14))},
            random.Below(4) == 0 ? OddNumber(random) : random.Below(256));
        std::memcpy(request.data() + at, &header, sizeof header);
      } else {
        const std::vector<uint8_t> bytes = RandomBytes(random, 64);
        std::memcpy(request.data() + at, bytes.data(), bytes.size());
      }
      switch (random.Below(6)) {
        case 0:
          control->request.producer_position = OddNumber(random);
          break;
        case 1:
          control->reply.consumer_position = OddNumber(random);
          break;
        case 2:
          control->request.producer_position += random.Below(512) * 8;
          break;
        case 3:
          control->request.consumer_waiting = static_cast<uint32_t>(OddNumber(random));
          break;
        case 4:
          control->reply.consumer_waiting = static_cast<uint32_t>(OddNumber(random));
          break;
        default:
          control->client_heartbeat = random.Next();
      }
      rings->Ring();
    }
    if (seed % 3 == 0) kept.push_back(*std::move(rings));
  }
  ExpectProgress();
}

TEST_F(HostileMemoryTest, AClientThatRevokesItselfHoldsUpNobody) {
  std::vector<OpenRings> kept;
  const absl::Time start = absl::Now();
  for (int i = 0; i < 20; ++i) {
    auto rings = ConnectRings(daemon_.socket_path());
    ASSERT_TRUE(rings.ok()) << rings.status();
    std::atomic_ref<uint32_t>(rings->memory.control()->revoked).store(1);
    rings->Ring();
    kept.push_back(*std::move(rings));
    absl::SleepFor(absl::Milliseconds(5));
  }
  EXPECT_LT(absl::Now() - start, absl::Seconds(2)) << "nobody can come in";
  ExpectProgress();
}

TEST_F(HostileMemoryTest, AHalfClosedClientThatGoesOnSending) {
  std::atomic<bool> stop{false};
  RawSession session = Session();
  std::thread flood([&] {
    while (!stop.load()) {
      (void)session.channel().Send({.opcode = static_cast<uint16_t>(Opcode::kRelease)}, {});
    }
  });
  absl::SleepFor(absl::Milliseconds(20));
  ASSERT_EQ(shutdown(session.channel().hangup_fd(), SHUT_WR), 0);
  ExpectProgress();
  stop.store(true);
  flood.join();
}

TEST_F(HostileMemoryTest, WakeUpsWithoutEnd) {
  std::atomic<bool> stop{false};
  auto rings = ConnectRings(daemon_.socket_path());
  ASSERT_TRUE(rings.ok()) << rings.status();
  std::thread ringing([&] {
    while (!stop.load()) rings->Ring();
  });
  ExpectProgress();
  EXPECT_TRUE(Session().OpenSpace(KnownManifest()).ok());
  stop.store(true);
  ringing.join();
}

// --- the arena
// ------------------------------------------------------------------------------------

TEST_F(HostileMemoryTest, ReservationsCommittedWithoutAContainerNeverBecomeVisible) {
  RawSession session = Session();
  ASSERT_TRUE(session.OpenSpace(KnownManifest()).ok());
  SeededRandom random(3);
  for (uint64_t round = 0; round < 200; ++round) {
    const auto keys = KnownKeys(round, 2);
    const auto outcomes = session.Reserve(keys);
    ASSERT_TRUE(outcomes.ok()) << outcomes.status();
    KnownBuffers buffers(1, KnownManifest());
    buffers.Fill({keys[0]});
    const ConstSegment payload = buffers.sources(1)[0][0];
    std::vector<uint64_t> reservations;
    for (const ReserveOutcomeMessage& outcome : *outcomes) {
      ASSERT_EQ(outcome.kind, 0u);
      reservations.push_back(outcome.reservation);
      // A container of another key, or with a damaged head, or none at all.
      ASSERT_TRUE(
          session.Fill(outcome, KnownKeys(round + 1000, 1)[0], {payload.data, payload.size}).ok());
      auto extent = session.arena().subspan(outcome.offset, session.container_bytes());
      if (round % 3 == 1) extent[random.Below(sizeof(ContainerHeader))] ^= 1 << random.Below(8);
      if (round % 3 == 2) std::fill(extent.begin(), extent.begin() + 4096, uint8_t{0});
    }
    const auto codes = session.Commit(reservations);
    ASSERT_TRUE(codes.ok()) << codes.status();
    EXPECT_THAT(*codes, testing::Each(testing::Ne(0u)));
    EXPECT_EQ(*session.Match(keys), 0u);
    session.rings()->Beat();
  }
}

TEST_F(HostileMemoryTest, AScribbledArenaIsAMissAndNeverAWrongByte) {
  good_->Stop();  // Its chunks would be scribbled on, too.
  const auto client = ConnectClient(daemon_.socket_path());
  ClientSpace space = *client->Open(KnownManifest());
  KnownBuffers buffers(kChunks, space.manifest());
  constexpr uint64_t kChains = 32;
  for (uint64_t chain = 0; chain < kChains; ++chain) {
    const auto keys = KnownKeys(chain, kChunks);
    buffers.Fill(keys);
    ASSERT_EQ(space.Put(keys, buffers.sources(kChunks)).stored, kChunks);
  }
  const uint64_t chunks = client->Stats()->chunks;
  {
    const RawSession vandal = Session();
    SeededRandom random(4);
    std::span<uint8_t> arena = vandal.arena();
    for (size_t at = 0; at + 8 <= arena.size(); at += 8) {
      if (at % 2048 != 0) continue;
      const uint64_t word = random.Next();
      std::memcpy(arena.data() + at, &word, sizeof word);
    }
  }
  for (uint64_t chain = 0; chain < kChains; ++chain) {
    const auto keys = KnownKeys(chain, kChunks);
    buffers.Spoil();
    const FetchResult fetch = space.Fetch(keys, buffers.destinations(kChunks));
    EXPECT_EQ(fetch.chunks, 0u);
    EXPECT_TRUE(absl::IsDataLoss(fetch.status)) << fetch.status;
  }
  // The daemon looked at what was reported and removed it; the rest of its books is as it was.
  EXPECT_TRUE(Eventually([&] { return client->Stats()->corrupt_chunks == kChains; }))
      << client->Stats()->corrupt_chunks;
  EXPECT_EQ(client->Stats()->chunks, chunks - kChains);
  for (uint64_t chain = 0; chain < kChains; ++chain) {
    EXPECT_TRUE(space.Remove(KnownKeys(chain, kChunks)).ok());
  }
  const auto keys = KnownKeys(500, kChunks);
  buffers.Fill(keys);
  EXPECT_EQ(space.Put(keys, buffers.sources(kChunks)).stored, kChunks);
  EXPECT_EQ(CheckChain(space, 500, kChunks, buffers).present, kChunks);
  good_ = std::make_unique<GoodClient>(daemon_.socket_path());
}

TEST_F(HostileMemoryTest, AnArenaScribbledOnWithoutEndNeverGivesAWrongByte) {
  good_->Stop();
  std::atomic<bool> stop{false};
  std::thread vandal([&] {
    const RawSession session = Session();
    SeededRandom random(5);
    while (!stop.load()) {
      session.arena()[random.Below(session.arena().size())] ^= static_cast<uint8_t>(random.Next());
      session.arena()[random.Below(16 << 20)] ^= static_cast<uint8_t>(random.Next());
    }
  });
  const auto client = ConnectClient(daemon_.socket_path());
  ClientSpace space = *client->Open(KnownManifest());
  KnownBuffers buffers(kChunks, space.manifest());
  uint64_t fetched = 0, damaged = 0;
  for (uint64_t chain = 0; chain < 300; ++chain) {
    const auto keys = KnownKeys(chain, kChunks);
    buffers.Fill(keys);
    (void)space.Put(keys, buffers.sources(kChunks));
    buffers.Spoil();
    const FetchResult fetch = space.Fetch(keys, buffers.destinations(kChunks));
    EXPECT_EQ(buffers.CountRight(keys, fetch.chunks), fetch.chunks) << "wrong bytes";
    fetched += fetch.chunks;
    damaged += absl::IsDataLoss(fetch.status) ? 1 : 0;
  }
  stop.store(true);
  vandal.join();
  std::printf("%llu chunks fetched, %llu fetches ended at damage\n",
              static_cast<unsigned long long>(fetched), static_cast<unsigned long long>(damaged));
  EXPECT_GT(fetched + damaged, 0u);
  good_ = std::make_unique<GoodClient>(daemon_.socket_path());
}

}  // namespace
}  // namespace larder
