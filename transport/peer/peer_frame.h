// Frame headers as values and as bytes.
#pragma once

#include <array>
#include <span>

#include "transport/peer/peer_format.h"

namespace larder {

using PeerHeaderBytes = std::array<uint8_t, sizeof(PeerFrameHeader)>;

struct PeerFrame {
  PeerFrameKind kind = PeerFrameKind::kPing;
  uint16_t flags = 0;
  uint32_t payload_bytes = 0;
  uint32_t payload_crc = 0;
  uint64_t window = 0;
  uint64_t position = 0;

  friend bool operator==(const PeerFrame&, const PeerFrame&) = default;
};

PeerHeaderBytes EncodePeerHeader(const PeerFrame& frame);
// A frame of a small payload, summed.
std::vector<uint8_t> EncodePeerFrame(PeerFrame frame, std::span<const uint8_t> payload);

// DATA_LOSS when it is damaged or breaks a rule of its kind. `message_bytes_max` bounds messages.
absl::StatusOr<PeerFrame> DecodePeerHeader(std::span<const uint8_t, sizeof(PeerFrameHeader)> bytes,
                                           uint32_t message_bytes_max);

std::vector<uint8_t> EncodeReadRequest(const PeerReadRequest& request);
absl::StatusOr<PeerReadRequest> DecodeReadRequest(std::span<const uint8_t> payload);

}  // namespace larder
