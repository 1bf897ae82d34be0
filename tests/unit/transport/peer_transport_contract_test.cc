// What every kind of peer transport promises (transport/peer/peer_transport.h).
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "tests/unit/transport/peer_kinds.h"
#include "tests/unit/transport/peer_nodes.h"

namespace larder {
namespace {

using testing::ElementsAre;

constexpr uint64_t kSeed = 20260307;
constexpr uint64_t kWindow = 77;
constexpr uint64_t kTile = 4096;

class PeerTransportContractTest : public testing::TestWithParam<PeerKind> {
 protected:
  void SetUp() override {
    SCOPED_TRACE(absl::StrCat("seed ", kSeed));
    const absl::Status permitted = world_.Permitted();
    if (!permitted.ok()) GTEST_SKIP() << permitted.message();
    Start(a_, NodeOptions("a"));
    Start(b_, NodeOptions("b"));
    Introduce(a_, b_);
  }

  void Start(TestNode& node, const PeerTransportOptions& options) {
    absl::StatusOr<std::unique_ptr<PeerTransport>> started =
        world_.Start(options, node.memory.memory(), &node.handler);
    ASSERT_TRUE(started.ok()) << started.status();
    node.transport = std::move(*started);
  }

  // As Start, at the address that it had.
  void Restart(TestNode& node, PeerTransportOptions options) {
    const std::string address = node.transport->listen_address();
    node.transport.reset();
    node.handler.ForgetPeers();
    if (GetParam() != PeerKind::kMemory) options.listen = address;
    Start(node, options);
  }

  void Introduce(TestNode& one, TestNode& other) {
    ASSERT_TRUE(one.transport->SetPeers({{"b", other.transport->listen_address()}}).ok());
    ASSERT_TRUE(other.transport->SetPeers({{"a", one.transport->listen_address()}}).ok());
    ASSERT_TRUE(one.handler.WaitUp("b"));
    ASSERT_TRUE(other.handler.WaitUp("a"));
  }

  // b opens a window for a's writes over these ranges of its memory.
  void OpenAtB(std::vector<MemoryRange> ranges, PayloadSum sum = PayloadSum::kTransport) {
    ASSERT_TRUE(
        b_.transport->OpenWindow(kWindow, "a", WindowAccess::kWrite, std::move(ranges), sum).ok());
  }

  // a writes, and the write ends well.
  void WriteFromA(PeerTransfer write) {
    const uint64_t token = write.token;
    const absl::StatusOr<WriteState> state = a_.transport->Write("b", std::move(write));
    ASSERT_TRUE(state.ok()) << state.status();
    if (*state == WriteState::kUnderWay) {
      EXPECT_TRUE(WrittenAtA(token));
    }
  }
  bool WrittenAtA(uint64_t token) {
    EXPECT_TRUE(
        a_.handler.WaitFor([&](const auto& record) { return record.written.contains(token); }));
    return a_.handler.record().written[token];
  }
  bool ReadAtA(uint64_t token) {
    EXPECT_TRUE(
        a_.handler.WaitFor([&](const auto& record) { return record.read.contains(token); }));
    return a_.handler.record().read[token];
  }
  // a's message after so many bytes of the window arrives.
  void AwaitAtB(uint64_t window_bytes) {
    ASSERT_TRUE(a_.transport->SendAfter("b", Text("done"), kWindow, window_bytes).ok());
    ASSERT_TRUE(b_.handler.WaitMessages(1));
    const RecordingHandler::Message message = b_.handler.record().messages.at(0);
    EXPECT_EQ(message.window, kWindow);
    EXPECT_EQ(message.payload, Text("done"));
  }

