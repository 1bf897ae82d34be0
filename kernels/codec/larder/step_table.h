// Quantiser steps: eight to an octave, so that one byte names a step and its inverse is a constant.
#pragma once

#include <cstdint>

#include "kernels/codec/larder/row_arithmetic.h"

namespace larder {

inline constexpr uint32_t kStepsPerOctave = 8;
inline constexpr int32_t kStepExponentMin = -24;

LARDER_HD inline float PowerOfTwoTimes(uint32_t significand, int32_t exponent) {
  return FloatFromBits((static_cast<uint32_t>(127 + exponent) << 23) | (significand & 0x7fffff));
}

// The fine step of an index of 0 to kStepIndexMax; the base quantiser's is 27 times as large.
LARDER_HD inline float FineStep(uint32_t index) {
  // round(2^23 x 2^(k/8))
  static constexpr uint32_t kSignificands[kStepsPerOctave] = {
      8388608, 9147842, 9975792, 10878679, 11863283, 12937002, 14107901, 15384775};
  return PowerOfTwoTimes(kSignificands[index % kStepsPerOctave],
                         kStepExponentMin + static_cast<int32_t>(index / kStepsPerOctave));
}

LARDER_HD inline float InverseFineStep(uint32_t index) {
  // round(2^24 x 2^(-k/8)), but 2^23 for k = 0.
  static constexpr uint32_t kSignificands[kStepsPerOctave] = {
      8388608, 15384775, 14107901, 12937002, 11863283, 10878679, 9975792, 9147842};
  const uint32_t part = index % kStepsPerOctave;
  const int32_t exponent = kStepExponentMin + static_cast<int32_t>(index / kStepsPerOctave);
  return PowerOfTwoTimes(kSignificands[part], part == 0 ? -exponent : -exponent - 1);
}

}  // namespace larder
