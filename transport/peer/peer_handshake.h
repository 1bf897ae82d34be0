// How two nodes come to trust a connection: hello, challenge, proof, welcome. Each side shows that
// it knows the secret by an HMAC-SHA256 over everything both have said, so neither the versions nor
// the names can be changed on the way, and an answer cannot be used twice or sent back.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "transport/peer/peer_format.h"

namespace larder {

using PeerNonce = std::array<uint8_t, kPeerNonceBytes>;
using PeerProof = std::array<uint8_t, kPeerProofBytes>;

// Dialler to acceptor.
struct PeerHello {
  uint16_t version_min = kPeerVersionMin;
  uint16_t version_max = kPeerVersionMax;
  uint32_t connection = 0;  // its number in the session
  uint64_t session = 0;     // chosen by the dialler, not 0
  uint64_t epoch = 0;
  PeerNonce nonce = {};
  std::string cluster;
  std::string node;
  std::string wanted_node;

  friend bool operator==(const PeerHello&, const PeerHello&) = default;
};

// Acceptor to dialler.
struct PeerChallenge {
  uint16_t version = kPeerVersionMax;  // within the hello's bounds
  uint64_t epoch = 0;
  PeerNonce nonce = {};

  friend bool operator==(const PeerChallenge&, const PeerChallenge&) = default;
};

struct PeerRefused {
  PeerRefusal reason = PeerRefusal::kMalformed;
  std::string text;  // printable ASCII

  friend bool operator==(const PeerRefused&, const PeerRefused&) = default;
};

// Payloads of the frames. A decoder accepts what the encoder writes and nothing else: DATA_LOSS.
std::vector<uint8_t> EncodePeerHello(const PeerHello& hello);
absl::StatusOr<PeerHello> DecodePeerHello(std::span<const uint8_t> payload);
std::vector<uint8_t> EncodePeerChallenge(const PeerChallenge& challenge);
absl::StatusOr<PeerChallenge> DecodePeerChallenge(std::span<const uint8_t> payload);
std::vector<uint8_t> EncodePeerRefused(const PeerRefused& refused);
absl::StatusOr<PeerRefused> DecodePeerRefused(std::span<const uint8_t> payload);

enum class PeerSide : uint8_t { kDialler = 'D', kAcceptor = 'A' };
// The proof of that side; the payloads are those of the hello and of the challenge.
PeerProof MakePeerProof(const std::string& secret, PeerSide side, std::span<const uint8_t> hello,
                        std::span<const uint8_t> challenge);
// Compares in constant time.
bool IsPeerProof(const PeerProof& expected, std::span<const uint8_t> payload);

}  // namespace larder
