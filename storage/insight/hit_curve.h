// How many hits caches of all sizes would have had.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace larder {

// A histogram of the least capacities that would have made a use a hit, in bytes: 16 buckets an
// octave from 4 KiB to 4 PiB. Counts have weights and fade. Pure and not thread-safe; 5 KiB.
class HitCurve {
 public:
  void Add(double capacity_bytes, double weight) { weights_[BucketOf(capacity_bytes)] += weight; }

  // The weight of all uses that would have been hits in `capacity_bytes`; inside a bucket they are
  // taken as evenly spread.
  double Within(double capacity_bytes) const {
    const size_t bucket = BucketOf(capacity_bytes);
    double sum = 0;
    for (size_t i = 0; i < bucket; ++i) sum += weights_[i];
    const double low = bucket == 0 ? 0 : UpperBytes(bucket - 1);
    const double part = (capacity_bytes - low) / (UpperBytes(bucket) - low);
    return sum + weights_[bucket] * std::clamp(part, 0.0, 1.0);
  }

  // The least capacity that Within says has so much weight; the largest that adds any if none has.
  double CapacityFor(double weight) const {
    double sum = 0;
    double capacity_bytes = 0;
    for (size_t i = 0; i < kBuckets && sum < weight; ++i) {
      if (weights_[i] <= 0) continue;
      const double low = i == 0 ? 0 : UpperBytes(i - 1);
      const double part = std::min(1.0, (weight - sum) / weights_[i]);
      capacity_bytes = low + part * (UpperBytes(i) - low);
      sum += weights_[i];
    }
    return capacity_bytes;
  }

  double total() const {
    double sum = 0;
    for (const double weight : weights_) sum += weight;
    return sum;
  }

  void Fade(double factor) {
    for (double& weight : weights_) weight *= factor;
  }

 private:
  static constexpr int kOctaveMin = 12, kOctaveMax = 52;
  static constexpr int kBucketsPerOctave = 16;
  static constexpr size_t kBuckets = (kOctaveMax - kOctaveMin) * kBucketsPerOctave + 1;

  // Bucket i ends with UpperBytes(i), which belongs to it.
  static size_t BucketOf(double bytes) {
    const double bucket =
        std::ceil((std::log2(std::max(bytes, 1.0)) - kOctaveMin) * kBucketsPerOctave);
    return static_cast<size_t>(std::clamp(bucket, 0.0, double{kBuckets - 1}));
  }
  static double UpperBytes(size_t bucket) {
    return std::exp2(kOctaveMin + static_cast<double>(bucket) / kBucketsPerOctave);
  }

  std::array<double, kBuckets> weights_{};
};

}  // namespace larder
