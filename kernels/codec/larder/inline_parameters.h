// Parameters of a head that its own values determine, for models without a profile: steps from the
// spread of each group of 32 channels, a mean and a table a channel. They stand in the stream.
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

// The power of two that values are multiplied with before they are added up; after all magnitudes.
float ScaleOf(const ChannelSums& sums, uint32_t head_dim);

// Steps, octaves and means from the sums of `count` rows; table 0 everywhere, until the symbols are
// known.
InlineParameters DeriveInlineParameters(const ChannelSums& sums, uint32_t count, uint32_t head_dim);

}  // namespace larder
