// A channel of plain frames on the socket, one frame a packet: the fallback without shared memory.
#pragma once

#include <memory>

#include "common/file_descriptor.h"
#include "transport/local/channel.h"
#include "transport/local/first_failure.h"
#include "transport/local/spin.h"

namespace larder {

// Threads: as Channel. Owns its socket.
class SocketChannel final : public Channel {
  // Only Create can make one, so that the public constructor serves std::make_unique alone.
  class Key {
    friend class SocketChannel;
    Key() = default;
  };

 public:
  // Takes a connected SOCK_SEQPACKET socket. FAILED_PRECONDITION when the system's limit on socket
  // buffers (net.core.wmem_max) is too low for the largest frame.
  static absl::StatusOr<std::unique_ptr<SocketChannel>> Create(FileDescriptor socket,
                                                               const ChannelOptions& options);
  SocketChannel(Key, FileDescriptor socket, const ChannelOptions& options);

  absl::Status Send(const FrameLabel& label, std::span<const uint8_t> payload) override;
  absl::StatusOr<bool> TryReceive(Frame* frame) override;
  absl::Status WaitReadable(MonotonicTime deadline) override;
  int readable_fd() const override { return socket_.get(); }
  int hangup_fd() const override { return -1; }
  // The socket wakes the loop by itself: there is nothing to declare.
  bool ArmWakeup() override { return true; }
  void DisarmWakeup() override {}

 private:
  absl::Status WaitResult();

  FileDescriptor socket_;
  const ChannelOptions options_;
  // kFrameBytesMax bytes, of which a packet touches only what it needs.
  const std::unique_ptr<uint8_t[]> receive_buffer_;
  FirstFailure failure_;
  Spinner spinner_;
};

}  // namespace larder
