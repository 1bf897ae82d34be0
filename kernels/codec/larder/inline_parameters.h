// Parameters of a head that its own values determine, for models without a profile: steps from the
// spread of each group of 32 channels, a mean and a table a channel. They stand in the stream.
//
// All statistics are sums of integers, so that any order of summing gives the same bytes.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "kernels/codec/codec_status.h"
#include "kernels/codec/larder/head_parameters.h"
#include "kernels/codec/larder/row_kernels.h"

namespace larder {

// As stored: u8 step x groups (padded to an even number), u8 table x head_dim, i16 mean x head_dim.
struct InlineParameters {
  std::array<uint8_t, kCodecHeadDimMax / kLanes> group_step;
  std::array<uint8_t, kCodecHeadDimMax> channel_table;  // low kTableBits: table; above: octaves
  std::array<int16_t, kCodecHeadDimMax> mean;           // in units of kMeanUnit fine steps

  // InlineParameterBytes(head_dim) bytes.
  void Store(uint32_t head_dim, uint8_t* bytes) const;
  void Load(uint32_t head_dim, const uint8_t* bytes);

  // What the quantiser uses. kCorrupt when a table is not in the family or a step is none.
  CodecStatus Expand(uint32_t head_dim, const TableFamily& family,
                     HeadParameters* parameters) const;
};

// Sums over the coded tokens of a head, a channel.
class ChannelStatistics {
 public:
  ChannelStatistics() = default;

  // First all rows are seen for their largest magnitude, then all are added.
  void SeeMagnitudes(const FloatRow& row, uint32_t head_dim);
  void Add(const FloatRow& row, uint32_t head_dim);

  // Steps, octaves and means; table 0 everywhere, until the symbols are known.
  InlineParameters Derive(uint32_t head_dim) const;

 private:
  // Values are scaled by a power of two so that the largest has so many bits.
  static constexpr int32_t kScaledBits = 20;

  float Scale() const;

  uint32_t magnitude_bits_ = 0;  // of the largest finite value, as a float's
  uint32_t count_ = 0;
  std::array<int64_t, kCodecHeadDimMax> sum_ = {};
  std::array<uint64_t, kCodecHeadDimMax> squares_ = {};
};

}  // namespace larder
