// The bytes of the protocol between nodes: the examples of docs/formats/peer_protocol.md.
#include "transport/peer/peer_frame.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "absl/strings/escaping.h"
#include "common/byte_order.h"
#include "transport/peer/peer_handshake.h"

namespace larder {
namespace {

using testing::HasSubstr;

constexpr uint32_t kMessageBytesMax = 256 * 1024;

std::string Hex(std::span<const uint8_t> bytes) {
  return absl::BytesToHexString({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

PeerHello ExampleHello() {
  PeerHello hello;
  hello.session = 0x1122334455667788;
  hello.epoch = 5;
  hello.cluster = "east";
  hello.node = "n1";
  hello.wanted_node = "n2";
  std::iota(hello.nonce.begin(), hello.nonce.end(), 0);
  return hello;
}

PeerChallenge ExampleChallenge() {
  PeerChallenge challenge;
  challenge.epoch = 9;
  std::iota(challenge.nonce.begin(), challenge.nonce.end(), 32);
  return challenge;
}

absl::Status DecodeWith(PeerFrame frame) {
  return DecodePeerHeader(EncodePeerHeader(frame), kMessageBytesMax).status();
}

TEST(PeerFrameTest, HelloIsTheOneOfThePage) {
  EXPECT_EQ(Hex(EncodePeerFrame({.kind = PeerFrameKind::kHello}, EncodePeerHello(ExampleHello()))),
            "4c44524e0100000046000000a110f0ec"
            "00000000000000000000000000000000"
            "00000000fbb155140100010000000000"
            "88776655443322110500000000000000"
            "000102030405060708090a0b0c0d0e0f"
            "101112131415161718191a1b1c1d1e1f"
            "04006561737402006e3102006e32");
}

TEST(PeerFrameTest, ProofsAreThoseOfThePage) {
  const std::vector<uint8_t> hello = EncodePeerHello(ExampleHello());
  const std::vector<uint8_t> challenge = EncodePeerChallenge(ExampleChallenge());
  const PeerProof dialler = MakePeerProof("between us", PeerSide::kDialler, hello, challenge);
  const PeerProof acceptor = MakePeerProof("between us", PeerSide::kAcceptor, hello, challenge);
  EXPECT_EQ(Hex(dialler), "5d5e1b642fad98963dbe560b965caaf8865fe65e1b3e1e3f93e1fde91d352460");
  EXPECT_EQ(Hex(acceptor), "44a1702658ea1fd01f4ab5de964ffe5a67ca58568786872d327c060fabae828f");
  EXPECT_TRUE(IsPeerProof(dialler, dialler));
  EXPECT_FALSE(IsPeerProof(dialler, acceptor));
  EXPECT_FALSE(IsPeerProof(dialler, std::span(dialler).first(31)));
}

TEST(PeerFrameTest, AMessageAfterBytesIsTheOneOfThePage) {
  const std::vector<uint8_t> payload = {'k', 'v'};
  const std::vector<uint8_t> bytes =
      EncodePeerFrame({.kind = PeerFrameKind::kMessage, .window = 7, .position = 4096}, payload);
  EXPECT_EQ(Hex(bytes),
            "4c44524e1000000002000000108a378f"
            "07000000000000000010000000000000"
            "00000000923322326b76");
}

TEST(PeerFrameTest, EveryFlippedBitOfAHeaderIsFound) {
  const PeerHeaderBytes good = EncodePeerHeader(
      {.kind = PeerFrameKind::kWrite, .payload_bytes = 100, .window = 3, .position = 50});
  ASSERT_TRUE(DecodePeerHeader(good, kMessageBytesMax).ok());
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    PeerHeaderBytes bad = good;
    bad[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
    EXPECT_EQ(DecodePeerHeader(bad, kMessageBytesMax).status().code(), absl::StatusCode::kDataLoss)
        << bit;
  }
}

TEST(PeerFrameTest, EachKindHasItsBounds) {
  EXPECT_TRUE(
      DecodeWith({.kind = PeerFrameKind::kMessage, .payload_bytes = kMessageBytesMax}).ok());
  EXPECT_THAT(DecodeWith({.kind = PeerFrameKind::kMessage, .payload_bytes = kMessageBytesMax + 1})
                  .message(),
              HasSubstr("262145 bytes"));
  EXPECT_FALSE(DecodeWith({.kind = PeerFrameKind::kWrite, .payload_bytes = 0, .window = 1}).ok());
  EXPECT_FALSE(
      DecodeWith({.kind = PeerFrameKind::kWrite, .payload_bytes = kPeerPieceBytesMax + 1}).ok());
  EXPECT_FALSE(
      DecodeWith({.kind = PeerFrameKind::kHello, .payload_bytes = kPeerHandshakeBytesMax + 1})
          .ok());
  EXPECT_FALSE(DecodeWith({.kind = PeerFrameKind::kPing, .payload_bytes = 1}).ok());
  EXPECT_FALSE(DecodeWith({.kind = PeerFrameKind::kPing, .window = 1}).ok());
  EXPECT_FALSE(DecodeWith({.kind = PeerFrameKind::kPing, .flags = kPeerFlagContentSum}).ok());
  EXPECT_FALSE(DecodeWith({.kind = PeerFrameKind::kReadFailed, .window = 1, .position = 1}).ok());
  EXPECT_FALSE(DecodeWith({.kind = static_cast<PeerFrameKind>(23)}).ok());
  EXPECT_FALSE(DecodeWith({.kind = PeerFrameKind::kWrite,
                           .flags = kPeerFlagContentSum,
                           .payload_bytes = 1,
                           .payload_crc = 1})
                   .ok());
}

TEST(PeerFrameTest, HandshakePayloadsComeBack) {
  EXPECT_EQ(DecodePeerHello(EncodePeerHello(ExampleHello())).value(), ExampleHello());
  EXPECT_EQ(DecodePeerChallenge(EncodePeerChallenge(ExampleChallenge())).value(),
            ExampleChallenge());
  const PeerRefused refused = {PeerRefusal::kCluster, "this is another one"};
  EXPECT_EQ(DecodePeerRefused(EncodePeerRefused(refused)).value(), refused);
}

TEST(PeerFrameTest, RefusesHellosThatMakeNoSense) {
  const auto decoded = [](auto change) {
    PeerHello hello = ExampleHello();
    change(hello);
    return DecodePeerHello(EncodePeerHello(hello)).status();
  };
  EXPECT_TRUE(decoded([](PeerHello&) {}).ok());
  EXPECT_FALSE(decoded([](PeerHello& hello) { hello.version_min = 0; }).ok());
  EXPECT_FALSE(decoded([](PeerHello& hello) { hello.version_min = 2; }).ok());
  EXPECT_FALSE(decoded([](PeerHello& hello) { hello.session = 0; }).ok());
  EXPECT_FALSE(decoded([](PeerHello& hello) { hello.connection = kConnectionsPerPeerMax; }).ok());
  EXPECT_FALSE(decoded([](PeerHello& hello) { hello.node = "a b"; }).ok());
  EXPECT_FALSE(decoded([](PeerHello& hello) { hello.cluster = ""; }).ok());
  EXPECT_FALSE(decoded([](PeerHello& hello) { hello.wanted_node = std::string(65, 'x'); }).ok());
  std::vector<uint8_t> bytes = EncodePeerHello(ExampleHello());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodePeerHello(std::span(bytes).first(size)).ok()) << size;
  }
  bytes.push_back(0);
  EXPECT_FALSE(DecodePeerHello(bytes).ok());
}

}  // namespace
}  // namespace larder
