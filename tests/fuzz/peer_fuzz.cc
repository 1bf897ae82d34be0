// Fuzz target of what a node can be sent by another: handshake payloads, and a stream of frames
// that arrives in parts. Besides memory safety it checks that what decodes is what the encoder
// would have written, and that a write touches nothing but its window.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "transport/peer/frame_receiver.h"
#include "transport/peer/peer_handshake.h"

namespace larder {
namespace {

constexpr size_t kMemoryBytes = 4096;
constexpr uint32_t kMessageBytesMax = 64 * 1024;
constexpr uint8_t kUntouched = 0xee;
// The window's ranges, out of order; the rest of the memory is not to be written.
constexpr MemoryRange kFirst = {2048, 600}, kSecond = {512, 424};

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

bool SameBytes(std::span<const uint8_t> left, std::span<const uint8_t> right) {
  return std::equal(left.begin(), left.end(), right.begin(), right.end());
}

void CheckPayload(std::span<const uint8_t> payload) {
  if (const auto hello = DecodePeerHello(payload); hello.ok()) {
    Require(SameBytes(EncodePeerHello(*hello), payload), "a hello has one encoding");
  }
  if (const auto challenge = DecodePeerChallenge(payload); challenge.ok()) {
    Require(SameBytes(EncodePeerChallenge(*challenge), payload), "a challenge has one encoding");
  }
  if (const auto refused = DecodePeerRefused(payload); refused.ok()) {
    Require(SameBytes(EncodePeerRefused(*refused), payload), "a refusal has one encoding");
  }
  if (const auto request = DecodeReadRequest(payload); request.ok()) {
    Require(SameBytes(EncodeReadRequest(*request), payload), "a read has one encoding");
  }
}

bool IsInWindow(size_t at) {
  return (at >= kFirst.offset && at < kFirst.offset + kFirst.bytes) ||
         (at >= kSecond.offset && at < kSecond.offset + kSecond.bytes);
}

void OnStep(FrameReceiver& receiver, FrameReceiver::Step step,
            const std::shared_ptr<Window>& window) {
  const PeerFrame& frame = receiver.frame();
  const bool write = frame.kind == PeerFrameKind::kWrite;
  if (step == FrameReceiver::Step::kHeader) {
    Require(DecodePeerHeader(EncodePeerHeader(frame), kMessageBytesMax).value() == frame,
            "a header has one encoding");
    const uint64_t size = window->ranges.bytes();
    const bool fits = frame.position <= size && frame.payload_bytes <= size - frame.position;
    if (write && fits) receiver.Land(window);
  } else if (write) {
    receiver.Divert();
  } else {
    const std::vector<uint8_t> payload = receiver.TakePayload();
    Require(payload.size() == frame.payload_bytes, "a payload has the size that it says");
    CheckPayload(payload);
  }
}

// The stream in parts of `part_bytes`, as a socket would give them.
void CheckStream(std::span<const uint8_t> stream, size_t part_bytes) {
  std::vector<uint8_t> memory(kMemoryBytes, kUntouched);
  auto window = std::make_shared<Window>();
  window->ranges = RangeList::Make({kFirst, kSecond}, memory.size()).value();
  FrameReceiver receiver(memory, kMessageBytesMax);
  bool broken = false;
  while (!stream.empty() && !broken) {
    size_t received = 0;
    for (const iovec& into : receiver.Prepare()) {
      const size_t bytes = std::min({into.iov_len, part_bytes - received, stream.size()});
      std::memcpy(into.iov_base, stream.data(), bytes);
      stream = stream.subspan(bytes);
      received += bytes;
    }
    Require(received > 0, "there is always room for a byte");
    receiver.Received(received);
    while (!broken) {
      const absl::StatusOr<FrameReceiver::Step> step = receiver.Next();
      if (step.ok() && *step == FrameReceiver::Step::kNeedMore) break;
      broken = !step.ok();
      if (broken) Require(absl::IsDataLoss(step.status()), "a broken stream is DATA_LOSS");
      if (!broken) OnStep(receiver, *step, window);
    }
  }
  for (size_t at = 0; at < memory.size(); ++at) {
    Require(IsInWindow(at) || memory[at] == kUntouched, "a write stays in its window");
  }
}

}  // namespace
}  // namespace larder

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const uint8_t> input(data, size);
  larder::CheckPayload(input);
  larder::CheckStream(input, size + 1);
  larder::CheckStream(input, 1 + size % 61);
  return 0;
}
