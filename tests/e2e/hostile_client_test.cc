// Clients that break every rule of the protocol while a good one works and checks every byte.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>

#include <atomic>
#include <bit>
#include <cstring>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/keys_message.h"
#include "common/random.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/known_chunks.h"
#include "tests/e2e/raw_session.h"
#include "transport/local/frame.h"
#include "transport/local/ring_memory.h"
#include "transport/local/socket.h"

namespace larder {
namespace {

constexpr size_t kChunks = 8;
constexpr uint16_t kLastOpcode = static_cast<uint16_t>(Opcode::kReportCorrupt);

std::vector<uint8_t> RandomBytes(Random& random, size_t size) {
  std::vector<uint8_t> bytes(size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Next());
  return bytes;
}

// A small number, a huge one or anything: what finds bounds that are not checked.
uint64_t OddNumber(Random& random) {
  switch (random.Below(5)) {
    case 0:
      return random.Below(8);
    case 1:
      return ~random.Below(8);
    case 2:
      return uint64_t{1} << random.Below(64);
    case 3:
      return (uint64_t{1} << random.Below(64)) - 1;
    default:
      return random.Next();
  }
}

// A client that puts, matches, fetches and removes, and notes everything that goes wrong.
class GoodClient {
 public:
  explicit GoodClient(const std::string& socket_path)
      : client_(ConnectClient(socket_path)), thread_([this] { Run(); }) {}
  ~GoodClient() { Stop(); }

  void Stop() {
    stop_.store(true);
    if (thread_.joinable()) thread_.join();
  }
  uint64_t rounds() const { return rounds_.load(); }
  // REQUIRES: stopped.
  const std::string& trouble() const { return trouble_; }

 private:
  void Run() {
    absl::StatusOr<ClientSpace> space = client_->Open(KnownManifest(), "good");
    if (!space.ok()) {
      trouble_ = space.status().ToString();
      return;
    }
    KnownBuffers buffers(kChunks, space->manifest());
    while (!stop_.load() && trouble_.empty()) {
      Round(*space, buffers);
      ++rounds_;
    }
  }

  void Round(ClientSpace& space, KnownBuffers& buffers) {
    const auto keys = KnownKeys(1'000'000 + rounds_.load(), kChunks);
    buffers.Fill(keys);
    const PutResult put = space.Put(keys, buffers.sources(kChunks));
    if (!put.status.ok()) trouble_ = absl::StrCat("put: ", put.status.ToString());
    const MatchResult match = space.Match(keys);
    if (match.chunks != kChunks) {
      trouble_ = absl::StrCat("match of ", match.chunks, ": ", match.status.ToString());
    }
    buffers.Spoil();
    const FetchResult fetch = space.Fetch(keys, buffers.destinations(kChunks));
    if (fetch.chunks != kChunks) trouble_ = absl::StrCat("fetch: ", fetch.status.ToString());
    if (buffers.CountRight(keys, kChunks) != kChunks) trouble_ = "wrong bytes";
    const absl::StatusOr<uint32_t> removed = space.Remove(keys);
    if (!removed.ok() || *removed != kChunks) trouble_ = "remove";
  }

  std::unique_ptr<Client> client_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> rounds_{0};
  std::string trouble_;
  std::thread thread_;
};

class HostileClientTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(daemon_.Start());
    good_ = std::make_unique<GoodClient>(daemon_.socket_path());
    ASSERT_TRUE(Eventually([this] { return good_->rounds() > 3; }));
  }

  // The daemon lives, the good client never had an error and goes on, and nothing is held.
  void TearDown() override {
    ASSERT_TRUE(daemon_.running()) << daemon_.process().Output();
    ExpectProgress();
    good_->Stop();
    EXPECT_EQ(good_->trouble(), "");
    const auto client = ConnectClient(daemon_.socket_path());
    EXPECT_TRUE(Eventually([&] { return client->Stats()->leases == 0; }));
    EXPECT_TRUE(Eventually([&] { return client->Stats()->reservations == 0; }))
        << client->Stats()->reservations;
    EXPECT_TRUE(Eventually([&] { return client->Stats()->sessions <= 3; }))
        << client->Stats()->sessions;
  }

  void ExpectProgress() {
    const uint64_t rounds = good_->rounds();
    EXPECT_TRUE(Eventually([&] { return good_->rounds() > rounds + 3; }, absl::Seconds(10)))
        << "the good client no longer gets on";
  }

  FileDescriptor RawSocket() {
    auto socket = UnixConnect(daemon_.socket_path(), SystemClock::Get().Now() + kPatience);
    EXPECT_TRUE(socket.ok()) << socket.status();
    return *std::move(socket);
  }
  RawSession Session(bool wants_rings = true) {
    auto session = RawSession::Connect(daemon_.socket_path(), wants_rings);
    EXPECT_TRUE(session.ok()) << session.status();
    return *std::move(session);
  }

  SharedDirectory directory_;
  DaemonProcess daemon_{
      directory_.path(),
      {.arena_bytes = uint64_t{64} << 20,
       .flags = {"--set", "local.handshake_timeout=500ms", "--set", "local.session_timeout=2s",
                 "--set", "local.heartbeat_interval=200ms", "--log-level", "error"}}};
  std::unique_ptr<GoodClient> good_;
};

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
                             .reserved = 0,
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

TEST_F(HostileClientTest, ScribbledRings) {
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

TEST_F(HostileClientTest, AClientThatRevokesItselfHoldsUpNobody) {
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

TEST_F(HostileClientTest, AHalfClosedClientThatGoesOnSending) {
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

TEST_F(HostileClientTest, WakeUpsWithoutEnd) {
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

TEST_F(HostileClientTest, ReservationsCommittedWithoutAContainerNeverBecomeVisible) {
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

TEST_F(HostileClientTest, AScribbledArenaIsAMissAndNeverAWrongByte) {
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

TEST_F(HostileClientTest, AnArenaScribbledOnWithoutEndNeverGivesAWrongByte) {
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
