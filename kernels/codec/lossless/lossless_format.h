// Codec 2, lossless: exponents entropy coded, signs and mantissas as they are. For CPU and GPU.
//
// A channel's exponents lie just below its largest, its base: the symbol of an element is
// base - exponent, or kEscape where that is not 0 to 14, and the channel names one of 16 tables
// that are part of the format (lossless_tables.h). A plane's run has no header; the stream of a
// head is one of
//
//   stored = header element[filled tokens][dim]
//   coded  = header base[dim] table[dim] low[filled tokens][dim] planes[filled tokens][groups][p]
//            symbols escape* zero*
//
// base, table: u8 a channel. low: the low 8 bits of an element's raw bits (mantissa, then sign)
// where there are as many; planes: each further raw bit of 32 channels as a u32, bit = lane.
// symbols: a stream of rans/rans_format.h, a row a token and group. escape: u8, exponents in the
// order of rows and lanes. Zeros fill the stream up to a multiple of four bytes. All numbers are
// little-endian.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/codec/geometry.h"
#include "kernels/codec/host_device.h"

namespace larder {

inline constexpr uint32_t kLosslessTables = 16;
inline constexpr uint32_t kLosslessSymbols = 16;
inline constexpr uint32_t kEscape = kLosslessSymbols - 1;

// The header of a head's stream: four u32.
inline constexpr size_t kLosslessHeaderBytes = 16;
inline constexpr size_t kLosslessFormAt = 0;         // a LosslessForm
inline constexpr size_t kLosslessSymbolBytesAt = 4;  // coded: of the symbols' stream; stored: 0
inline constexpr size_t kLosslessEscapesAt = 8;      // coded: how many; stored: 0
inline constexpr size_t kLosslessReservedAt = 12;    // 0

enum class LosslessForm : uint32_t { kStored = 0, kCoded = 1 };

// How an element's bits part: sign, exponent, mantissa from the top.
template <CodecElement kElement>
struct FloatLayout {
  static constexpr bool kWide = CodecElementBytes(kElement) == 2;
  static constexpr uint32_t kMantissaBits = kElement == CodecElement::kBfloat16     ? 7
                                            : kElement == CodecElement::kFloat16    ? 10
                                            : kElement == CodecElement::kFloat8E4M3 ? 3
                                                                                    : 2;
  static constexpr uint32_t kBits = kWide ? 16 : 8;
  static constexpr uint32_t kExponentMask = (1u << (kBits - 1 - kMantissaBits)) - 1;
  static constexpr uint32_t kMantissaMask = (1u << kMantissaBits) - 1;
  // The exponent of infinities and NaNs is apart from the others', except in e4m3, which has only
  // one NaN and uses the rest.
  static constexpr bool kTopIsSpecial = kElement != CodecElement::kFloat8E4M3;

  // Raw bits: mantissa, and the sign above it.
  static constexpr uint32_t kRawBits = kMantissaBits + 1;
  static constexpr bool kHasLow = kRawBits >= 8;
  static constexpr uint32_t kLowBits = kHasLow ? 8 : 0;
  static constexpr int kPlanes = static_cast<int>(kRawBits - kLowBits);

  LARDER_HD static constexpr uint32_t Exponent(uint32_t element) {
    return element >> kMantissaBits & kExponentMask;
  }
  LARDER_HD static constexpr uint32_t Raw(uint32_t element) {
    return (element & kMantissaMask) | element >> (kBits - 1) << kMantissaBits;
  }
  LARDER_HD static constexpr uint32_t Join(uint32_t exponent, uint32_t raw) {
    return raw >> kMantissaBits << (kBits - 1) | exponent << kMantissaBits | (raw & kMantissaMask);
  }
};

// The symbol of an exponent. Differences below zero wrap to large ones.
LARDER_HD constexpr uint32_t ExponentSymbol(uint32_t base, uint32_t exponent) {
  const uint32_t below = base - exponent;
  return below < kEscape ? below : kEscape;
}

}  // namespace larder
