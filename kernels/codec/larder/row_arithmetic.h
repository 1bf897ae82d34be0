// The arithmetic of one value, the same on CPU and GPU: this is the specification that the vector
// paths follow. Floats are rounded once an operation, everything else is integers.
#pragma once

#include <cstdint>

#include "kernels/codec/float_bits.h"
#include "kernels/codec/host_device.h"
#include "kernels/codec/larder/larder_format.h"

namespace larder {

// To the nearest integer, ties to even. REQUIRES: |value| < 2^22.
LARDER_HD inline int32_t RoundToInteger(float value) {
  constexpr uint32_t kOneAndAHalfTimes2To23 = 0x4b400000;
  const float shifted = AddRounded(value, FloatFromBits(kOneAndAHalfTimes2To23));
  return static_cast<int32_t>(BitsFromFloat(shifted) - kOneAndAHalfTimes2To23);
}

// A value in fine steps from its channel's mean, and whether the channel's table has a symbol for
// it. False for NaN and Inf as well.
LARDER_HD inline bool FineIndex(float value, float inverse_step, float mean, float bound,
                                int32_t* fine) {
  const float steps = AddRounded(MultiplyRounded(value, inverse_step), -mean);
  const bool inside = steps < bound && steps > -bound;
  *fine = inside ? RoundToInteger(steps) : 0;
  return inside;
}

// n / 27 for n of 0 to 2 x kFineMax, without a division.
LARDER_HD constexpr uint32_t DivideByFineSteps(uint32_t n) { return (n * 2428) >> 16; }

static_assert([] {
  for (uint32_t n = 0; n <= 2 * kFineMax; ++n) {
    if (DivideByFineSteps(n) != n / kFineSteps) {
      return false;
    }
  }
  return true;
}());

// The value at `fine` steps from the mean; `mean` and the sum are whole numbers below 2^24.
LARDER_HD inline float ValueAt(int32_t fine, int32_t mean, float step) {
  return MultiplyRounded(static_cast<float>(fine + mean), step);
}

}  // namespace larder
