// Five digits of 0, 1 or 2 in a byte, as a fraction: v / 243 in units of 1/256, rounded up. A
// multiplication by three moves the first digit out at the top, so that unpacking needs neither
// divisions nor tables (the way llama.cpp packs its ternary weights).
#pragma once

#include <array>
#include <cstdint>

#include "kernels/codec/host_device.h"
#include "kernels/codec/larder/larder_format.h"

namespace larder {

inline constexpr uint32_t kDigitValues = 243;

// The fraction of a value below kDigitValues: value x 256 / 243 rounded up, without a division.
LARDER_HD constexpr uint32_t PackedFraction(uint32_t value) {
  return value + ((value * 13 + kDigitValues - 1) * 270 >> 16);
}

// The digits plus one, by refinement level, of what is left of an index: 0 to 26, and zeroes up
// to 31.
using DigitsOfRests = std::array<std::array<uint8_t, 32>, kDigitLevels>;
alignas(32) inline constexpr DigitsOfRests kDigitsOfRests = [] {
  DigitsOfRests digits = {};
  for (uint32_t rest = 0; rest < kFineSteps; ++rest) {
    digits[0][rest] = static_cast<uint8_t>(rest / 9);
    digits[1][rest] = static_cast<uint8_t>(rest / 3 % 3);
    digits[2][rest] = static_cast<uint8_t>(rest % 3);
  }
  return digits;
}();

// What to multiply a fraction with so that digit `place` is the next one out: 3^place. Not a table,
// which a GPU would keep in memory.
LARDER_HD constexpr uint32_t DigitMultiplier(uint32_t place) {
  return (place & 1 ? 3u : 1u) * (place & 2 ? 9u : 1u) * (place & 4 ? 81u : 1u);
}

// The digit of a fraction that was multiplied.
LARDER_HD constexpr uint32_t UnpackedDigit(uint32_t byte, uint32_t multiplier) {
  return (byte * multiplier % 256) * 3 >> 8;
}

static_assert([] {
  for (uint32_t value = 0; value < kDigitValues; ++value) {
    uint32_t packed = PackedFraction(value);
    if (packed != (value * 256 + kDigitValues - 1) / kDigitValues) {
      return false;
    }
    uint32_t unpacked = 0;
    for (uint32_t place = 0; place < kDigitsInByte; ++place) {
      unpacked = unpacked * 3 + UnpackedDigit(packed, DigitMultiplier(place));
    }
    if (unpacked != value) {
      return false;
    }
  }
  return true;
}());

}  // namespace larder
