// Whether a peer is worth asking at all.
#pragma once

#include <algorithm>
#include <cstdint>

#include "absl/time/time.h"
#include "common/clock.h"

namespace larder {

// Closed: anyone may be sent there. Open: nobody, for a while that doubles with each probe that
// fails. Probing: that while is over, and one request finds out. A plain value; not thread-safe.
class PeerBreaker {
 public:
  enum class State : uint8_t { kClosed, kOpen, kProbing };

  // It opens when failures outweigh successes by so much.
  static constexpr double kScoreMax = 3;
  static constexpr double kFailureWeight = 1;
  // Bytes that are not what they should be: worse than no answer.
  static constexpr double kCorruptWeight = 2;
  static constexpr absl::Duration kPauseMin = absl::Milliseconds(200);
  static constexpr absl::Duration kPauseMax = absl::Seconds(10);

  bool closed() const { return state_ == State::kClosed; }
  // One request may go there to find out.
  bool MayProbe(MonotonicTime now) const { return state_ == State::kOpen && now >= open_until_; }

  void OnAsked(MonotonicTime now) {
    if (MayProbe(now)) state_ = State::kProbing;
  }
  void OnSuccess() {
    score_ = state_ == State::kClosed ? score_ / 2 : 0;
    if (state_ == State::kProbing) pause_ = kPauseMin;
    state_ = State::kClosed;
  }
  // True if that opened it.
  bool OnFailure(double weight, MonotonicTime now) {
    score_ = std::min(score_ + weight, kScoreMax);
    if (state_ == State::kOpen || (state_ == State::kClosed && score_ < kScoreMax)) return false;
    if (state_ == State::kProbing) pause_ = std::min(2 * pause_, kPauseMax);
    state_ = State::kOpen;
    open_until_ = now + pause_;
    return true;
  }
  // The probe was given up before it said anything.
  void OnProbeCancelled(MonotonicTime now) {
    if (state_ != State::kProbing) return;
    state_ = State::kOpen;
    open_until_ = now + pause_;
  }
  // The peer is connected again: it may be probed at once.
  void OnReconnected(MonotonicTime now) {
    if (state_ != State::kClosed) state_ = State::kOpen;
    open_until_ = now;
  }

  State state() const { return state_; }

 private:
  State state_ = State::kClosed;
  double score_ = 0;
  absl::Duration pause_ = kPauseMin;
  MonotonicTime open_until_;
};

}  // namespace larder
