#include "kernels/codec/larder/inline_parameters.h"

#include <algorithm>
#include <cstring>

#include "kernels/codec/larder/integer_log.h"
#include "kernels/codec/larder/step_table.h"

namespace larder {
namespace {

// Octaves that a channel's step may exceed its group's.
constexpr int32_t kOctavesMax = (1 << (8 - kTableBits)) - 1;
// The base step is 1.2 standard deviations: log2(1.2 / 27) = -4.492.
constexpr int32_t kStepOverDeviation = -144;  // in units of 1/32 octave
// A channel that spreads over more than 4 base steps, 108 fine ones, gets a coarser step.
constexpr int32_t kSpreadMax = 216;  // log2(108) x 32
constexpr int32_t kSmallestIndex = kStepExponentMin * kLogUnit;
constexpr int32_t kUnitsPerIndex = kLogUnit / static_cast<int32_t>(kStepsPerOctave);

uint8_t StepIndexOf(int32_t log_step) {
  const int32_t index = (log_step - kSmallestIndex + kUnitsPerIndex / 2) / kUnitsPerIndex;
  return static_cast<uint8_t>(std::clamp<int32_t>(index, 0, kStepIndexMax));
}

}  // namespace

void InlineParameters::Store(uint32_t head_dim, uint8_t* bytes) const {
  const size_t groups = head_dim / kLanes;
  std::memcpy(bytes, group_step.data(), groups);
  bytes += groups;
  if (groups % 2 != 0) {
    *bytes++ = 0;
  }
  std::memcpy(bytes, channel_table.data(), head_dim);
  std::memcpy(bytes + head_dim, mean.data(), head_dim * sizeof(int16_t));
}

void InlineParameters::Load(uint32_t head_dim, const uint8_t* bytes) {
  const size_t groups = head_dim / kLanes;
  std::memcpy(group_step.data(), bytes, groups);
  bytes += groups + groups % 2;
  std::memcpy(channel_table.data(), bytes, head_dim);
  std::memcpy(mean.data(), bytes + head_dim, head_dim * sizeof(int16_t));
}

CodecStatus InlineParameters::Expand(uint32_t head_dim, const TableFamily& family,
                                     HeadParameters* parameters) const {
  for (uint32_t channel = 0; channel < head_dim; ++channel) {
    const uint32_t table = channel_table[channel] & ((1u << kTableBits) - 1);
    const uint32_t octaves = channel_table[channel] >> kTableBits;
    const uint32_t step = group_step[channel / kLanes] + octaves * kStepsPerOctave;
    if (table >= family.size()) {
      return CorruptCodecBytes("channel table: not in the family", channel);
    }
    if (step > kStepIndexMax) {
      return CorruptCodecBytes("channel step: beyond the largest", channel);
    }
    parameters->SetChannel(channel, step, table, mean[channel], family);
  }
  return {};
}

float ScaleOf(const ChannelSums& sums, uint32_t head_dim) {
  const uint32_t largest =
      *std::max_element(sums.magnitude_bits.begin(), sums.magnitude_bits.begin() + head_dim);
  // Its exponent, held where the scale and its inverse are normal floats.
  const int32_t exponent = std::clamp<int32_t>(static_cast<int32_t>(largest >> 23) - 127, -64, 64);
  return PowerOfTwoTimes(0, kScaledBits - 1 - exponent);
}

InlineParameters DeriveInlineParameters(const ChannelSums& sums, uint32_t count,
                                        uint32_t head_dim) {
  InlineParameters result = {};
  if (count == 0) {
    return result;
  }
  const int32_t log_count = LogOf(count);
  const int32_t log_scale =
      (static_cast<int32_t>(BitsFromFloat(ScaleOf(sums, head_dim)) >> 23) - 127) * kLogUnit;
  // Variances times count squared: below 2^9 x 2^49 for 512 values of 20 bits.
  std::array<uint64_t, kCodecHeadDimMax> spread;
  for (uint32_t channel = 0; channel < head_dim; ++channel) {
    spread[channel] = count * sums.squares[channel] -
                      static_cast<uint64_t>(sums.sum[channel] * sums.sum[channel]);
  }
  for (uint32_t group = 0; group < head_dim / kLanes; ++group) {
    uint64_t total = 0;
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      total += spread[group * kLanes + lane];
    }
    // log2 of the deviation in scaled units: half of that of the mean variance.
    const int32_t log_deviation = LogOf(total / kLanes + 1) / 2 - log_count;
    const uint8_t step = StepIndexOf(log_deviation - log_scale + kStepOverDeviation);
    result.group_step[group] = step;
    const int32_t log_step = kSmallestIndex + step * kUnitsPerIndex;
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      const uint32_t channel = group * kLanes + lane;
      const int32_t log_spread = LogOf(spread[channel] + 1) / 2 - log_count - log_scale - log_step;
      const int32_t octaves = std::clamp(
          (log_spread - kSpreadMax + kLogUnit - 1) / kLogUnit, 0,
          std::min(kOctavesMax, (int32_t{kStepIndexMax} - step) / int32_t{kStepsPerOctave}));
      result.channel_table[channel] = static_cast<uint8_t>(octaves << kTableBits);
      const uint32_t index = step + static_cast<uint32_t>(octaves) * kStepsPerOctave;
      // sum / (count x scale) in units of kMeanUnit fine steps; the sum is exact in a double only,
      // so it is divided as an integer.
      const float mean = static_cast<float>(sums.sum[channel] / int64_t{count});
      const float inverse_scale = PowerOfTwoTimes(0, -log_scale / kLogUnit);
      const float units =
          MultiplyRounded(MultiplyRounded(mean, inverse_scale),
                          MultiplyRounded(InverseFineStep(index), 1.0f / kMeanUnit));
      result.mean[channel] =
          static_cast<int16_t>(RoundToInteger(std::clamp(units, -32767.0f, 32767.0f)));
    }
  }
  return result;
}

}  // namespace larder
