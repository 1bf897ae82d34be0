#include "daemon/cluster/peer_pace.h"

#include <algorithm>

#include "daemon/index/chunk_event.h"

namespace larder {
namespace {

// A peer of which nothing is known: a good network of today, neither hopeful nor shy.
constexpr PaceLine::Prior kMemoryPrior = {.latency_ns = 500'000, .ns_per_byte = 1.0};
// What a disk adds until it was measured.
constexpr double kDiskLatencyNs = 2'000'000;

// The prior weighs as much as this part of one answer.
constexpr double kPriorWeight = 0.25;
// Spread of sizes, in bytes, below which a slope is not taken from the answers.
constexpr double kSpreadBytes = 64 << 10;
// No peer sends faster: answers to small requests, which differ by chance, would make it so.
constexpr double kNsPerByteMin = 0.01;
// Each answer leaves the earlier ones this share of their weight.
constexpr double kKeptShare = 0.95;
// After so long an answer has a quarter of its weight.
constexpr double kQuarterWeightNs = 60e9;
// One answer is taken for at most so many times what was predicted, once something is known.
constexpr double kOutlierRatio = 8;
constexpr double kKnownWeight = 4;

constexpr float kFirstRatio = 3;
constexpr double kLateShare = 0.95;
constexpr size_t kRatiosBetweenSorts = 8;

// The share of its weight that what was learned at `time` still has.
double KeptSince(MonotonicTime time, MonotonicTime now) {
  const double age_ns =
      static_cast<double>(std::max<int64_t>(0, now.nanoseconds - time.nanoseconds));
  const double kept = kQuarterWeightNs / (kQuarterWeightNs + age_ns);
  return kept * kept;
}

}  // namespace

double PaceLine::Predict(double bytes, const Prior& prior, MonotonicTime now) const {
  const double expected = prior.latency_ns + prior.ns_per_byte * bytes;
  const double weight = weight_ * KeptSince(learned_at_, now);
  const double measured = intercept_ + slope_ * bytes;
  return (weight * measured + kPriorWeight * expected) / (weight + kPriorWeight);
}

void PaceLine::Learn(double bytes, double took_ns, const Prior& prior, MonotonicTime now) {
  if (weight_ > kKnownWeight) {
    took_ns = std::min(took_ns, kOutlierRatio * Predict(bytes, prior, now));
  }
  const double kept = kKeptShare * KeptSince(learned_at_, now);
  learned_at_ = now;
  weight_ = weight_ * kept + 1;
  bytes_ = bytes_ * kept + bytes;
  took_ = took_ * kept + took_ns;
  bytes_squared_ = bytes_squared_ * kept + bytes * bytes;
  bytes_took_ = bytes_took_ * kept + bytes * took_ns;

  const double mean_bytes = bytes_ / weight_;
  const double mean_took = took_ / weight_;
  const double variance = std::max(0.0, bytes_squared_ - bytes_ * mean_bytes);
  const double covariance = bytes_took_ - bytes_ * mean_took;
  constexpr double kPriorVariance = kPriorWeight * kSpreadBytes * kSpreadBytes;
  slope_ = (covariance + kPriorVariance * prior.ns_per_byte) / (variance + kPriorVariance);
  // Neither part can be negative; the line goes through the mean in any case.
  slope_ = std::max(slope_, kNsPerByteMin);
  if (mean_bytes > 0) slope_ = std::min(slope_, mean_took / mean_bytes);
  intercept_ = mean_took - slope_ * mean_bytes;
}

PeerPace::PeerPace() : late_ratio_(kFirstRatio) { ratios_.fill(kFirstRatio); }

PaceLine::Prior PeerPace::PriorOf(uint8_t tiers, MonotonicTime now) const {
  if (tiers & kTierMemory) return kMemoryPrior;
  return {.latency_ns = kDiskLatencyNs + memory_.Predict(0, kMemoryPrior, now),
          .ns_per_byte = memory_.ns_per_byte(kMemoryPrior)};
}

double PeerPace::PredictNs(uint8_t tiers, double bytes, MonotonicTime now) const {
  const PaceLine& line = tiers & kTierMemory ? memory_ : disk_;
  return line.Predict(bytes, PriorOf(tiers, now), now);
}

absl::Duration PeerPace::Predict(uint8_t tiers, uint64_t bytes, MonotonicTime now) const {
  return absl::Nanoseconds(static_cast<int64_t>(PredictNs(tiers, static_cast<double>(bytes), now)));
}

void PeerPace::Learn(uint8_t tiers, uint64_t bytes, absl::Duration took, absl::Duration predicted,
                     MonotonicTime now) {
  const double took_ns = static_cast<double>(absl::ToInt64Nanoseconds(took));
  PaceLine& line = tiers & kTierMemory ? memory_ : disk_;
  line.Learn(static_cast<double>(bytes), took_ns, PriorOf(tiers, now), now);

  const double predicted_ns =
      std::max<double>(1, static_cast<double>(absl::ToInt64Nanoseconds(predicted)));
  ratios_[next_ratio_] = static_cast<float>(took_ns / predicted_ns);
  next_ratio_ = (next_ratio_ + 1) % kRatios;
  if (next_ratio_ % kRatiosBetweenSorts != 0) return;
  std::array<float, kRatios> sorted = ratios_;
  auto late = sorted.begin() + static_cast<size_t>(kLateShare * kRatios);
  std::nth_element(sorted.begin(), late, sorted.end());
  late_ratio_ = *late;
}

double PeerPace::bytes_per_second() const {
  return 1e9 / std::max(1e-3, memory_.ns_per_byte(kMemoryPrior));
}

}  // namespace larder
