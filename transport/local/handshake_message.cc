#include "transport/local/handshake_message.h"

#include <algorithm>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/byte_order.h"

namespace larder {
namespace {

constexpr uint32_t kFlagWantsRings = 1;

bool IsPrintable(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= ' ' && c <= '~'; });
}

absl::string_view AsText(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::span<const uint8_t> AsBytes(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

absl::Status CheckHello(const Hello& hello) {
  if (hello.version_min == 0 || hello.version_min > hello.version_max) {
    return absl::InvalidArgumentError(absl::StrCat("hello offers protocol versions ",
                                                   hello.version_min, " to ", hello.version_max));
  }
  if (hello.client_name.size() > kClientNameBytesMax || !IsPrintable(hello.client_name)) {
    return absl::InvalidArgumentError(absl::StrCat("hello's client name has ",
                                                   hello.client_name.size(), " bytes; allowed are ",
                                                   kClientNameBytesMax, " of printable ASCII"));
  }
  return absl::OkStatus();
}

// A message has exactly the fields of its layout.
absl::Status CheckEnd(const ByteReader& reader, absl::string_view what, size_t payload_bytes) {
  if (!reader.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " ends early, after ", payload_bytes, " bytes"));
  }
  if (reader.remaining() != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " is followed by ", reader.remaining(), " more bytes"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<uint8_t>> EncodeHello(const Hello& hello) {
  RETURN_IF_ERROR(CheckHello(hello));
  ByteWriter writer;
  writer.Write(hello.version_min);
  writer.Write(hello.version_max);
  writer.Write(hello.wants_rings ? kFlagWantsRings : uint32_t{0});
  writer.Write(hello.spin_limit_us);
  writer.Write(static_cast<uint32_t>(hello.client_name.size()));
  writer.WriteBytes(AsBytes(hello.client_name));
  return writer.Take();
}

absl::StatusOr<Hello> DecodeHello(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  Hello hello;
  hello.version_min = reader.Read<uint16_t>();
  hello.version_max = reader.Read<uint16_t>();
  const auto flags = reader.Read<uint32_t>();
  hello.wants_rings = (flags & kFlagWantsRings) != 0;
  hello.spin_limit_us = reader.Read<uint32_t>();
  hello.client_name = std::string(AsText(reader.ReadBytes(reader.Read<uint32_t>())));
  RETURN_IF_ERROR(CheckEnd(reader, "hello", payload.size()));
  if ((flags & ~kFlagWantsRings) != 0) {
    return absl::InvalidArgumentError(absl::StrCat("hello's flags are ", flags));
  }
  RETURN_IF_ERROR(CheckHello(hello));
  return hello;
}

std::vector<uint8_t> EncodeWelcome(const Welcome& welcome) {
  ByteWriter writer;
  writer.Write(welcome.version);
  writer.Write(uint16_t{0});
  writer.Write(welcome.heartbeat_interval_ms);
  writer.Write(welcome.daemon_epoch);
  writer.Write(welcome.session.value);
  writer.WriteBytes(welcome.arena_uuid);
  writer.Write(welcome.arena_data_bytes);
  writer.Write(welcome.arena_granule_bytes);
  writer.Write(welcome.request_ring_bytes);
  writer.Write(welcome.reply_ring_bytes);
  writer.Write(uint32_t{0});
  return writer.Take();
}

absl::StatusOr<Welcome> DecodeWelcome(std::span<const uint8_t> payload) {
  ByteReader reader(payload);
  Welcome welcome;
  welcome.version = reader.Read<uint16_t>();
  const auto first_reserved = reader.Read<uint16_t>();
  welcome.heartbeat_interval_ms = reader.Read<uint32_t>();
  welcome.daemon_epoch = reader.Read<uint64_t>();
  welcome.session.value = reader.Read<uint64_t>();
  const std::span<const uint8_t> uuid = reader.ReadBytes(welcome.arena_uuid.size());
  welcome.arena_data_bytes = reader.Read<uint64_t>();
  welcome.arena_granule_bytes = reader.Read<uint32_t>();
  welcome.request_ring_bytes = reader.Read<uint32_t>();
  welcome.reply_ring_bytes = reader.Read<uint32_t>();
  const auto last_reserved = reader.Read<uint32_t>();
  RETURN_IF_ERROR(CheckEnd(reader, "welcome", payload.size()));
  if (first_reserved != 0 || last_reserved != 0) {
    return absl::InvalidArgumentError("welcome's reserved bytes are not zero");
  }
  std::copy(uuid.begin(), uuid.end(), welcome.arena_uuid.begin());
  if ((welcome.request_ring_bytes == 0) != (welcome.reply_ring_bytes == 0)) {
    return absl::InvalidArgumentError(absl::StrCat("welcome announces rings of ",
                                                   welcome.request_ring_bytes, " and ",
                                                   welcome.reply_ring_bytes, " bytes"));
  }
  return welcome;
}

std::vector<uint8_t> EncodeRefusal(const absl::Status& why) {
  const std::span<const uint8_t> message = AsBytes(why.message().substr(0, kRefusalBytesMax));
  return EncodeFrame({.opcode = kOpcodeRefused, .status = why.code()}, message);
}

absl::Status DecodeRefusal(const Frame& frame) {
  const std::span<const uint8_t> message =
      std::span(frame.payload).first(std::min(frame.payload.size(), kRefusalBytesMax));
  if (frame.header.status == 0 || frame.header.status > kStatusCodeMax) {
    return absl::DataLossError(
        absl::StrCat("a refusal with status ", frame.header.status, " was received"));
  }
  return absl::Status(static_cast<absl::StatusCode>(frame.header.status),
                      absl::StrCat("refused: ", absl::CHexEscape(AsText(message))));
}

}  // namespace larder
