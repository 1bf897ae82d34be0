// Ages, times and their buckets, as the policy counts them.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "common/clock.h"

namespace larder {

// Time in units of 2^20 ns, about a millisecond. Differences are taken modulo 2^32, so that an age
// of up to 52 days is exact; a chunk that nobody used for longer looks younger than it is.
using PolicyTicks = uint32_t;
inline constexpr int64_t kTickNanoseconds = 1 << 20;
inline PolicyTicks ToTicks(MonotonicTime time) {
  return static_cast<PolicyTicks>(static_cast<uint64_t>(time.nanoseconds) >> 20);
}
inline constexpr double kTicksPerSecond = 1e9 / kTickNanoseconds;

// Ages fall into buckets of a third of an octave: the first up to 2^10 ticks (1.07 s), the last
// from 2^27 ticks (39 hours) on.
inline constexpr size_t kAgeBuckets = 53;

inline uint32_t AgeBucketOf(PolicyTicks age) {
  if (age < 1024) return 0;
  const auto octave = static_cast<uint32_t>(std::bit_width(age)) - 11;
  const uint32_t mantissa = age >> (octave + 2);  // [256, 512): the thirds begin at 323 and 406
  const uint32_t third = mantissa < 323 ? 0 : mantissa < 406 ? 1 : 2;
  const uint32_t bucket = 1 + 3 * octave + third;
  return bucket < kAgeBuckets ? bucket : static_cast<uint32_t>(kAgeBuckets - 1);
}

// The youngest age of each bucket, and of one more.
inline constexpr std::array<PolicyTicks, kAgeBuckets + 1> kAgeBucketStart = [] {
  std::array<PolicyTicks, kAgeBuckets + 1> starts{};
  constexpr uint64_t kThirds[] = {256, 323, 406};
  for (size_t bucket = 1; bucket <= kAgeBuckets; ++bucket) {
    starts[bucket] = static_cast<PolicyTicks>(kThirds[(bucket - 1) % 3] << ((bucket - 1) / 3 + 2));
  }
  return starts;
}();

}  // namespace larder
