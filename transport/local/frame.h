// A frame as a program holds it: private memory that no peer can change.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "common/status.h"
#include "transport/local/frame_format.h"

namespace larder {

// What a sender says about a frame; the rest of the header follows from the payload.
struct FrameLabel {
  uint16_t opcode = 0;
  absl::StatusCode status = absl::StatusCode::kOk;
  uint64_t request_id = 0;
};

// A received frame. Reuse one object: its buffer keeps its capacity.
struct Frame {
  FrameHeader header = {};
  std::vector<uint8_t> payload;
};

// INVALID_ARGUMENT when a frame with that payload would exceed kFrameBytesMax.
absl::Status CheckPayloadSize(size_t payload_bytes);

// The header for a payload that CheckPayloadSize accepts.
FrameHeader MakeFrameHeader(const FrameLabel& label, size_t payload_bytes);

// DATA_LOSS, naming the field, unless `header` is one that MakeFrameHeader could have made and the
// frame ends within `available_bytes`, counted from the header's first byte. Pass a private copy.
absl::Status CheckFrameHeader(const FrameHeader& header, size_t available_bytes);

// Header and payload in one buffer, as one packet of a socket.
// REQUIRES: CheckPayloadSize accepts the payload.
std::vector<uint8_t> EncodeFrame(const FrameLabel& label, std::span<const uint8_t> payload);

// Takes one packet apart. DATA_LOSS unless it is exactly one well-formed frame.
absl::Status DecodeFrame(std::span<const uint8_t> packet, Frame* frame);

}  // namespace larder
