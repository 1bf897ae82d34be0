// How long a peer takes, learned from its answers.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"
#include "common/clock.h"

namespace larder {

// The line "time = latency + bytes / bandwidth" through the latest answers, where `bytes` are those
// that were under way at the peer, this request's own included. What is long past counts ever less,
// so that a peer that was slow once is tried again. A plain value; not thread-safe.
class PaceLine {
 public:
  // What is taken for true before anything was measured.
  struct Prior {
    double latency_ns = 0;
    double ns_per_byte = 0;
  };

  // Nanoseconds.
  double Predict(double bytes, const Prior& prior, MonotonicTime now) const;
  void Learn(double bytes, double took_ns, const Prior& prior, MonotonicTime now);
  double ns_per_byte(const Prior& prior) const { return weight_ > 0 ? slope_ : prior.ns_per_byte; }

 private:
  // Decayed sums over what was measured.
  double weight_ = 0, bytes_ = 0, took_ = 0, bytes_squared_ = 0, bytes_took_ = 0;
  double intercept_ = 0, slope_ = 0;
  MonotonicTime learned_at_;
};

// The two tiers of one peer, and how far its answers stray from what was predicted.
class PeerPace {
 public:
  PeerPace();

  // `bytes`: under way at the peer, with those of the chunk.
  absl::Duration Predict(uint8_t tiers, uint64_t bytes, MonotonicTime now) const;
  // An answer came `took` after it was asked for; then it was `predicted`.
  void Learn(uint8_t tiers, uint64_t bytes, absl::Duration took, absl::Duration predicted,
             MonotonicTime now);
  // Nineteen of twenty answers took no longer than so many times what was predicted.
  double late_ratio() const { return late_ratio_; }
  double bytes_per_second() const;

 private:
  static constexpr size_t kRatios = 64;

  double PredictNs(uint8_t tiers, double bytes, MonotonicTime now) const;
  PaceLine::Prior PriorOf(uint8_t tiers, MonotonicTime now) const;

  PaceLine memory_, disk_;
  std::array<float, kRatios> ratios_;  // a ring of the latest
  size_t next_ratio_ = 0;
  double late_ratio_ = 0;
};

}  // namespace larder
