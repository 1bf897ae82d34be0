// What strangers, broken networks and misconfigured nodes do to the TCP transport.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/transport/peer_kinds.h"
#include "tests/unit/transport/peer_nodes.h"
#include "tests/unit/transport/tcp_proxy.h"
#include "transport/peer/peer_frame.h"
#include "transport/peer/peer_handshake.h"

namespace larder {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr uint64_t kSeed = 20260308;

class PeerTcpTest : public testing::TestWithParam<PeerKind> {
 protected:
  void SetUp() override {
    const absl::Status permitted = world_.Permitted();
    if (!permitted.ok()) GTEST_SKIP() << permitted.message();
  }

  void Start(TestNode& node, const PeerTransportOptions& options) {
    absl::StatusOr<std::unique_ptr<PeerTransport>> started =
        world_.Start(options, node.memory.memory(), &node.handler);
    ASSERT_TRUE(started.ok()) << started.status();
    node.transport = std::move(*started);
  }
  void StartB() {
    Start(b_, b_options_);
    ASSERT_TRUE(b_.transport->SetPeers({{"a", ""}}).ok());
  }
  // a dials b, directly or at another address.
  void StartA(const std::string& address_of_b = "") {
    Start(a_, NodeOptions("a"));
    ASSERT_TRUE(a_.transport
                    ->SetPeers({{"b", address_of_b.empty() ? b_.transport->listen_address()
                                                           : address_of_b}})
                    .ok());
  }

  // Waits until a has been refused for that reason, and both say so.
  void ExpectRefused(PeerRefusal reason) {
    const auto at = static_cast<size_t>(reason);
    const MonotonicTime limit = In(kPatience);
    while (a_.transport->Stats().refusals[at] == 0 && SystemClock::Get().Now() < limit) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    EXPECT_GE(a_.transport->Stats().refusals[at], 1u);
    EXPECT_GE(b_.transport->Stats().refused[at], 1u);
    EXPECT_THAT(a_.transport->Stats().peers.at(0).last_error, HasSubstr("refused"));
    EXPECT_TRUE(a_.handler.record().changes.empty());
    EXPECT_TRUE(b_.handler.record().changes.empty());
  }
  uint64_t RefusedAtB(PeerRefusal reason) {
    return b_.transport->Stats().refused[static_cast<size_t>(reason)];
  }

  PeerHello Hello() {
    PeerHello hello;
    hello.session = 1;
    hello.epoch = 1;
    hello.cluster = "test";
    hello.node = "a";
    hello.wanted_node = "b";
    return hello;
  }

