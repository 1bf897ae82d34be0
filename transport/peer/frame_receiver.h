// Takes a stream apart into frames, and says where its next bytes are to go: those of a write
// straight into the window.
#pragma once

#include <sys/uio.h>

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "transport/peer/peer_frame.h"
#include "transport/peer/peer_io.h"
#include "transport/peer/window_table.h"

namespace larder {

// Not thread-safe. The memory outlives it. Usage: Prepare, receive, Received, then Next until it
// needs more, and again.
class FrameReceiver {
 public:
  FrameReceiver(std::span<uint8_t> memory, uint32_t message_bytes_max);
  FrameReceiver(const FrameReceiver&) = delete;
  FrameReceiver& operator=(const FrameReceiver&) = delete;

  // Where the next bytes go; valid until Received. Never empty.
  std::span<const iovec> Prepare();
  // So many bytes came there.
  void Received(size_t bytes);

  enum class Step { kNeedMore, kHeader, kFrame };
  // kHeader: a frame begins; Land may be called. kFrame: it is complete. DATA_LOSS: the stream is
  // broken, or not of this protocol.
  absl::StatusOr<Step> Next();
  const PeerFrame& frame() const { return frame_; }
  // Where the payload of a kWrite goes; by default it is dropped.
  void Land(std::shared_ptr<Window> window);
  // The rest of the payload is dropped. Not between Prepare and Received. Returns the window.
  std::shared_ptr<Window> Divert();
  Window* window() const { return window_.get(); }
  // What has come of a payload since the last call, of a kContent write into a window: an offset
  // there and a size.
  struct Landed {
    uint64_t window = 0;
    uint64_t offset = 0;
    uint64_t bytes = 0;
  };
  Landed TakeLanded();
  // Of a complete frame other than kWrite.
  std::vector<uint8_t> TakePayload() { return std::move(payload_); }

 private:
  uint64_t rest() const { return frame_.payload_bytes - payload_done_; }
  void Sum(std::span<const uint8_t> bytes);
  void ConsumeStaged();
  void TargetOf(uint64_t bytes, size_t ranges_max);

  const std::span<uint8_t> memory_;
  const uint32_t message_bytes_max_;
  enum class State { kHeader, kPayload } state_ = State::kHeader;
  PeerFrame frame_;
  uint64_t payload_done_ = 0;
  uint64_t payload_told_ = 0;  // by TakeLanded
  uint32_t crc_ = 0;
  bool summed_ = false;
  std::shared_ptr<Window> window_;
  std::vector<uint8_t> payload_;  // of all kinds but kWrite
  std::vector<uint8_t> staging_;  // [begin, end) is not yet used
  size_t staging_begin_ = 0, staging_end_ = 0;
  std::vector<uint8_t> discarded_;  // bytes that are dropped go here
  std::vector<MemoryRange> slice_;
  std::array<iovec, kPeerIoIovecsMax> parts_;
  size_t parts_count_ = 0;
  size_t payload_parts_ = 0;  // the first of them; the others are staging
};

}  // namespace larder
