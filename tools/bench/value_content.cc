#include "tools/bench/value_content.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "tools/workload/content.h"

namespace larder {
namespace {

constexpr size_t kPieceBytes = 4096;
// The spread of the values, and the widest base step that codec larder chooses for such, with some
// room for what rounding adds.
constexpr double kSpread = 1.155, kBaseStepsMax = 2.0;
// What the codecs that are there for comparison may be off.
constexpr double kComparisonBound = 0.75;

// 16 random bits as a value: (bits / 2^14) - 2, rounded to bfloat16.
uint16_t ValueBits(uint16_t random) {
  const float value = static_cast<float>(random) / 16384.0f - 2.0f;
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return static_cast<uint16_t>(bits >> 16);
}

double ValueOf(uint16_t element) {
  const uint32_t bits = uint32_t{element} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return static_cast<double>(value);
}

double Bound(ContainerCodec codec, uint32_t levels) {
  switch (codec) {
    case ContainerCodec::kRaw:
    case ContainerCodec::kLossless:
      return 0;
    case ContainerCodec::kLarder:
      break;
    default:
      return kComparisonBound;
  }
  const uint32_t stored = levels == 0 ? LevelsMax(codec) : std::min<uint32_t>(levels, 4);
  // Half a step, and the rounding of bfloat16 values below 2.
  return kSpread * kBaseStepsMax / 2 / std::pow(3.0, stored - 1.0) + 1.0 / 128;
}

}  // namespace

void FillValues(KeyHash key, std::span<uint8_t> out) {
  std::array<uint8_t, kPieceBytes> random;
  for (size_t offset = 0; offset < out.size(); offset += kPieceBytes) {
    const size_t size = std::min(kPieceBytes, out.size() - offset);
    FillContent(key, offset, std::span(random).first(size));
    for (size_t i = 0; i < size; i += 2) {
      uint16_t bits;
      std::memcpy(&bits, &random[i], sizeof bits);
      const uint16_t element = ValueBits(bits);
      std::memcpy(&out[offset + i], &element, sizeof element);
    }
  }
}

size_t CheckValues(KeyHash key, ContainerCodec codec, uint32_t levels,
                   std::span<const uint8_t> bytes) {
  const double bound = Bound(codec, levels);
  for (size_t offset = 0; offset < bytes.size(); offset += kPieceBytes) {
    const size_t size = std::min(kPieceBytes, bytes.size() - offset);
    std::array<uint8_t, kPieceBytes> random;
    FillContent(key, offset, std::span(random).first(size));
    for (size_t i = 0; i < size; i += 2) {
      uint16_t bits, actual;
      std::memcpy(&bits, &random[i], sizeof bits);
      std::memcpy(&actual, &bytes[offset + i], sizeof actual);
      const uint16_t exact = ValueBits(bits);
      if (actual == exact) continue;
      // Not a number is not within any bound.
      if (!(std::abs(ValueOf(actual) - ValueOf(exact)) <= bound)) return offset + i;
    }
  }
  return bytes.size();
}

}  // namespace larder