  PeerWorld world_ = PeerWorld(GetParam());
  TestNode a_ = TestNode(kSeed), b_ = TestNode(kSeed + 1);
};

TEST_P(PeerTransportContractTest, CarriesMessagesInOrderBothWays) {
  constexpr size_t kMessages = 300;
  const auto payload = [](size_t i) { return std::vector<uint8_t>(i * 37 % 5000, uint8_t(i)); };
  for (size_t i = 0; i < kMessages; ++i) {
    ASSERT_TRUE(a_.transport->Send("b", payload(i)).ok());
    ASSERT_TRUE(b_.transport->Send("a", payload(i + 1)).ok());
  }
  ASSERT_TRUE(a_.handler.WaitMessages(kMessages));
  ASSERT_TRUE(b_.handler.WaitMessages(kMessages));
  const auto at_a = a_.handler.record().messages, at_b = b_.handler.record().messages;
  for (size_t i = 0; i < kMessages; ++i) {
    EXPECT_EQ(at_b[i].payload, payload(i));
    EXPECT_EQ(at_b[i].node, "a");
    EXPECT_EQ(at_b[i].epoch, 1u);
    EXPECT_EQ(at_b[i].window, 0u);
    EXPECT_EQ(at_a[i].payload, payload(i + 1));
  }
}

TEST_P(PeerTransportContractTest, RefusesWhatItCannotSend) {
  EXPECT_EQ(a_.transport->Send("c", Text("x")).code(), absl::StatusCode::kUnavailable);
  const std::vector<uint8_t> large(NodeOptions("a").message_bytes_max + 1);
  EXPECT_EQ(a_.transport->Send("b", large).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(a_.transport->SendAfter("b", Text("x"), 0, 1).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(a_.transport->Write("c", {1, kWindow, 0, {{0, 1}}, In(kPatience)}).status().code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(a_.transport->Write("b", {1, kWindow, 0, {{kNodeMemoryBytes - 1, 2}}, In(kPatience)})
                .status()
                .code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(a_.transport->Read("b", {1, kWindow, 0, {}, In(kPatience)}).code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(a_.transport->Send("b", large.empty() ? large : Text("fine")).ok());
  EXPECT_TRUE(b_.handler.WaitMessages(1));
}

TEST_P(PeerTransportContractTest, CarriesTheLargestAndTheEmptyMessage) {
  std::vector<uint8_t> largest(NodeOptions("a").message_bytes_max);
  for (size_t i = 0; i < largest.size(); ++i) largest[i] = static_cast<uint8_t>(i * 7 >> 3);
  ASSERT_TRUE(a_.transport->Send("b", largest).ok());
  ASSERT_TRUE(a_.transport->Send("b", {}).ok());
  ASSERT_TRUE(b_.handler.WaitMessages(2));
  EXPECT_EQ(b_.handler.record().messages[0].payload, largest);
  EXPECT_TRUE(b_.handler.record().messages[1].payload.empty());
}

TEST_P(PeerTransportContractTest, WritesIntoAWindow) {
  for (const uint64_t bytes :
       {uint64_t{1}, uint64_t{5000}, uint64_t{100'000}, uint64_t{9'000'001}}) {
    SCOPED_TRACE(bytes);
    const uint64_t window = kWindow + bytes;
    ASSERT_TRUE(b_.transport->OpenWindow(window, "a", WindowAccess::kWrite, {{kTile, bytes}}).ok());
    const std::vector<uint8_t> before = b_.memory.Copy(0, kTile);
    const std::vector<uint8_t> after = b_.memory.Copy(kTile + bytes, kTile);
    WriteFromA({bytes, window, 0, {{12345, bytes}}, In(kPatience)});
    const size_t messages = b_.handler.record().messages.size();
    ASSERT_TRUE(a_.transport->SendAfter("b", Text("done"), window, bytes).ok());
    ASSERT_TRUE(b_.handler.WaitMessages(messages + 1));
    EXPECT_EQ(b_.memory.Copy(kTile, bytes), a_.memory.Copy(12345, bytes));
    EXPECT_EQ(b_.memory.Copy(0, kTile), before);
    EXPECT_EQ(b_.memory.Copy(kTile + bytes, kTile), after);
  }
}

// A chunk of many extents goes into another set of extents.
TEST_P(PeerTransportContractTest, ScattersAndGathers) {
  std::vector<MemoryRange> from, to;
  std::vector<uint8_t> expected;
  SeededRandom random(kSeed);
  uint64_t bytes = 0;
  for (uint64_t i = 0; i < 300; ++i) {
    from.push_back({i * 5 * kTile, 1 + random.Below(4 * kTile)});
    bytes += from.back().bytes;
    const std::vector<uint8_t> part = a_.memory.Copy(from.back().offset, from.back().bytes);
    expected.insert(expected.end(), part.begin(), part.end());
  }
  for (uint64_t rest = bytes, i = 0; rest > 0; ++i) {
    to.push_back({i * 8 * kTile, std::min(rest, 1 + random.Below(7 * kTile))});
    rest -= to.back().bytes;
  }
  OpenAtB(to);
  WriteFromA({1, kWindow, 0, from, In(kPatience)});
  AwaitAtB(bytes);
  std::vector<uint8_t> arrived;
  for (const MemoryRange& range : to) {
    const std::vector<uint8_t> part = b_.memory.Copy(range.offset, range.bytes);
    arrived.insert(arrived.end(), part.begin(), part.end());
  }
  EXPECT_EQ(arrived, expected);
}

TEST_P(PeerTransportContractTest, SendsAMessageAfterTheBytesOfSeveralWrites) {
  constexpr uint64_t kPart = 3'000'000;
  OpenAtB({{0, 4 * kPart}});
  // Before any byte, and before the message of no window, which overtakes it.
  ASSERT_TRUE(a_.transport->SendAfter("b", Text("after"), kWindow, 4 * kPart).ok());
  ASSERT_TRUE(a_.transport->Send("b", Text("at once")).ok());
  ASSERT_TRUE(b_.handler.WaitMessages(1));
  EXPECT_EQ(b_.handler.record().messages[0].payload, Text("at once"));
  for (uint64_t i : {2, 0, 3, 1}) {
    WriteFromA({i + 1, kWindow, i * kPart, {{i * kPart, kPart}}, In(kPatience)});
  }
  ASSERT_TRUE(b_.handler.WaitMessages(2));
  EXPECT_EQ(b_.handler.record().messages[1].payload, Text("after"));
  EXPECT_EQ(b_.memory.Copy(0, 4 * kPart), a_.memory.Copy(0, 4 * kPart));
}

TEST_P(PeerTransportContractTest, ReadsFromAWindow) {
  for (const uint64_t bytes : {uint64_t{1}, uint64_t{70'000}, uint64_t{8'000'001}}) {
    SCOPED_TRACE(bytes);
    const uint64_t window = kWindow + bytes;
    ASSERT_TRUE(b_.transport
                    ->OpenWindow(window, "a", WindowAccess::kRead,
                                 {{kTile, 1 + bytes / 2}, {8 << 20, bytes / 2 + 1}})
                    .ok());
    ASSERT_TRUE(a_.transport->Read("b", {bytes, window, 1, {{0, bytes}}, In(kPatience)}).ok());
    EXPECT_TRUE(ReadAtA(bytes));
    std::vector<uint8_t> expected = b_.memory.Copy(kTile + 1, bytes / 2);
    const std::vector<uint8_t> rest = b_.memory.Copy(8 << 20, bytes - bytes / 2);
    expected.insert(expected.end(), rest.begin(), rest.end());
    EXPECT_EQ(a_.memory.Copy(0, bytes), expected);
  }
}

TEST_P(PeerTransportContractTest, ContentThatSumsItselfPasses) {
  constexpr uint64_t kBytes = 2'000'000;
  OpenAtB({{0, kBytes}}, PayloadSum::kContent);
  WriteFromA({1, kWindow, 0, {{0, kBytes}}, In(kPatience), PayloadSum::kContent});
  AwaitAtB(kBytes);
  EXPECT_EQ(b_.memory.Copy(0, kBytes), a_.memory.Copy(0, kBytes));
}

// Whatever is wrong with a write, not a byte of it is stored, and the session goes on.
TEST_P(PeerTransportContractTest, DropsWritesThatItDidNotAllow) {
  constexpr uint64_t kBytes = 300'000;
  const std::vector<uint8_t> before = b_.memory.Copy(0, kNodeMemoryBytes);
  const auto open = [&](uint64_t window, const std::string& node, WindowAccess access) {
    ASSERT_TRUE(b_.transport->OpenWindow(window, node, access, {{0, kBytes}}).ok());
  };
  open(1, "c", WindowAccess::kWrite);  // another's
  open(2, "a", WindowAccess::kRead);
  open(3, "a", WindowAccess::kWrite);
  open(4, "a", WindowAccess::kWrite);
  ASSERT_TRUE(b_.Close(4).ok());
  uint64_t token = 0;
  for (const auto& [window, offset, sum] :
       {std::tuple(uint64_t{1}, uint64_t{0}, PayloadSum::kTransport),
        std::tuple(uint64_t{2}, uint64_t{0}, PayloadSum::kTransport),
        std::tuple(uint64_t{3}, uint64_t{1}, PayloadSum::kTransport),
        std::tuple(uint64_t{3}, ~uint64_t{0}, PayloadSum::kTransport),
        std::tuple(uint64_t{3}, uint64_t{0}, PayloadSum::kContent),
        std::tuple(uint64_t{4}, uint64_t{0}, PayloadSum::kTransport),
        std::tuple(uint64_t{5}, uint64_t{0}, PayloadSum::kTransport)}) {
    ++token;
    const absl::StatusOr<WriteState> state =
        a_.transport->Write("b", {token, window, offset, {{0, kBytes}}, In(kPatience), sum});
    if (state.ok() && *state == WriteState::kUnderWay) {
      EXPECT_TRUE(WrittenAtA(token));
    }
  }
  ASSERT_TRUE(a_.transport->Send("b", Text("alive")).ok());
  ASSERT_TRUE(b_.handler.WaitMessages(1));
  EXPECT_EQ(b_.memory.Copy(0, kNodeMemoryBytes), before);
  EXPECT_THAT(b_.handler.record().changes, ElementsAre("up a 1"));
  EXPECT_GE(b_.transport->Stats().peers.at(0).dropped_bytes, 5 * kBytes);
}

TEST_P(PeerTransportContractTest, FailsReadsThatAreNotAllowed) {
  ASSERT_TRUE(b_.transport->OpenWindow(1, "c", WindowAccess::kRead, {{0, 1000}}).ok());
  ASSERT_TRUE(b_.transport->OpenWindow(2, "a", WindowAccess::kWrite, {{0, 1000}}).ok());
  ASSERT_TRUE(b_.transport->OpenWindow(3, "a", WindowAccess::kRead, {{0, 1000}}).ok());
  uint64_t token = 0;
  for (const auto& [window, offset] :
       {std::pair(1, 0), std::pair(2, 0), std::pair(3, 1), std::pair(9, 0)}) {
    ++token;
    ASSERT_TRUE(a_.transport
                    ->Read("b", {token,
                                 static_cast<uint64_t>(window),
                                 static_cast<uint64_t>(offset),
                                 {{0, 1000}},
                                 In(kPatience)})
                    .ok());
    EXPECT_FALSE(ReadAtA(token));
  }
  EXPECT_THAT(b_.handler.record().changes, ElementsAre("up a 1"));
}

TEST_P(PeerTransportContractTest, OpensAWindowOnlyOnceAndOnlyInItsMemory) {
  OpenAtB({{0, 100}});
  const auto open = [&](uint64_t window, std::vector<MemoryRange> ranges) {
    return b_.transport->OpenWindow(window, "a", WindowAccess::kWrite, std::move(ranges)).code();
  };
  EXPECT_EQ(open(kWindow, {{0, 100}}), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(open(0, {{0, 100}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(open(kWindowMax + 1, {{0, 100}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(open(1, {}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(open(1, {{0, 0}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(open(1, {{kNodeMemoryBytes - 99, 100}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(open(1, {{~uint64_t{0}, 100}}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(b_.Close(1).code(), absl::StatusCode::kNotFound);
}

TEST_P(PeerTransportContractTest, WritesNothingIntoAWindowThatWasReportedClosed) {
  constexpr uint64_t kBytes = 8 << 20;
  SeededRandom random(kSeed);
  for (uint64_t round = 1; round <= 20; ++round) {
    ASSERT_TRUE(b_.transport->OpenWindow(round, "a", WindowAccess::kWrite, {{0, kBytes}}).ok());
    ASSERT_TRUE(a_.transport->Write("b", {round, round, 0, {{0, kBytes}}, In(kPatience)}).ok());
    std::this_thread::sleep_for(std::chrono::microseconds(random.Below(2000)));
    ASSERT_TRUE(b_.Close(round).ok());
    ASSERT_TRUE(b_.handler.WaitClosed(round));
    std::memset(b_.memory.data(), static_cast<int>(round), kBytes);  // now it is b's own again
    EXPECT_TRUE(WrittenAtA(round));
    ASSERT_TRUE(a_.transport->Send("b", Text("next")).ok());
    ASSERT_TRUE(b_.handler.WaitMessages(round));
    EXPECT_EQ(b_.memory.Copy(0, kBytes), std::vector<uint8_t>(kBytes, uint8_t(round)));
  }
  EXPECT_THAT(b_.handler.record().changes, ElementsAre("up a 1"));
}

TEST_P(PeerTransportContractTest, DropsAMessageAfterBytesOfAClosedWindow) {
  OpenAtB({{0, 1000}});
  ASSERT_TRUE(a_.transport->SendAfter("b", Text("held"), kWindow, 1000).ok());
  ASSERT_TRUE(a_.transport->Send("b", Text("first")).ok());
  ASSERT_TRUE(b_.handler.WaitMessages(1));
  ASSERT_TRUE(b_.Close(kWindow).ok());
  ASSERT_TRUE(b_.handler.WaitClosed(kWindow));
  ASSERT_TRUE(a_.transport->SendAfter("b", Text("late"), kWindow, 1000).ok());
  ASSERT_TRUE(a_.transport->Send("b", Text("second")).ok());
  ASSERT_TRUE(b_.handler.WaitMessages(2));
  EXPECT_EQ(b_.handler.record().messages[1].payload, Text("second"));
  EXPECT_EQ(b_.transport->Stats().peers.at(0).dropped_messages, 2u);
}

TEST_P(PeerTransportContractTest, APeersEndIsNoticedAndItsTransfersFail) {
  ASSERT_TRUE(b_.transport->OpenWindow(1, "a", WindowAccess::kRead, {{0, 8 << 20}}).ok());
  OpenAtB({{0, 8 << 20}});
  b_.handler.Stop();
  ASSERT_TRUE(a_.transport->Send("b", Text("stops b")).ok());
  ASSERT_TRUE(b_.handler.WaitMessages(1));
  ASSERT_TRUE(a_.transport->Write("b", {1, kWindow, 0, {{0, 8 << 20}}, In(kPatience)}).ok());
  ASSERT_TRUE(a_.transport->Read("b", {2, 1, 0, {{8 << 20, 8 << 20}}, In(kPatience)}).ok());
  std::thread end([&] { b_.transport.reset(); });
  b_.handler.Release();
  end.join();
  ASSERT_TRUE(a_.handler.WaitDown("b"));
  EXPECT_TRUE(a_.handler.record().written.contains(1));
  EXPECT_TRUE(a_.handler.record().read.contains(2));
  EXPECT_EQ(a_.transport->Send("b", Text("x")).code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(a_.handler.record().changes, ElementsAre("up b 1", "down b 1"));
}

TEST_P(PeerTransportContractTest, ARestartedPeerIsUpWithItsNewEpoch) {
  for (uint64_t epoch = 2; epoch <= 4; ++epoch) {
    Restart(b_, NodeOptions("b", epoch));
    ASSERT_TRUE(b_.transport->SetPeers({{"a", a_.transport->listen_address()}}).ok());
    ASSERT_TRUE(a_.handler.WaitFor(
        [&](const auto& record) { return record.up.contains("b") && record.up.at("b") == epoch; }));
    ASSERT_TRUE(a_.transport->Send("b", Text(absl::StrCat("epoch ", epoch))).ok());
    ASSERT_TRUE(b_.handler.WaitMessages(epoch - 1));
  }
  EXPECT_THAT(a_.handler.record().changes, ElementsAre("up b 1", "down b 1", "up b 2", "down b 2",
                                                       "up b 3", "down b 3", "up b 4"));
}

TEST_P(PeerTransportContractTest, PeersNoLongerNamedAreDroppedAndComeBack) {
  ASSERT_TRUE(a_.transport->SetPeers({}).ok());
  ASSERT_TRUE(a_.handler.WaitDown("b"));
  ASSERT_TRUE(b_.handler.WaitDown("a"));
  EXPECT_EQ(a_.transport->Send("b", Text("x")).code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(a_.transport->Stats().peers.empty());
  ASSERT_TRUE(a_.transport->SetPeers({{"b", b_.transport->listen_address()}}).ok());
  ASSERT_TRUE(a_.handler.WaitUp("b"));
  ASSERT_TRUE(b_.handler.WaitUp("a"));
  ASSERT_TRUE(a_.transport->Send("b", Text("again")).ok());
  ASSERT_TRUE(b_.handler.WaitMessages(1));
}

TEST_P(PeerTransportContractTest, AFullQueueIsAnAnswerAndPasses) {
  b_.handler.Stop();
  const std::vector<uint8_t> payload(100'000, 'x');
  absl::Status status;
  size_t sent = 0;
  while (sent < 10'000 && (status = a_.transport->Send("b", payload)).ok()) ++sent;
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GE(sent, NodeOptions("a").queued_bytes_max / payload.size());
  EXPECT_LE(a_.transport->Stats().peers.at(0).queued_bytes, NodeOptions("a").queued_bytes_max);
  b_.handler.Release();
  ASSERT_TRUE(b_.handler.WaitMessages(sent));
  ASSERT_TRUE(a_.transport->Send("b", payload).ok());
  ASSERT_TRUE(b_.handler.WaitMessages(sent + 1));
  EXPECT_EQ(a_.transport->Stats().peers.at(0).queued_bytes, 0u);
}

TEST_P(PeerTransportContractTest, TransfersEndByTheirDeadlinesWhenThePeerStandsStill) {
  OpenAtB({{0, 16 << 20}});
  ASSERT_TRUE(b_.transport->OpenWindow(1, "a", WindowAccess::kRead, {{0, 1000}}).ok());
  b_.handler.Stop();
  ASSERT_TRUE(a_.transport->Send("b", Text("stops b")).ok());
  ASSERT_TRUE(b_.handler.WaitMessages(1));
  const MonotonicTime deadline = In(absl::Milliseconds(50));
  for (uint64_t token = 1; token <= 8; ++token) {
    ASSERT_TRUE(a_.transport->Write("b", {token, kWindow, 0, {{0, 16 << 20}}, deadline}).ok());
  }
  ASSERT_TRUE(a_.transport->Read("b", {9, 1, 0, {{0, 1000}}, deadline}).ok());
  EXPECT_FALSE(ReadAtA(9));
  EXPECT_LT(SystemClock::Get().Now() - deadline, absl::Seconds(2));
  // What was begun is free when the peer is down at the latest.
  for (uint64_t token = 1; token <= 8; ++token) EXPECT_FALSE(WrittenAtA(token));
  EXPECT_LT(SystemClock::Get().Now() - deadline, absl::Seconds(10));
  b_.handler.Release();
}

TEST_P(PeerTransportContractTest, TransfersUnderWayAreBounded) {
  b_.handler.Stop();
  ASSERT_TRUE(a_.transport->Send("b", Text("stops b")).ok());
  ASSERT_TRUE(b_.handler.WaitMessages(1));
  absl::Status status;
  uint64_t token = 0;
  while (token < 2 * kTransfersPerPeerMax && status.ok()) {
    ++token;
    status = a_.transport->Write("b", {token, kWindow, 0, {{0, 8 << 20}}, In(kPatience)}).status();
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_LE(token, kTransfersPerPeerMax + 2);
  b_.handler.Release();
}

TEST_P(PeerTransportContractTest, ThreadsSendAndWriteAtOnce) {
  constexpr uint64_t kThreads = 4, kRounds = 25, kPart = 600'000;
  for (uint64_t thread = 0; thread < kThreads; ++thread) {
    ASSERT_TRUE(
        b_.transport->OpenWindow(thread + 1, "a", WindowAccess::kWrite, {{thread * kPart, kPart}})
            .ok());
  }
  std::vector<std::thread> threads;
  for (uint64_t thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([this, thread] {
      for (uint64_t round = 0; round < kRounds; ++round) {
        const uint64_t bytes = round % 2 == 0 ? kPart : 20'000;
        const uint64_t token = 1 + thread * kRounds + round;
        const auto state = a_.transport->Write(
            "b", {token, thread + 1, 0, {{thread * kPart, bytes}}, In(kPatience)});
        ASSERT_TRUE(state.ok()) << state.status();
        ASSERT_TRUE(a_.transport->Send("b", {{static_cast<uint8_t>(thread)}}).ok());
      }
      const uint64_t bytes = (kRounds / 2 + 1) * kPart + kRounds / 2 * 20'000;
      ASSERT_TRUE(a_.transport->SendAfter("b", Text("all"), thread + 1, bytes).ok());
    });
  }
  for (std::thread& thread : threads) thread.join();
  ASSERT_TRUE(b_.handler.WaitMessages(kThreads * (kRounds + 1)));
  EXPECT_EQ(b_.memory.Copy(0, kThreads * kPart), a_.memory.Copy(0, kThreads * kPart));
}

TEST_P(PeerTransportContractTest, ATransportEndsInTheMidstOfTraffic) {
  OpenAtB({{0, 16 << 20}});
  std::atomic<bool> stop = false;
  std::thread traffic([&] {
    for (uint64_t token = 1; !stop; ++token) {
      (void)a_.transport->Write("b", {token, kWindow, 0, {{0, 4 << 20}}, In(kPatience)});
      (void)a_.transport->Send("b", std::vector<uint8_t>(1000));
      (void)a_.transport->Read("b", {token, 1, 0, {{8 << 20, 4 << 20}}, In(kPatience)});
    }
  });
  for (uint64_t epoch = 2; epoch <= 6; ++epoch) {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    Restart(b_, NodeOptions("b", epoch));
    OpenAtB({{0, 16 << 20}});
    ASSERT_TRUE(b_.transport->OpenWindow(1, "a", WindowAccess::kRead, {{0, 4 << 20}}).ok());
    ASSERT_TRUE(b_.transport->SetPeers({{"a", a_.transport->listen_address()}}).ok());
    ASSERT_TRUE(b_.handler.WaitFor([](const auto& record) { return !record.changes.empty(); }));
  }
  stop = true;
  traffic.join();
  a_.transport.reset();
  b_.transport.reset();
}

TEST_P(PeerTransportContractTest, SaysWhatItDid) {
  ASSERT_TRUE(a_.transport->Send("b", Text("one")).ok());
  ASSERT_TRUE(b_.handler.WaitMessages(1));
  const PeerTransportStats at_a = a_.transport->Stats(), at_b = b_.transport->Stats();
  ASSERT_EQ(at_a.peers.size(), 1u);
  EXPECT_EQ(at_a.peers[0].node, "b");
  EXPECT_EQ(at_a.peers[0].epoch, 1u);
  EXPECT_TRUE(at_a.peers[0].up);
  EXPECT_GE(at_a.peers[0].connections, 1u);
  EXPECT_EQ(at_a.peers[0].sessions, 1u);
  EXPECT_EQ(at_a.peers[0].messages_sent, 1u);
  EXPECT_GE(at_a.peers[0].bytes_sent, 3u);
  EXPECT_EQ(at_b.peers.at(0).messages_received, 1u);
  EXPECT_FALSE(at_a.engine.empty());
}

INSTANTIATE_TEST_SUITE_P(Kinds, PeerTransportContractTest, testing::ValuesIn(kPeerKinds),
                         [](const auto& kind) { return std::string(PeerKindName(kind.param)); });

}  // namespace
}  // namespace larder
