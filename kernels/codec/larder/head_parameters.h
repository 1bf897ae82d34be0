// What the quantiser of one head needs of each channel, as arrays that the vector paths load.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "kernels/codec/geometry.h"
#include "kernels/codec/larder/larder_format.h"
#include "kernels/codec/larder/table_family.h"

namespace larder {

// A plain value of about 10 KiB. Channels from head_dim on are not used.
struct HeadParameters {
  alignas(64) std::array<float, kCodecHeadDimMax> step;          // fine
  alignas(64) std::array<float, kCodecHeadDimMax> inverse_step;  // fine
  alignas(64) std::array<int32_t, kCodecHeadDimMax> mean;        // in fine steps
  alignas(64) std::array<float, kCodecHeadDimMax> bound;         // |steps from the mean| is below
  alignas(64) std::array<uint8_t, kCodecHeadDimMax> base_table;

  // Parameters of one channel. REQUIRES: step_index <= kStepIndexMax, table < family.size().
  void SetChannel(uint32_t channel, uint32_t step_index, uint32_t table, int32_t mean_units,
                  const TableFamily& family);
};

}  // namespace larder
