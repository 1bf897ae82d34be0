#include "transport/peer/peer_frame.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/byte_order.h"
#include "common/crc32c.h"

namespace larder {
namespace {

// What a kind may carry.
struct KindRules {
  uint32_t payload_bytes_min = 0;
  uint32_t payload_bytes_max = 0;
  bool window = false;    // whether it may be other than 0
  bool position = false;  // the same
};

absl::StatusOr<KindRules> RulesOf(uint16_t kind, uint32_t message_bytes_max) {
  switch (static_cast<PeerFrameKind>(kind)) {
    case PeerFrameKind::kHello:
    case PeerFrameKind::kChallenge:
    case PeerFrameKind::kProof:
    case PeerFrameKind::kWelcome:
    case PeerFrameKind::kRefused:
      return KindRules{1, kPeerHandshakeBytesMax, false, false};
    case PeerFrameKind::kMessage:
      return KindRules{0, message_bytes_max, true, true};
    case PeerFrameKind::kWrite:
      return KindRules{1, kPeerPieceBytesMax, true, true};
    case PeerFrameKind::kRead:
      return KindRules{sizeof(PeerReadRequest), sizeof(PeerReadRequest), true, true};
    case PeerFrameKind::kReadFailed:
      return KindRules{0, 0, true, false};
    case PeerFrameKind::kPing:
    case PeerFrameKind::kPong:
    case PeerFrameKind::kTaken:
      return KindRules{0, 0, false, true};
  }
  return absl::DataLossError(absl::StrCat("frame kind ", kind, " is not known"));
}

uint16_t FlagsAllowed(PeerFrameKind kind) {
  return kind == PeerFrameKind::kWrite ? kPeerFlagContentSum | kPeerFlagWantsTaken : 0;
}

absl::Status CheckHeader(const PeerFrameHeader& header, uint32_t message_bytes_max) {
  ASSIGN_OR_RETURN(const KindRules rules, RulesOf(header.kind, message_bytes_max));
  const auto kind = static_cast<PeerFrameKind>(header.kind);
  if (header.payload_bytes < rules.payload_bytes_min ||
      header.payload_bytes > rules.payload_bytes_max) {
    return absl::DataLossError(absl::StrCat(
        "a frame of kind ", header.kind, " has a payload of ", header.payload_bytes,
        " bytes, allowed are ", rules.payload_bytes_min, " to ", rules.payload_bytes_max));
  }
  if ((header.flags & ~FlagsAllowed(kind)) != 0) {
    return absl::DataLossError(
        absl::StrCat("a frame of kind ", header.kind, " has flags ", header.flags));
  }
  const bool unsummed = header.payload_bytes == 0 || (header.flags & kPeerFlagContentSum) != 0;
  if (header.reserved != 0 || (header.window != 0 && !rules.window) ||
      (header.position != 0 && !rules.position) || (unsummed && header.payload_crc != 0)) {
    return absl::DataLossError(
        absl::StrCat("a frame of kind ", header.kind, " has a field that must be zero"));
  }
  return absl::OkStatus();
}

}  // namespace

PeerHeaderBytes EncodePeerHeader(const PeerFrame& frame) {
  const PeerFrameHeader header = {.magic = kPeerFrameMagic,
                                  .kind = static_cast<uint16_t>(frame.kind),
                                  .flags = frame.flags,
                                  .payload_bytes = frame.payload_bytes,
                                  .payload_crc = frame.payload_crc,
                                  .window = frame.window,
                                  .position = frame.position,
                                  .reserved = 0,
                                  .header_crc = 0};
  PeerHeaderBytes bytes;
  std::memcpy(bytes.data(), &header, sizeof header);
  constexpr size_t kSummed = offsetof(PeerFrameHeader, header_crc);
  StoreLittleEndian(bytes.data() + kSummed, Crc32c(std::span(bytes).first(kSummed)));
  return bytes;
}

std::vector<uint8_t> EncodePeerFrame(PeerFrame frame, std::span<const uint8_t> payload) {
  frame.payload_bytes = static_cast<uint32_t>(payload.size());
  frame.payload_crc = payload.empty() ? 0 : Crc32c(payload);
  const PeerHeaderBytes header = EncodePeerHeader(frame);
  std::vector<uint8_t> bytes;
  bytes.reserve(header.size() + payload.size());
  bytes.assign(header.begin(), header.end());
  bytes.insert(bytes.end(), payload.begin(), payload.end());
  return bytes;
}

absl::StatusOr<PeerFrame> DecodePeerHeader(std::span<const uint8_t, sizeof(PeerFrameHeader)> bytes,
                                           uint32_t message_bytes_max) {
  PeerFrameHeader header;
  std::memcpy(&header, bytes.data(), sizeof header);
  if (header.magic != kPeerFrameMagic) {
    return absl::DataLossError(
        absl::StrCat("frame magic is 0x", absl::Hex(header.magic, absl::kZeroPad8)));
  }
  if (header.header_crc != Crc32c(bytes.first(offsetof(PeerFrameHeader, header_crc)))) {
    return absl::DataLossError("a frame header's checksum is wrong");
  }
  RETURN_IF_ERROR(CheckHeader(header, message_bytes_max));
  return PeerFrame{.kind = static_cast<PeerFrameKind>(header.kind),
                   .flags = header.flags,
                   .payload_bytes = header.payload_bytes,
                   .payload_crc = header.payload_crc,
                   .window = header.window,
                   .position = header.position};
}

std::vector<uint8_t> EncodeReadRequest(const PeerReadRequest& request) {
  std::vector<uint8_t> payload(sizeof request);
  std::memcpy(payload.data(), &request, sizeof request);
  return payload;
}

absl::StatusOr<PeerReadRequest> DecodeReadRequest(std::span<const uint8_t> payload) {
  PeerReadRequest request;
  if (payload.size() != sizeof request) {
    return absl::DataLossError(absl::StrCat("a read request of ", payload.size(), " bytes"));
  }
  std::memcpy(&request, payload.data(), sizeof request);
  if (request.reply_window <= kWindowMax || request.bytes == 0 ||
      request.bytes > kPeerReadBytesMax || request.sum > 1) {
    return absl::DataLossError(absl::StrCat("a read request of ", request.bytes,
                                            " bytes to window ", request.reply_window, ", sum ",
                                            request.sum));
  }
  return request;
}

}  // namespace larder
