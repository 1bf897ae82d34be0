// A channel through two rings in shared memory; a socket beside them tells of the peer's death.
//
// Sleep and wake. A consumer that goes to sleep and a producer that publishes a frame run
//
//     consumer                                producer
//     waiting = 1            (C1)             position = p + n           (P1)
//     load position          (C2)             load waiting               (P2)
//     sleep if nothing new   (C3)             if 1: waiting = 0, signal  (P3)
//
// All of C1, C2, P1 and P2 are sequentially consistent, so they have one total order in which C1 is
// before C2 and P1 before P2. If P2 read 0 it came before C1, hence P1 before C2, and the consumer
// saw the frame and did not sleep. Otherwise P2 read 1 and the producer signals. So no frame is
// ever left behind with its consumer asleep. The signal cannot be lost between C2 and C3 either: a
// futex sleeps only while the word still is 1, and P3 sets it to 0 before the wake; an eventfd
// keeps its count. Sequentially consistent operations are used instead of fences because
// ThreadSanitizer understands them; on x86 both cost one locked instruction.
#pragma once

#include <atomic>
#include <memory>

#include "common/file_descriptor.h"
#include "transport/local/byte_ring.h"
#include "transport/local/channel.h"
#include "transport/local/first_failure.h"
#include "transport/local/ring_memory.h"
#include "transport/local/spin.h"

namespace larder {

// Threads: as Channel; the heartbeat and revocation functions may be called from any thread. Owns
// its mapping and its descriptors.
//
// The client sleeps on the futex word of the reply ring, in slices of at most kDeathNoticeMax
// between which it looks at the socket, because a killed daemon wakes no futex. The daemon sleeps
// in its event loop on the session's eventfd and socket.
class RingChannel final : public Channel {
 public:
  enum class Side { kClient, kServer };

  // `wakeup` is the session's eventfd: the server waits on it, the client signals it.
  RingChannel(Side side, RingMemory memory, FileDescriptor socket, FileDescriptor wakeup,
              const ChannelOptions& options);
  // Closes the socket, which the peer notices; a server revokes the session first.
  ~RingChannel() override;
  RingChannel(const RingChannel&) = delete;
  RingChannel& operator=(const RingChannel&) = delete;

  absl::Status Send(const FrameLabel& label, std::span<const uint8_t> payload) override;
  absl::StatusOr<bool> TryReceive(Frame* frame) override;
  absl::Status WaitReadable(MonotonicTime deadline) override;
  int readable_fd() const override;
  int hangup_fd() const override { return socket_.get(); }
  bool ArmWakeup() override;
  void DisarmWakeup() override;

  // Counts this side's heartbeat up. A peer whose count stands still for several heartbeat
  // intervals is stopped or stuck, though its socket is open.
  void Beat();
  // The peer's count as it says; only its changes mean something.
  uint64_t PeerHeartbeat() const;

  // Ends the session: the client's leases and views are void, and every later call of its channel
  // is UNAVAILABLE once it has received what was sent before. REQUIRES: the server's side.
  void Revoke();
  // A client asks this after it has copied out of a view: false means that the view was still
  // valid when the last byte was read.
  bool IsRevoked() const;

 private:
  absl::Status SleepOnFutex(MonotonicTime deadline);
  absl::Status SleepOnEventfd(MonotonicTime deadline);
  bool SomethingToSay() const { return reader_.Readable() || SeesRevocation(); }
  bool SeesRevocation() const;
  bool PeerHungUp() const;
  void WakePeer();
  absl::Status KeepPeerGone();

  const Side side_;
  const ChannelOptions options_;
  RingMemory memory_;
  FileDescriptor socket_;
  FileDescriptor wakeup_;
  RingPositions* const outbound_;
  RingPositions* const inbound_;
  RingWriter writer_;
  RingReader reader_;
  FirstFailure failure_;
  Spinner spinner_;
};

}  // namespace larder
