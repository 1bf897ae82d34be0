// The two ends of a single-producer, single-consumer ring of frames in memory that a peer shares.
//
// Nothing in shared memory is believed. Each end keeps its own position in private memory and only
// publishes it; the other end's position is bounded before use; a frame's header is loaded once and
// its payload copied once, and only the copies are validated and used.
#pragma once

#include <cstdint>
#include <span>

#include "common/status.h"
#include "transport/local/frame.h"
#include "transport/local/frame_format.h"

namespace larder {

// Small frames go back to the beginning of an empty ring beyond this offset, so that a session of
// small requests keeps touching the same few pages: resident memory and cache stay small although
// the ring is large.
inline constexpr uint32_t kRingHotBytes = 64 * 1024;

// The producing end. Not thread-safe. Does not own the memory.
class RingWriter {
 public:
  // REQUIRES: `bytes` is a power of two long, 8-byte aligned, and new together with `positions`.
  RingWriter(RingPositions* positions, std::span<uint8_t> bytes)
      : positions_(positions), bytes_(bytes) {}

  // Writes and publishes one frame. RESOURCE_EXHAUSTED without room, INVALID_ARGUMENT when too
  // large, DATA_LOSS when the consumer's position makes no sense.
  absl::Status TryWrite(const FrameLabel& label, std::span<const uint8_t> payload);

 private:
  absl::Status LoadConsumerPosition();
  absl::StatusOr<uint64_t> PaddingBefore(uint64_t stored_bytes);

  RingPositions* positions_;
  std::span<uint8_t> bytes_;
  uint64_t producer_ = 0;
  uint64_t consumer_seen_ = 0;
};

// The consuming end. Not thread-safe. Does not own the memory.
class RingReader {
 public:
  // REQUIRES: as RingWriter.
  RingReader(RingPositions* positions, std::span<uint8_t> bytes)
      : positions_(positions), bytes_(bytes) {}

  // True when TryRead has something to say, a frame or an error. The load is sequentially
  // consistent, as the sleep handshake needs it (ring_channel.h).
  bool Readable() const;

  // Copies out one frame and gives its room back. DATA_LOSS names what is malformed and where.
  absl::StatusOr<bool> TryRead(Frame* frame);

 private:
  absl::Status LoadProducerPosition();
  absl::Status SkipPadding();
  absl::Status ReadFrame(Frame* frame);
  void Consume(uint64_t byte_count);
  absl::Status Malformed(absl::string_view what) const;

  RingPositions* positions_;
  std::span<uint8_t> bytes_;
  uint64_t consumer_ = 0;
  uint64_t producer_seen_ = 0;
};

}  // namespace larder
