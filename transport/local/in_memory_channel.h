// The twin of the channels without kernel or shared memory: two ends in one process, for tests.
#pragma once

#include <memory>

#include "transport/local/channel.h"

namespace larder {

// Bytes of frames on their way in one direction; more is RESOURCE_EXHAUSTED.
inline constexpr size_t kInMemoryPipeBytesMax = 2 * kFrameBytesMax;

// Threads: as Channel; the two ends share a locked state and own it together.
class InMemoryChannel final : public Channel {
 public:
  struct Pair {
    std::unique_ptr<InMemoryChannel> client;
    std::unique_ptr<InMemoryChannel> server;
  };
  // Fails only when the process has no descriptors left.
  static absl::StatusOr<Pair> CreatePair();

  // One direction; defined where it is used.
  struct Pipe;
  InMemoryChannel(std::shared_ptr<Pipe> outbound, std::shared_ptr<Pipe> inbound);
  ~InMemoryChannel() override;

  absl::Status Send(const FrameLabel& label, std::span<const uint8_t> payload) override;
  absl::StatusOr<bool> TryReceive(Frame* frame) override;
  absl::Status WaitReadable(MonotonicTime deadline) override;
  int readable_fd() const override;
  int hangup_fd() const override { return -1; }
  bool ArmWakeup() override;
  void DisarmWakeup() override;

 private:
  const std::shared_ptr<Pipe> outbound_;
  const std::shared_ptr<Pipe> inbound_;
};

}  // namespace larder
