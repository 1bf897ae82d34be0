// Fuzz target of what a peer can send on the local transport: packets on the socket, handshake
// messages, and the contents of a shared ring. Besides memory safety it checks that what decodes is
// within its bounds and is, byte for byte, what the encoder would have written.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "transport/local/byte_ring.h"
#include "transport/local/frame.h"
#include "transport/local/handshake_message.h"

namespace larder {
namespace {

constexpr size_t kRingBytes = 4096;
// The ring starts this far before its end, so that an input soon has to wrap.
constexpr size_t kBytesBeforeWrap = 512;

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

bool SameBytes(std::span<const uint8_t> left, std::span<const uint8_t> right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end());
}

void CheckHello(std::span<const uint8_t> payload) {
  const absl::StatusOr<Hello> hello = DecodeHello(payload);
  if (!hello.ok()) return;
  Require(SameBytes(EncodeHello(*hello).value(), payload), "a hello has one encoding");
}

void CheckWelcome(std::span<const uint8_t> payload) {
  const absl::StatusOr<Welcome> welcome = DecodeWelcome(payload);
  if (!welcome.ok()) return;
  Require(SameBytes(EncodeWelcome(*welcome), payload), "a welcome has one encoding");
}

void CheckPacket(std::span<const uint8_t> packet) {
  Frame frame;
  const absl::Status status = DecodeFrame(packet, &frame);
  if (!status.ok()) {
    Require(absl::IsDataLoss(status), "a malformed frame is DATA_LOSS");
    return;
  }
  Require(frame.payload.size() + sizeof(FrameHeader) == packet.size(), "a packet is one frame");
  Require(!DecodeRefusal(frame).ok(), "a refusal is never OK");
  CheckHello(frame.payload);
  CheckWelcome(frame.payload);
}

// Lets the reader consume an ordinary frame up to kBytesBeforeWrap before the end, then puts the
// input there and says that `published_bytes` of it are published.
void CheckRing(std::span<const uint8_t> input, uint64_t published_bytes) {
  std::vector<uint64_t> words(kRingBytes / sizeof(uint64_t));
  const std::span<uint8_t> bytes(reinterpret_cast<uint8_t*>(words.data()), kRingBytes);
  RingPositions positions = {};
  RingWriter writer(&positions, bytes);
  RingReader reader(&positions, bytes);
  Frame frame;
  constexpr size_t kStart = kRingBytes - kBytesBeforeWrap;
  const std::vector<uint8_t> filler(kStart - sizeof(FrameHeader));
  Require(writer.TryWrite({}, filler).ok() && reader.TryRead(&frame).value(),
          "an ordinary frame passes");

  const std::span<const uint8_t> before_wrap =
      input.first(std::min(input.size(), kBytesBeforeWrap));
  const std::span<const uint8_t> after_wrap = input.subspan(before_wrap.size());
  std::copy(before_wrap.begin(), before_wrap.end(), bytes.begin() + kStart);
  std::copy_n(after_wrap.begin(), std::min(after_wrap.size(), kStart), bytes.begin());
  positions.producer_position = kStart + published_bytes;

  uint64_t received_bytes = 0;
  for (absl::StatusOr<bool> received = true; received.ok() && *received;) {
    received = reader.TryRead(&frame);
    if (!received.ok())
      Require(absl::IsDataLoss(received.status()), "a malformed ring is DATA_LOSS");
    if (!received.ok() || !*received) break;
    Require(frame.payload.size() + sizeof(FrameHeader) == frame.header.frame_bytes,
            "a frame has the size that it says");
    received_bytes += frame.header.frame_bytes;
    Require(received_bytes <= kRingBytes, "a ring holds no more than its size");
  }
  Require(positions.consumer_position - kStart <= kRingBytes, "the consumer stays in the ring");
}

}  // namespace
}  // namespace larder

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const uint8_t> input(data, size);
  larder::CheckPacket(input);
  larder::CheckHello(input);
  larder::CheckWelcome(input);
  larder::CheckRing(input, std::min(size, larder::kRingBytes) / 8 * 8);
  if (size >= sizeof(uint64_t)) {
    uint64_t published_bytes;
    std::memcpy(&published_bytes, data + size - sizeof published_bytes, sizeof published_bytes);
    larder::CheckRing(input, published_bytes);
  }
  return 0;
}
