#include "transport/peer/peer_handshake.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/byte_order.h"

namespace larder {
namespace {

std::span<const uint8_t> AsBytes(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

void WriteText(ByteWriter& writer, absl::string_view text) {
  writer.Write(static_cast<uint16_t>(text.size()));
  writer.WriteBytes(AsBytes(text));
}

std::string ReadText(ByteReader& reader) {
  const std::span<const uint8_t> bytes = reader.ReadBytes(reader.Read<uint16_t>());
  return {bytes.begin(), bytes.end()};
}

PeerNonce ReadNonce(ByteReader& reader) {
  PeerNonce nonce = {};
  const std::span<const uint8_t> bytes = reader.ReadBytes(nonce.size());
  std::copy(bytes.begin(), bytes.end(), nonce.begin());
  return nonce;
}

// A payload has exactly the fields of its layout.
absl::Status CheckEnd(const ByteReader& reader, absl::string_view what) {
  if (reader.ok() && reader.remaining() == 0) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(what, reader.ok() ? " is too long" : " is too short"));
}

bool IsPrintable(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

}  // namespace

std::vector<uint8_t> EncodePeerHello(const PeerHello& hello) {
  ByteWriter writer;
  writer.Write(hello.version_min);
  writer.Write(hello.version_max);
  writer.Write(hello.connection);
  writer.Write(hello.session);
  writer.Write(hello.epoch);
  writer.WriteBytes(hello.nonce);
  WriteText(writer, hello.cluster);
  WriteText(writer, hello.node);
  WriteText(writer, hello.wanted_node);
  return writer.Take();
}

absl::StatusOr<PeerHello> DecodePeerHello(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  PeerHello hello;
  hello.version_min = reader.Read<uint16_t>();
  hello.version_max = reader.Read<uint16_t>();
  hello.connection = reader.Read<uint32_t>();
  hello.session = reader.Read<uint64_t>();
  hello.epoch = reader.Read<uint64_t>();
  hello.nonce = ReadNonce(reader);
  hello.cluster = ReadText(reader);
  hello.node = ReadText(reader);
  hello.wanted_node = ReadText(reader);
  RETURN_IF_ERROR(CheckEnd(reader, "hello"));
  if (hello.version_min == 0 || hello.version_min > hello.version_max) {
    return absl::DataLossError(absl::StrCat("hello offers protocol versions ", hello.version_min,
                                            " to ", hello.version_max));
  }
  if (hello.session == 0 || hello.connection >= kConnectionsPerPeerMax) {
    return absl::DataLossError(
        absl::StrCat("hello is for connection ", hello.connection, " of session ", hello.session));
  }
  if (!IsNodeName(hello.cluster) || !IsNodeName(hello.node) || !IsNodeName(hello.wanted_node)) {
    return absl::DataLossError("hello holds a name that is none");
  }
  return hello;
}

std::vector<uint8_t> EncodePeerChallenge(const PeerChallenge& challenge) {
  ByteWriter writer;
  writer.Write(challenge.version);
  writer.Write(uint16_t{0});
  writer.Write(uint32_t{0});
  writer.Write(challenge.epoch);
  writer.WriteBytes(challenge.nonce);
  return writer.Take();
}

absl::StatusOr<PeerChallenge> DecodePeerChallenge(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  PeerChallenge challenge;
  challenge.version = reader.Read<uint16_t>();
  const bool zero = (reader.Read<uint16_t>() | reader.Read<uint32_t>()) == 0;
  challenge.epoch = reader.Read<uint64_t>();
  challenge.nonce = ReadNonce(reader);
  RETURN_IF_ERROR(CheckEnd(reader, "challenge"));
  if (!zero) return absl::DataLossError("challenge's reserved bytes are not zero");
  return challenge;
}

std::vector<uint8_t> EncodePeerRefused(const PeerRefused& refused) {
  ByteWriter writer;
  writer.Write(static_cast<uint16_t>(refused.reason));
  WriteText(writer, absl::string_view(refused.text).substr(0, kPeerRefusalTextMax));
  return writer.Take();
}

absl::StatusOr<PeerRefused> DecodePeerRefused(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  const auto reason = reader.Read<uint16_t>();
  std::string text = ReadText(reader);
  RETURN_IF_ERROR(CheckEnd(reader, "refusal"));
  if (reason == 0 || reason >= kPeerRefusals || text.size() > kPeerRefusalTextMax ||
      !IsPrintable(text)) {
    return absl::DataLossError(absl::StrCat("refusal with reason ", reason));
  }
  return PeerRefused{static_cast<PeerRefusal>(reason), std::move(text)};
}

PeerProof MakePeerProof(const std::string& secret, PeerSide side, std::span<const uint8_t> hello,
                        std::span<const uint8_t> challenge) {
  // The hello has no fixed size, but the challenge behind it has.
  std::vector<uint8_t> said = {static_cast<uint8_t>(side)};
  said.insert(said.end(), hello.begin(), hello.end());
  said.insert(said.end(), challenge.begin(), challenge.end());
  PeerProof proof = {};
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()), said.data(), said.size(),
       proof.data(), nullptr);
  return proof;
}

bool IsPeerProof(const PeerProof& expected, std::span<const uint8_t> payload) {
  return payload.size() == expected.size() &&
         CRYPTO_memcmp(expected.data(), payload.data(), expected.size()) == 0;
}

}  // namespace larder
