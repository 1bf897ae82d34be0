#include "tools/console/latency_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace larder {
namespace {

// Each power of two has 2^kPrecisionBits buckets; values below 2^(kPrecisionBits + 1) have one
// each.
constexpr int kPrecisionBits = 7;
constexpr uint64_t kBucketsPerPower = uint64_t{1} << kPrecisionBits;
constexpr int kValueBits = 63;
constexpr size_t kBuckets = (kValueBits - kPrecisionBits + 1) * kBucketsPerPower;

int ShiftOf(uint64_t value) {
  return std::max(0, static_cast<int>(std::bit_width(value)) - kPrecisionBits - 1);
}

// With shift s the value's leading kPrecisionBits + 1 bits are from kBucketsPerPower up, so buckets
// of s end where those of s + 1 begin.
size_t BucketOf(uint64_t value) {
  const int shift = ShiftOf(value);
  return static_cast<size_t>(shift) * kBucketsPerPower + (value >> shift);
}

// The largest value in the bucket.
uint64_t UpperEnd(size_t bucket) {
  if (bucket < 2 * kBucketsPerPower) return bucket;
  const uint64_t shift = bucket / kBucketsPerPower - 1;
  const uint64_t leading = bucket - shift * kBucketsPerPower;
  return ((leading + 1) << shift) - 1;
}

}  // namespace

LatencyHistogram::LatencyHistogram() : buckets_(kBuckets) {}

void LatencyHistogram::Record(absl::Duration latency) {
  const auto nanoseconds =
      static_cast<uint64_t>(std::max<int64_t>(0, absl::ToInt64Nanoseconds(latency)));
  ++buckets_[BucketOf(nanoseconds)];
  ++count_;
  max_nanoseconds_ = std::max(max_nanoseconds_, nanoseconds);
  sum_nanoseconds_ += static_cast<double>(nanoseconds);
}

void LatencyHistogram::Merge(const LatencyHistogram& other) {
  for (size_t i = 0; i < kBuckets; ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
  max_nanoseconds_ = std::max(max_nanoseconds_, other.max_nanoseconds_);
  sum_nanoseconds_ += other.sum_nanoseconds_;
}

absl::Duration LatencyHistogram::Percentile(double share) const {
  if (count_ == 0) return absl::ZeroDuration();
  const double wanted = std::ceil(std::clamp(share, 0.0, 1.0) * static_cast<double>(count_));
  const uint64_t rank = std::clamp<uint64_t>(static_cast<uint64_t>(wanted), 1, count_);
  uint64_t seen = 0;
  size_t bucket = 0;
  while ((seen += buckets_[bucket]) < rank) ++bucket;
  return absl::Nanoseconds(std::min(UpperEnd(bucket), max_nanoseconds_));
}

absl::Duration LatencyHistogram::mean() const {
  if (count_ == 0) return absl::ZeroDuration();
  return absl::Nanoseconds(sum_nanoseconds_ / static_cast<double>(count_));
}

}  // namespace larder