  PeerWorld world_ = PeerWorld(GetParam());
  PeerTransportOptions b_options_ = NodeOptions("b");
  TestNode a_ = TestNode(kSeed), b_ = TestNode(kSeed + 1);
};

// Speaks the protocol by hand.
class RawPeer {
 public:
  explicit RawPeer(const std::string& address) : fd_(ConnectTo(address)) {
    const timeval limit = {10, 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }

  bool Send(std::span<const uint8_t> bytes) {
    return send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }
  bool SendFrame(PeerFrameKind kind, std::span<const uint8_t> payload) {
    return Send(EncodePeerFrame({.kind = kind}, payload));
  }
  // False at the end of the stream.
  bool Receive(PeerFrame* frame, std::vector<uint8_t>* payload) {
    PeerHeaderBytes header;
    if (!ReceiveAll(header)) return false;
    *frame = DecodePeerHeader(header, kPeerMessageBytesMax).value();
    payload->resize(frame->payload_bytes);
    return ReceiveAll(*payload);
  }
  // True when the other side ends the connection within the time.
  bool AwaitEnd() {
    uint8_t byte = 0;
    ssize_t received = 0;
    while ((received = recv(fd_.get(), &byte, 1, 0)) == 1) continue;
    return received == 0 || errno != EAGAIN;  // reset, while this side was still talking
  }
  PeerRefused AwaitRefusal() {
    PeerFrame frame;
    std::vector<uint8_t> payload;
    EXPECT_TRUE(Receive(&frame, &payload));
    EXPECT_EQ(frame.kind, PeerFrameKind::kRefused);
    return DecodePeerRefused(payload).value();
  }

 private:
  bool ReceiveAll(std::span<uint8_t> bytes) {
    return recv(fd_.get(), bytes.data(), bytes.size(), MSG_WAITALL) ==
           static_cast<ssize_t>(bytes.size());
  }

  FileDescriptor fd_;
};

TEST_P(PeerTcpTest, RefusesAnotherCluster) {
  b_options_.self.cluster = "other";
  StartB();
  StartA();
  ExpectRefused(PeerRefusal::kCluster);
}

TEST_P(PeerTcpTest, RefusesWhoDoesNotKnowTheSecret) {
  for (const std::string secret : {"another", ""}) {
    b_options_.secret = secret;
    StartB();
    StartA();
    ExpectRefused(PeerRefusal::kSecret);
    a_.transport.reset();
    b_.transport.reset();
  }
}

TEST_P(PeerTcpTest, RefusesANodeItDoesNotKnow) {
  StartB();
  ASSERT_TRUE(b_.transport->SetPeers({{"c", ""}}).ok());
  StartA();
  ExpectRefused(PeerRefusal::kUnknownNode);
}

TEST_P(PeerTcpTest, RefusesWhoWantedAnotherNode) {
  StartB();
  Start(a_, NodeOptions("a"));
  ASSERT_TRUE(a_.transport->SetPeers({{"c", b_.transport->listen_address()}}).ok());
  ExpectRefused(PeerRefusal::kWrongNode);
}

TEST_P(PeerTcpTest, RefusesItsOwnName) {
  StartB();
  Start(a_, NodeOptions("b"));
  // It cannot name itself as a peer, so that it takes the other for c.
  PeerHello hello = Hello();
  hello.node = "b";
  RawPeer raw(b_.transport->listen_address());
  ASSERT_TRUE(raw.SendFrame(PeerFrameKind::kHello, EncodePeerHello(hello)));
  EXPECT_EQ(raw.AwaitRefusal().reason, PeerRefusal::kOwnName);
  EXPECT_FALSE(a_.transport->SetPeers({{"b", b_.transport->listen_address()}}).ok());
}

TEST_P(PeerTcpTest, RefusesOtherVersions) {
  StartB();
  PeerHello hello = Hello();
  hello.version_min = kPeerVersionMax + 1;
  hello.version_max = kPeerVersionMax + 5;
  RawPeer raw(b_.transport->listen_address());
  ASSERT_TRUE(raw.SendFrame(PeerFrameKind::kHello, EncodePeerHello(hello)));
  const PeerRefused refused = raw.AwaitRefusal();
  EXPECT_EQ(refused.reason, PeerRefusal::kVersion);
  EXPECT_THAT(refused.text, HasSubstr("versions 1 to 1"));
  EXPECT_TRUE(raw.AwaitEnd());
}

TEST_P(PeerTcpTest, SpeaksTheBestVersionOfBoth) {
  StartB();
  PeerHello hello = Hello();
  hello.version_max = kPeerVersionMax + 5;
  RawPeer raw(b_.transport->listen_address());
  ASSERT_TRUE(raw.SendFrame(PeerFrameKind::kHello, EncodePeerHello(hello)));
  PeerFrame frame;
  std::vector<uint8_t> payload;
  ASSERT_TRUE(raw.Receive(&frame, &payload));
  ASSERT_EQ(frame.kind, PeerFrameKind::kChallenge);
  EXPECT_EQ(DecodePeerChallenge(payload)->version, kPeerVersionMax);
}

TEST_P(PeerTcpTest, AProofHoldsForItsOwnConversationAndSideOnly) {
  StartB();
  const std::vector<uint8_t> hello = EncodePeerHello(Hello());
  std::vector<uint8_t> last_proof;
  for (const bool again : {false, true}) {
    RawPeer raw(b_.transport->listen_address());
    ASSERT_TRUE(raw.SendFrame(PeerFrameKind::kHello, hello));
    PeerFrame frame;
    std::vector<uint8_t> challenge, payload;
    ASSERT_TRUE(raw.Receive(&frame, &challenge));
    const PeerProof proof = MakePeerProof(
        b_options_.secret, again ? PeerSide::kDialler : PeerSide::kAcceptor, hello, challenge);
    // The other side's proof, then one of an earlier challenge.
    ASSERT_TRUE(
        raw.SendFrame(PeerFrameKind::kProof,
                      again ? last_proof : std::vector<uint8_t>(proof.begin(), proof.end())));
    EXPECT_EQ(raw.AwaitRefusal().reason, PeerRefusal::kSecret);
    const PeerProof right = MakePeerProof(b_options_.secret, PeerSide::kDialler, hello, challenge);
    last_proof.assign(right.begin(), right.end());
  }
  EXPECT_TRUE(b_.handler.record().changes.empty());
}

TEST_P(PeerTcpTest, SurvivesGarbage) {
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  StartB();
  StartA();
  ASSERT_TRUE(a_.handler.WaitUp("b"));
  SeededRandom random(kSeed);
  constexpr uint64_t kRounds = 20;
  for (uint64_t round = 0; round < kRounds; ++round) {
    std::vector<uint8_t> garbage(40 + random.Below(5000));
    for (uint8_t& byte : garbage) byte = static_cast<uint8_t>(random.Next());
    RawPeer raw(b_.transport->listen_address());
    if (round % 2 == 1) {
      // Half of them begin well.
      ASSERT_TRUE(raw.SendFrame(PeerFrameKind::kHello, EncodePeerHello(Hello())));
    }
    raw.Send(garbage);  // may meet a closed door
    EXPECT_TRUE(raw.AwaitEnd());
  }
  EXPECT_EQ(RefusedAtB(PeerRefusal::kMalformed), kRounds);
  ASSERT_TRUE(a_.transport->Send("b", Text("alive")).ok());
  ASSERT_TRUE(b_.handler.WaitMessages(1));
  EXPECT_THAT(b_.handler.record().changes, ElementsAre("up a 1"));
}

TEST_P(PeerTcpTest, TrafficBeforeTheProofIsRefused) {
  StartB();
  for (const PeerFrameKind kind : {PeerFrameKind::kMessage, PeerFrameKind::kProof}) {
    RawPeer raw(b_.transport->listen_address());
    ASSERT_TRUE(raw.SendFrame(kind, Text("let me in")));
    EXPECT_EQ(raw.AwaitRefusal().reason, PeerRefusal::kMalformed);
  }
  EXPECT_TRUE(b_.handler.record().messages.empty());
}

TEST_P(PeerTcpTest, StrangersThatSayLittleAreFewAndDoNotStay) {
  b_options_.unauthenticated_max = 4;
  b_options_.handshake_timeout = absl::Milliseconds(300);
  StartB();
  std::vector<RawPeer> idle;
  for (int i = 0; i < 8; ++i) idle.emplace_back(b_.transport->listen_address());
  const std::vector<uint8_t> hello =
      EncodePeerFrame({.kind = PeerFrameKind::kHello}, EncodePeerHello(Hello()));
  std::thread drips([&] {
    for (const uint8_t byte : hello) {
      if (!idle[0].Send({&byte, 1})) break;
      absl::SleepFor(absl::Milliseconds(20));
    }
  });
  for (RawPeer& raw : idle) EXPECT_TRUE(raw.AwaitEnd());
  drips.join();
  EXPECT_GE(RefusedAtB(PeerRefusal::kTooMany), 4u);
  EXPECT_GE(RefusedAtB(PeerRefusal::kTimeout), 1u);
  StartA();
  EXPECT_TRUE(a_.handler.WaitUp("b"));
  // The other side of the last handshake may end a moment later, and another one begin.
  const MonotonicTime deadline = In(absl::Seconds(5));
  uint64_t unauthenticated = b_.transport->Stats().unauthenticated;
  while (unauthenticated > 0 && SystemClock::Get().Now() < deadline) {
    absl::SleepFor(absl::Milliseconds(5));
    unauthenticated = b_.transport->Stats().unauthenticated;
  }
  EXPECT_EQ(unauthenticated, 0u);
}

TEST_P(PeerTcpTest, APeerThatFallsSilentIsDown) {
  b_options_.peer_timeout = absl::Seconds(1);
  StartB();
  TcpProxy proxy(b_.transport->listen_address());
  StartA(proxy.address());
  ASSERT_TRUE(a_.handler.WaitUp("b"));
  ASSERT_TRUE(b_.handler.WaitUp("a"));
  proxy.Stall();
  EXPECT_TRUE(a_.handler.WaitDown("b"));
  EXPECT_TRUE(b_.handler.WaitDown("a"));
  EXPECT_THAT(b_.transport->Stats().peers.at(0).last_error, HasSubstr("nothing heard"));
}

TEST_P(PeerTcpTest, AnIdlePeerStaysUp) {
  b_options_.peer_timeout = absl::Milliseconds(400);
  StartB();
  StartA();
  ASSERT_TRUE(b_.handler.WaitUp("a"));
  absl::SleepFor(absl::Milliseconds(1200));
  EXPECT_THAT(b_.handler.record().changes, ElementsAre("up a 1"));
  const PeerStats stats = b_.transport->Stats().peers.at(0);
  EXPECT_GT(stats.round_trip, absl::ZeroDuration());
  EXPECT_EQ(stats.connections, 2u);
}

// Whatever is flipped on the way: what arrives is right, or does not arrive.
TEST_P(PeerTcpTest, NothingWrongArrivesOverADamagedNetwork) {
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  StartB();
  TcpProxy proxy(b_.transport->listen_address(), kSeed);
  StartA(proxy.address());
  proxy.FlipBits(5'000'000);
  constexpr uint64_t kBytes = 400'000;
  uint64_t arrived = 0;
  const MonotonicTime deadline = In(absl::Seconds(20));
  const auto enough = [&] {
    return proxy.flipped() > 1 && arrived > 10 && b_.handler.record().changes.size() > 2;
  };
  for (uint64_t round = 1; !enough() && SystemClock::Get().Now() < deadline; ++round) {
    ASSERT_TRUE(a_.handler.WaitUp("b"));
    ASSERT_TRUE(b_.transport->OpenWindow(round, "a", WindowAccess::kWrite, {{0, kBytes}}).ok());
    const std::vector<uint8_t> expected = a_.memory.Copy(round % 30 * kBytes, kBytes);
    const auto written = a_.transport->Write(
        "b", {round, round, 0, {{round % 30 * kBytes, kBytes}}, In(absl::Seconds(2))});
    const bool sent =
        written.ok() && a_.transport->SendAfter("b", Text("done"), round, kBytes).ok();
    const bool came =
        sent && b_.handler.WaitFor(
                    [&](const auto& record) {
                      return !record.up.contains("a") ||
                             (!record.messages.empty() && record.messages.back().window == round);
                    },
                    absl::Seconds(3));
    const auto messages = b_.handler.record().messages;
    if (came && !messages.empty() && messages.back().window == round) {
      ++arrived;
      EXPECT_EQ(messages.back().payload, Text("done"));
      EXPECT_EQ(b_.memory.Copy(0, kBytes), expected);
    }
    ASSERT_TRUE(b_.Close(round).ok());
    ASSERT_TRUE(b_.handler.WaitClosed(round));
  }
  EXPECT_GT(proxy.flipped(), 1u);
  EXPECT_GT(arrived, 10u);
  EXPECT_GT(b_.handler.record().changes.size(), 2u);
}

TEST_P(PeerTcpTest, OfTwoNodesOfOneNameTheNewestHolds) {
  StartB();
  StartA();
  ASSERT_TRUE(b_.handler.WaitUp("a"));
  TestNode impostor(kSeed + 2);
  Start(impostor, NodeOptions("a", 2));
  ASSERT_TRUE(impostor.transport->SetPeers({{"b", b_.transport->listen_address()}}).ok());
  ASSERT_TRUE(b_.handler.WaitFor([](const auto& record) { return record.changes.size() >= 3; }));
  const auto changes = b_.handler.record().changes;
  EXPECT_THAT(std::vector(changes.begin(), changes.begin() + 3),
              ElementsAre("up a 1", "down a 1", "up a 2"));
  a_.transport.reset();
  ASSERT_TRUE(b_.handler.WaitFor(
      [](const auto& record) { return record.up.contains("a") && record.up.at("a") == 2; }));
}

TEST_P(PeerTcpTest, FindsAPeerByItsHostsName) {
  StartB();
  const std::string address = b_.transport->listen_address();
  StartA(absl::StrCat("localhost", address.substr(address.rfind(':'))));
  EXPECT_TRUE(a_.handler.WaitUp("b"));
}

TEST_P(PeerTcpTest, SaysWhatIsWrongWithAnAddress) {
  StartB();
  for (const std::string address : {"nonsense", "127.0.0.1:1", "[::1", "host:"}) {
    Start(a_, NodeOptions("a"));
    ASSERT_TRUE(a_.transport->SetPeers({{"b", address}}).ok());
    const MonotonicTime limit = In(kPatience);
    while (a_.transport->Stats().peers.at(0).last_error.empty() &&
           SystemClock::Get().Now() < limit) {
      absl::SleepFor(absl::Milliseconds(5));
    }
    EXPECT_FALSE(a_.transport->Stats().peers.at(0).last_error.empty()) << address;
    a_.transport.reset();
  }
  PeerTransportOptions options = NodeOptions("a");
  options.listen = "nonsense";
  EXPECT_FALSE(world_.Start(options, a_.memory.memory(), &a_.handler).ok());
}

TEST_P(PeerTcpTest, AMessageOvertakesWhatIsNotYetWritten) {
  StartB();
  StartA();
  ASSERT_TRUE(a_.handler.WaitUp("b"));
  ASSERT_TRUE(b_.transport->OpenWindow(1, "a", WindowAccess::kWrite, {{0, 16 << 20}}).ok());
  constexpr uint64_t kWrites = 60;
  for (uint64_t token = 1; token <= kWrites; ++token) {
    ASSERT_TRUE(a_.transport->Write("b", {token, 1, 0, {{0, 16 << 20}}, In(kPatience)}).ok());
  }
  ASSERT_TRUE(a_.transport->Send("b", Text("urgent")).ok());
  ASSERT_TRUE(b_.handler.WaitMessages(1));
  EXPECT_LT(a_.handler.record().written.size(), kWrites / 2);
}

INSTANTIATE_TEST_SUITE_P(Kinds, PeerTcpTest, testing::ValuesIn(kTcpKinds),
                         [](const auto& kind) { return std::string(PeerKindName(kind.param)); });

}  // namespace
}  // namespace larder
