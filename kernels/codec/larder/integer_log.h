// Logarithms in integers, the same on every machine.
#pragma once

#include <cstdint>

#include "kernels/codec/host_device.h"

namespace larder {

inline constexpr int32_t kLogUnit = 32;

// floor(log2(value) x 32). REQUIRES: value != 0.
LARDER_HD constexpr int32_t LogOf(uint64_t value) {
  int32_t whole = 0;  // floor(log2(value)), without the instruction that CPU and GPU name otherwise
  for (int32_t step = 32; step > 0; step /= 2) {
    if (value >> (whole + step) != 0) whole += step;
  }
  // The significand in 2^31 to 2^32 - 1; each squaring doubles its logarithm.
  uint64_t significand = whole > 31 ? value >> (whole - 31) : value << (31 - whole);
  int32_t result = whole;
  for (int32_t bit = 1; bit < kLogUnit; bit *= 2) {
    significand = significand * significand >> 31;
    result *= 2;
    if (significand >= uint64_t{1} << 32) {
      ++result;
      significand >>= 1;
    }
  }
  return result;
}

}  // namespace larder
