// Whether a peer is worth asking at all.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "common/clock.h"

namespace larder {

// Closed: it is asked. Open: nobody asks it. What ends that depends on why it opened:
//  - failures (bytes that are wrong, answers that say nothing of use): a pause. After it the peer
//  is
//    on trial: asked again, and left alone for twice as long if the first answer is a failure.
//  - silence: no request finds out whether the peer is back, since it would wait. Probes are sent;
//    whatever the peer says then puts it on trial.
// A plain value; not thread-safe.
class PeerBreaker {
 public:
  enum class State : uint8_t { kClosed, kOpen, kTrial };
  enum class Cause : uint8_t { kFailure, kSilence };

  // It opens when failures outweigh successes by so much.
  static constexpr double kScoreMax = 3;
  static constexpr double kFailureWeight = 1;
  // Bytes that are not what they should be: worse than no answer.
  static constexpr double kCorruptWeight = 2;
  static constexpr absl::Duration kPauseMin = absl::Milliseconds(200);
  static constexpr absl::Duration kPauseMax = absl::Seconds(10);
  static constexpr absl::Duration kProbeInterval = absl::Milliseconds(200);

  bool MayAsk(MonotonicTime now) const {
    return state_ != State::kOpen || (cause_ == Cause::kFailure && now >= pause_end_);
  }
  // Whether another peer should rather be asked.
  bool closed() const { return state_ == State::kClosed; }

  // REQUIRES: MayAsk.
  void OnAsked() {
    if (state_ == State::kOpen) state_ = State::kTrial;
  }
  void OnSuccess() {
    score_ = closed() ? score_ / 2 : 0;
    pause_ = kPauseMin;
    state_ = State::kClosed;
  }
  // True if that opened it.
  bool OnFailure(Cause cause, double weight, MonotonicTime now) {
    score_ = std::min(score_ + weight, kScoreMax);
    if (state_ == State::kOpen || (closed() && score_ < kScoreMax)) return false;
    if (state_ == State::kTrial) pause_ = std::min(2 * pause_, kPauseMax);
    state_ = State::kOpen;
    cause_ = cause;
    // The first probe goes out at once.
    pause_end_ = cause == Cause::kSilence ? now : now + pause_;
    return true;
  }
  // Anything came from the peer.
  void OnHeard() {
    if (state_ == State::kOpen && cause_ == Cause::kSilence) state_ = State::kTrial;
  }
  // The peer is connected again, so it is there.
  void OnReconnected() {
    if (!closed()) state_ = State::kTrial;
  }

  // When the next probe is due; nothing when none is needed.
  std::optional<MonotonicTime> probe_at() const {
    if (state_ != State::kOpen || cause_ != Cause::kSilence) return std::nullopt;
    return pause_end_;
  }
  void OnProbeSent(MonotonicTime now) { pause_end_ = now + kProbeInterval; }

  State state() const { return state_; }

 private:
  State state_ = State::kClosed;
  Cause cause_ = Cause::kFailure;
  double score_ = 0;
  absl::Duration pause_ = kPauseMin;
  MonotonicTime pause_end_;
};

}  // namespace larder
