// A two-way pipe of frames between a client and the daemon on one machine.
#pragma once

#include <cstdint>
#include <span>

#include "absl/time/time.h"
#include "common/clock.h"
#include "common/status.h"
#include "transport/local/frame.h"

namespace larder {

struct ChannelOptions {
  // How long WaitReadable polls before it sleeps. Polling answers in a fraction of a microsecond
  // and burns a core; sleeping costs some 50 us at the wake-up. Zero never polls; at most
  // kSpinLimitMax (spin.h).
  absl::Duration spin_limit = absl::Microseconds(200);
};

// One end of the pipe. Frames arrive in order, whole, once each. One thread may send while another
// receives (TryReceive, WaitReadable, ArmWakeup, DisarmWakeup); otherwise not thread-safe.
//
// Once a peer has sent something malformed the channel is failed: every later call says so, with
// the same DATA_LOSS. Frames that a peer sent before it went away are still received.
class Channel {
 public:
  virtual ~Channel() = default;

  // Sends one frame and never blocks. RESOURCE_EXHAUSTED: no room, nothing was sent, try again when
  // the peer has read. UNAVAILABLE: the peer is gone (a ring notices only when it is full or after
  // a wait has noticed). INVALID_ARGUMENT: too large.
  [[nodiscard]] virtual absl::Status Send(const FrameLabel& label,
                                          std::span<const uint8_t> payload) = 0;

  // True if a frame was received into `*frame`, false if none is there now. The frame is copied to
  // private memory before it is validated. UNAVAILABLE: the peer is known to be gone and everything
  // it sent has been received.
  [[nodiscard]] virtual absl::StatusOr<bool> TryReceive(Frame* frame) = 0;

  // Returns OK when TryReceive has something to say, a frame or an error. Polls for the spin limit,
  // then sleeps. DEADLINE_EXCEEDED at the deadline; UNAVAILABLE within kDeathNoticeMax of the
  // peer's death.
  [[nodiscard]] virtual absl::Status WaitReadable(MonotonicTime deadline) = 0;

  // For an event loop with many channels: once ArmWakeup has returned true, this descriptor polls
  // readable as soon as TryReceive has something to say. -1: this end cannot wake a loop.
  virtual int readable_fd() const = 0;

  // A second descriptor for the loop: polls POLLHUP when the peer has gone. -1: readable_fd tells.
  virtual int hangup_fd() const = 0;

  // Declares that the loop is about to sleep. False: something is there already, do not sleep. A
  // channel may stay armed over many sleeps; it is disarmed by its wake-up.
  [[nodiscard]] virtual bool ArmWakeup() = 0;

  // Takes the declaration back, so that the peer need not signal, and clears readable_fd.
  virtual void DisarmWakeup() = 0;
};

// The longest that a sleeping WaitReadable takes to notice a peer that was killed.
inline constexpr absl::Duration kDeathNoticeMax = absl::Milliseconds(100);

}  // namespace larder
