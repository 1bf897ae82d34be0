// A float's bits, on CPU and GPU.
#pragma once

#include <cstdint>
#include <cstring>

#include "kernels/codec/host_device.h"

namespace larder {

LARDER_HD inline float FloatFromBits(uint32_t bits) {
#ifdef __CUDA_ARCH__
  return __uint_as_float(bits);
#else
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
#endif
}

LARDER_HD inline uint32_t BitsFromFloat(float value) {
#ifdef __CUDA_ARCH__
  return __float_as_uint(value);
#else
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
#endif
}

}  // namespace larder
