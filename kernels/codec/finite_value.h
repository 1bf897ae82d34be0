// Elements as the finite numbers that a lossy codec can compute with.
#pragma once

#include <cstdint>

#include "kernels/codec/element_convert.h"

namespace larder {

// Loads and stores an element at any alignment.
inline uint32_t LoadElementBytes(CodecElement element, const uint8_t* bytes) {
  if (CodecElementBytes(element) == 1) return *bytes;
  uint16_t bits;
  std::memcpy(&bits, bytes, sizeof(bits));
  return bits;
}
inline void StoreElementBytes(CodecElement element, uint32_t bits, uint8_t* bytes) {
  std::memcpy(bytes, &bits, CodecElementBytes(element));
}

inline bool IsFiniteFloat(float value) {
  return (BitsFromFloat(value) & 0x7f800000u) != 0x7f800000u;
}

// NaN becomes zero, an infinity the largest finite value.
inline float FiniteElementToFloat(CodecElement element, uint32_t bits) {
  const float value = ElementToFloat(element, bits);
  if (IsFiniteFloat(value)) return value;
  const bool is_nan = (BitsFromFloat(value) & 0x007fffffu) != 0;
  return is_nan ? 0.0f : ElementToFloat(element, ElementFromFloat(element, value));
}

}  // namespace larder
