#include "transport/local/frame.h"

#include <cstring>

#include "absl/strings/str_cat.h"

namespace larder {

absl::Status CheckPayloadSize(size_t payload_bytes) {
  if (payload_bytes <= kFramePayloadBytesMax) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("a frame's payload of ", payload_bytes,
                                                 " bytes exceeds the limit of ",
                                                 kFramePayloadBytesMax));
}

FrameHeader MakeFrameHeader(const FrameLabel& label, size_t payload_bytes) {
  return {.magic = kFrameMagic,
          .version = kFrameVersion,
          .opcode = label.opcode,
          .frame_bytes = static_cast<uint32_t>(sizeof(FrameHeader) + payload_bytes),
          .status = static_cast<uint32_t>(label.status),
          .request_id = label.request_id,
          .reserved = 0};
}

absl::Status CheckFrameHeader(const FrameHeader& header, size_t available_bytes) {
  if (header.magic != kFrameMagic) {
    return absl::DataLossError(
        absl::StrCat("frame magic is 0x", absl::Hex(header.magic, absl::kZeroPad8)));
  }
  if (header.version != kFrameVersion) {
    return absl::DataLossError(
        absl::StrCat("frame version is ", header.version, ", only ", kFrameVersion, " is known"));
  }
  if (header.frame_bytes < sizeof(FrameHeader) || header.frame_bytes > kFrameBytesMax) {
    return absl::DataLossError(absl::StrCat("frame size is ", header.frame_bytes,
                                            " bytes, allowed are ", sizeof(FrameHeader), " to ",
                                            kFrameBytesMax));
  }
  if (header.frame_bytes > available_bytes) {
    return absl::DataLossError(absl::StrCat("frame size is ", header.frame_bytes,
                                            " bytes, but only ", available_bytes, " are there"));
  }
  if (header.status > kStatusCodeMax) {
    return absl::DataLossError(
        absl::StrCat("frame status is ", header.status, ", the highest code is ", kStatusCodeMax));
  }
  if (header.reserved != 0) {
    return absl::DataLossError("frame header's reserved bytes are not zero");
  }
  return absl::OkStatus();
}

std::vector<uint8_t> EncodeFrame(const FrameLabel& label, std::span<const uint8_t> payload) {
  const FrameHeader header = MakeFrameHeader(label, payload.size());
  const auto* header_bytes = reinterpret_cast<const uint8_t*>(&header);
  std::vector<uint8_t> packet;
  packet.reserve(header.frame_bytes);
  packet.assign(header_bytes, header_bytes + sizeof header);
  packet.insert(packet.end(), payload.begin(), payload.end());
  return packet;
}

absl::Status DecodeFrame(std::span<const uint8_t> packet, Frame* frame) {
  if (packet.size() < sizeof(FrameHeader)) {
    return absl::DataLossError(absl::StrCat("a packet of ", packet.size(),
                                            " bytes is too short for a frame header of ",
                                            sizeof(FrameHeader)));
  }
  std::memcpy(&frame->header, packet.data(), sizeof(FrameHeader));
  RETURN_IF_ERROR(CheckFrameHeader(frame->header, packet.size()));
  if (frame->header.frame_bytes != packet.size()) {
    return absl::DataLossError(absl::StrCat("a packet of ", packet.size(),
                                            " bytes holds a frame of ", frame->header.frame_bytes));
  }
  const std::span<const uint8_t> payload = packet.subspan(sizeof(FrameHeader));
  frame->payload.assign(payload.begin(), payload.end());
  return absl::OkStatus();
}

}  // namespace larder
