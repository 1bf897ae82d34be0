// Elements of a plane to float and back, the same on CPU and GPU. To float is exact; back rounds to
// nearest even and saturates at the largest finite value. Written in integers, so that the modes of
// the float unit (flushing of subnormals) do not matter.
#pragma once

#include <cstdint>

#include "kernels/codec/float_bits.h"
#include "kernels/codec/geometry.h"

namespace larder {

// A small float format: exponent and mantissa widths, and its largest finite value.
struct SmallFloat {
  uint32_t exponent_bits;
  uint32_t mantissa_bits;
  uint32_t largest_finite;  // bits without sign
  bool has_infinity;        // else the largest pattern is NaN and nothing is Inf

  LARDER_HD constexpr int32_t Bias() const { return (1 << (exponent_bits - 1)) - 1; }
  LARDER_HD constexpr uint32_t SignShift() const { return exponent_bits + mantissa_bits; }
};

// Functions, because device code cannot take the address of the host's constants.
LARDER_HD constexpr SmallFloat HalfFormat() { return {5, 10, 0x7bff, true}; }
LARDER_HD constexpr SmallFloat E4M3Format() { return {4, 3, 0x7e, false}; }
LARDER_HD constexpr SmallFloat E5M2Format() { return {5, 2, 0x7b, true}; }

LARDER_HD inline float SmallFloatToFloat(SmallFloat format, uint32_t bits) {
  const uint32_t sign = (bits >> format.SignShift()) << 31;
  const uint32_t magnitude = bits & ((1u << format.SignShift()) - 1);
  if (magnitude > format.largest_finite) {
    const bool infinity = format.has_infinity && magnitude == format.largest_finite + 1;
    return FloatFromBits(sign | (infinity ? 0x7f800000u : 0x7fc00000u));
  }
  if (magnitude == 0) {
    return FloatFromBits(sign);
  }
  // Subnormals are shifted up until their leading one stands where a normal's implicit one does.
  uint32_t exponent = magnitude >> format.mantissa_bits;
  uint32_t mantissa = magnitude & ((1u << format.mantissa_bits) - 1);
  int32_t unbiased = static_cast<int32_t>(exponent) - format.Bias();
  if (exponent == 0) {
    ++unbiased;
    while (mantissa >> format.mantissa_bits == 0) {
      mantissa <<= 1;
      --unbiased;
    }
    mantissa &= (1u << format.mantissa_bits) - 1;
  }
  return FloatFromBits(sign | static_cast<uint32_t>(unbiased + 127) << 23 |
                       mantissa << (23 - format.mantissa_bits));
}

// REQUIRES: `value` is not NaN.
LARDER_HD inline uint32_t FloatToSmallFloat(SmallFloat format, float value) {
  const uint32_t bits = BitsFromFloat(value);
  const uint32_t sign = (bits >> 31) << format.SignShift();
  const uint32_t magnitude = bits & 0x7fffffff;
  const int32_t exponent = static_cast<int32_t>(magnitude >> 23) - 127;
  uint32_t significand = (magnitude & 0x7fffff) | 0x800000;
  uint32_t drop = 23 - format.mantissa_bits;
  uint32_t biased = 0;
  if (exponent >= 1 - format.Bias()) {
    biased = static_cast<uint32_t>(exponent + format.Bias());
  } else {
    const uint32_t more = static_cast<uint32_t>(1 - format.Bias() - exponent);
    if (more > 24 - drop + 1) {
      return sign;  // below half of the smallest subnormal
    }
    drop += more;
  }
  const uint32_t half = 1u << (drop - 1);
  const uint32_t odd = (significand >> drop) & 1;
  significand = (significand + half - 1 + odd) >> drop;
  // A normal's implicit one adds one to the exponent field, so the field starts one lower.
  const uint32_t base = biased == 0 ? 0 : (biased - 1) << format.mantissa_bits;
  const uint32_t rounded = base + significand;
  return sign | (rounded > format.largest_finite ? format.largest_finite : rounded);
}

LARDER_HD inline uint32_t FloatToBfloat16(float value) {
  const uint32_t bits = BitsFromFloat(value);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  // Rounding may only reach infinity from above the largest finite value.
  return (rounded & 0x7fff) == 0x7f80 ? rounded - 1 : rounded;
}

LARDER_HD inline float ElementToFloat(CodecElement element, uint32_t bits) {
  switch (element) {
    case CodecElement::kBfloat16:
      return FloatFromBits(bits << 16);
    case CodecElement::kFloat16:
      return SmallFloatToFloat(HalfFormat(), bits);
    case CodecElement::kFloat8E4M3:
      return SmallFloatToFloat(E4M3Format(), bits);
    case CodecElement::kFloat8E5M2:
      return SmallFloatToFloat(E5M2Format(), bits);
  }
  return 0;
}

// REQUIRES: `value` is not NaN.
LARDER_HD inline uint32_t ElementFromFloat(CodecElement element, float value) {
  switch (element) {
    case CodecElement::kBfloat16:
      return FloatToBfloat16(value);
    case CodecElement::kFloat16:
      return FloatToSmallFloat(HalfFormat(), value);
    case CodecElement::kFloat8E4M3:
      return FloatToSmallFloat(E4M3Format(), value);
    case CodecElement::kFloat8E5M2:
      return FloatToSmallFloat(E5M2Format(), value);
  }
  return 0;
}

}  // namespace larder
