// How a head's own values determine its parameters, for models without a profile: the arithmetic of
// one value, channel and group, the same on CPU and GPU. Statistics are sums of integers, so that
// any order of summing gives the same bytes.
#pragma once

#include <cstdint>

#include "kernels/codec/geometry.h"
#include "kernels/codec/host_device.h"
#include "kernels/codec/larder/integer_log.h"
#include "kernels/codec/larder/step_table.h"

namespace larder {

// Values are scaled by a power of two so that the largest has this many bits.
inline constexpr int32_t kScaledBits = 20;
inline constexpr float kScaledLimit = 1 << kScaledBits;

// The bits of a value's magnitude, and zero for infinity and NaN: they order as the values do.
LARDER_HD inline uint32_t FiniteMagnitudeBits(float value) {
  const uint32_t bits = BitsFromFloat(value) & 0x7fffffff;
  return bits < 0x7f800000 ? bits : 0;
}

// The power of two that values are multiplied with before they are added up, from the largest
// magnitude of the head.
LARDER_HD inline float ScaleOfMagnitude(uint32_t largest_bits) {
  // Its exponent, held where the scale and its inverse are normal floats.
  int32_t exponent = static_cast<int32_t>(largest_bits >> 23) - 127;
  exponent = exponent < -64 ? -64 : exponent > 64 ? 64 : exponent;
  return PowerOfTwoTimes(0, kScaledBits - 1 - exponent);
}

// What is added up; what is not below kScaledLimit counts as zero.
LARDER_HD inline int32_t ScaledValue(float value, float scale) {
  const float scaled = MultiplyRounded(value, scale);
  const bool counts = scaled < kScaledLimit && scaled > -kScaledLimit;
  return counts ? RoundToInteger(scaled) : 0;
}

// What all channels of a head have in common.
struct InlineScale {
  uint32_t count;     // of the values of a channel; not 0
  int32_t log_count;  // both in units of 1/kLogUnit octave
  int32_t log_scale;
};
LARDER_HD inline InlineScale MakeInlineScale(uint32_t count, float scale) {
  const int32_t exponent = static_cast<int32_t>(BitsFromFloat(scale) >> 23) - 127;
  return {count, LogOf(count), exponent * kLogUnit};
}

// A channel's variance times count squared: below 2^9 x 2^49 for 512 values of 20 bits.
LARDER_HD inline uint64_t SpreadOf(const InlineScale& scale, int64_t sum, uint64_t squares) {
  return scale.count * squares - static_cast<uint64_t>(sum * sum);
}

inline constexpr int32_t kSmallestLogStep = kStepExponentMin * kLogUnit;
inline constexpr int32_t kLogPerStepIndex = kLogUnit / static_cast<int32_t>(kStepsPerOctave);

// The step index of a group of kLanes channels from the sum of their spreads.
LARDER_HD inline uint32_t GroupStepOf(const InlineScale& scale, uint64_t spreads) {
  // The base step is 1.2 standard deviations: log2(1.2 / 27) = -4.492.
  constexpr int32_t kStepOverDeviation = -144;
  // log2 of the deviation in scaled units: half of that of the mean variance.
  const int32_t log_deviation = LogOf(spreads / kLanes + 1) / 2 - scale.log_count;
  const int32_t log_step = log_deviation - scale.log_scale + kStepOverDeviation;
  const int32_t index = (log_step - kSmallestLogStep + kLogPerStepIndex / 2) / kLogPerStepIndex;
  constexpr int32_t kMax = kStepIndexMax;
  return static_cast<uint32_t>(index < 0 ? 0 : index > kMax ? kMax : index);
}

// By how many octaves a channel's step exceeds its group's.
LARDER_HD inline uint32_t OctavesOf(const InlineScale& scale, uint64_t spread, uint32_t step) {
  constexpr int32_t kOctavesMax = (1 << (8 - kTableBits)) - 1;
  // A channel that spreads over more than 4 base steps, 108 fine ones, gets a coarser step.
  constexpr int32_t kSpreadMax = 216;  // log2(108) x kLogUnit
  const int32_t log_step = kSmallestLogStep + static_cast<int32_t>(step) * kLogPerStepIndex;
  const int32_t log_spread = LogOf(spread + 1) / 2 - scale.log_count - scale.log_scale - log_step;
  const int32_t octaves = (log_spread - kSpreadMax + kLogUnit - 1) / kLogUnit;
  const int32_t above = static_cast<int32_t>((kStepIndexMax - step) / kStepsPerOctave);
  const int32_t most = above < kOctavesMax ? above : kOctavesMax;
  return static_cast<uint32_t>(octaves < 0 ? 0 : octaves > most ? most : octaves);
}

// A channel's mean in units of kMeanUnit fine steps of its step index.
LARDER_HD inline int16_t MeanOf(const InlineScale& scale, int64_t sum, uint32_t step) {
  // The sum is exact in a double only, so it is divided as an integer.
  const int64_t quotient = sum / int64_t{scale.count};
  const float mean = static_cast<float>(quotient);
  const float inverse_scale = PowerOfTwoTimes(0, -scale.log_scale / kLogUnit);
  const float units = MultiplyRounded(MultiplyRounded(mean, inverse_scale),
                                      MultiplyRounded(InverseFineStep(step), 1.0f / kMeanUnit));
  constexpr float kMax = 32767.0f;
  return static_cast<int16_t>(RoundToInteger(units < -kMax ? -kMax : units > kMax ? kMax : units));
}

}  // namespace larder
