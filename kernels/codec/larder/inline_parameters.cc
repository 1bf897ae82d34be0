#include "kernels/codec/larder/inline_parameters.h"

#include <algorithm>
#include <cstring>

#include "kernels/codec/larder/inline_arithmetic.h"

namespace larder {
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
  return ScaleOfMagnitude(
      *std::max_element(sums.magnitude_bits.begin(), sums.magnitude_bits.begin() + head_dim));
}

InlineParameters DeriveInlineParameters(const ChannelSums& sums, uint32_t count,
                                        uint32_t head_dim) {
  InlineParameters result = {};
  if (count == 0) {
    return result;
  }
  const InlineScale scale = MakeInlineScale(count, ScaleOf(sums, head_dim));
  std::array<uint64_t, kLanes> spread;
  for (uint32_t group = 0; group < head_dim / kLanes; ++group) {
    uint64_t total = 0;
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      const uint32_t channel = group * kLanes + lane;
      spread[lane] = SpreadOf(scale, sums.sum[channel], sums.squares[channel]);
      total += spread[lane];
    }
    const uint32_t step = GroupStepOf(scale, total);
    result.group_step[group] = static_cast<uint8_t>(step);
    for (uint32_t lane = 0; lane < kLanes; ++lane) {
      const uint32_t channel = group * kLanes + lane;
      const uint32_t octaves = OctavesOf(scale, spread[lane], step);
      result.channel_table[channel] = static_cast<uint8_t>(octaves << kTableBits);
      result.mean[channel] = MeanOf(scale, sums.sum[channel], step + octaves * kStepsPerOctave);
    }
  }
  return result;
}

}  // namespace larder
