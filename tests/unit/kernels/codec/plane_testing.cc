#include "tests/unit/kernels/codec/plane_testing.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace larder {
namespace {

struct Layout {
  int bits;
  int mantissa_bits;
  int bias;
};

Layout LayoutOf(CodecElement element) {
  switch (element) {
    case CodecElement::kBfloat16:
      return {16, 7, 127};
    case CodecElement::kFloat16:
      return {16, 10, 15};
    case CodecElement::kFloat8E4M3:
      return {8, 3, 7};
    case CodecElement::kFloat8E5M2:
      return {8, 2, 15};
  }
  return {};
}

double Normal(Random& random) {
  return std::sqrt(-2 * std::log(1 - random.Unit())) * std::cos(6.283185307179586 * random.Unit());
}

void StoreElement(const PlaneGeometry& geometry, std::vector<uint8_t>& plane, size_t i,
                  uint32_t bits) {
  const size_t bytes = CodecElementBytes(geometry.element);
  std::memcpy(&plane[i * bytes], &bits, bytes);
}

uint32_t RandomSpecial(Random& random, CodecElement element) {
  const Layout layout = LayoutOf(element);
  const uint32_t exponents = (1u << (layout.bits - 1)) - (1u << layout.mantissa_bits);
  const uint32_t mantissa =
      static_cast<uint32_t>(random.Below(uint64_t{1} << layout.mantissa_bits));
  const uint32_t sign = static_cast<uint32_t>(random.Below(2)) << (layout.bits - 1);
  switch (random.Below(4)) {
    case 0:
      return sign;  // zero
    case 1:
      return sign | mantissa;  // subnormal
    case 2:
      return sign | exponents;  // infinity, in most types
    default:
      return sign | exponents | mantissa;  // NaN and its payload
  }
}

}  // namespace

PlaneGeometry RandomGeometry(Random& random) {
  constexpr uint32_t kHeadDims[] = {32, 64, 96, 128, 256, 576};
  PlaneGeometry geometry;
  geometry.element = kCodecElements[random.Below(std::size(kCodecElements))];
  geometry.heads = static_cast<uint32_t>(1 + random.Below(4));
  geometry.head_dim = kHeadDims[random.Below(std::size(kHeadDims))];
  geometry.tokens = static_cast<uint32_t>(1 + random.Below(random.Below(2) == 0 ? 40 : 80));
  geometry.filled_tokens = random.Below(2) == 0
                               ? geometry.tokens
                               : static_cast<uint32_t>(1 + random.Below(geometry.tokens));
  return geometry;
}

uint32_t ElementOf(CodecElement element, double value) {
  const Layout layout = LayoutOf(element);
  const uint32_t sign = std::signbit(value) ? 1u << (layout.bits - 1) : 0;
  const double magnitude = std::fabs(value);
  if (magnitude == 0) return sign;
  const int exponent = std::max(std::ilogb(magnitude), 1 - layout.bias);
  const uint32_t steps =
      static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, layout.mantissa_bits - exponent)));
  // Steps of 2^mantissa or more carry into the exponent by themselves.
  const uint32_t bits =
      (static_cast<uint32_t>(exponent + layout.bias - 1) << layout.mantissa_bits) + steps;
  const uint32_t largest = element == CodecElement::kFloat8E4M3
                               ? 0x7e
                               : (1u << (layout.bits - 1)) - (1u << layout.mantissa_bits) - 1;
  return sign | std::min(bits, largest);
}

double ValueOf(CodecElement element, uint32_t bits) {
  const Layout layout = LayoutOf(element);
  const double sign = (bits >> (layout.bits - 1) & 1) != 0 ? -1 : 1;
  const uint32_t mantissa = bits & ((1u << layout.mantissa_bits) - 1);
  const uint32_t exponents = (1u << (layout.bits - 1 - layout.mantissa_bits)) - 1;
  const uint32_t exponent = bits >> layout.mantissa_bits & exponents;
  if (element == CodecElement::kFloat8E4M3) {
    if (exponent == exponents && mantissa == 7) return NAN;
  } else if (exponent == exponents) {
    return mantissa == 0 ? sign * INFINITY : NAN;
  }
  const double steps = mantissa + (exponent == 0 ? 0 : 1 << layout.mantissa_bits);
  return sign * std::ldexp(steps, static_cast<int>(std::max(exponent, 1u)) - layout.bias -
                                      layout.mantissa_bits);
}

std::vector<uint8_t> RandomPlane(Random& random, const PlaneGeometry& geometry,
                                 PlaneContent content) {
  std::vector<uint8_t> plane(geometry.PlaneBytes());
  if (content == PlaneContent::kZero) return plane;
  if (content == PlaneContent::kAnyBits) {
    for (uint8_t& byte : plane) byte = static_cast<uint8_t>(random.Next());
    return plane;
  }
  for (uint32_t head = 0; head < geometry.heads; ++head) {
    for (uint32_t channel = 0; channel < geometry.head_dim; ++channel) {
      const double spread = std::exp(Normal(random) - 1);
      const double mean = random.Below(3) == 0 ? Normal(random) * 2 : 0;
      for (uint32_t token = 0; token < geometry.tokens; ++token) {
        const size_t i = (size_t{head} * geometry.tokens + token) * geometry.head_dim + channel;
        const bool special = content == PlaneContent::kSpecials && random.Below(50) == 0;
        StoreElement(geometry, plane, i,
                     special ? RandomSpecial(random, geometry.element)
                             : ElementOf(geometry.element, mean + spread * Normal(random)));
      }
    }
  }
  return plane;
}

uint32_t LoadElementBits(const PlaneGeometry& geometry, std::span<const uint8_t> plane, size_t i) {
  const size_t bytes = CodecElementBytes(geometry.element);
  uint32_t bits = 0;
  std::memcpy(&bits, &plane[i * bytes], bytes);
  return bits;
}

std::vector<uint8_t> WithUnfilledZero(const PlaneGeometry& geometry, std::vector<uint8_t> plane) {
  const size_t filled = geometry.HeadBytes() / geometry.tokens * geometry.filled_tokens;
  for (size_t head = 0; head < geometry.heads; ++head) {
    uint8_t* begin = plane.data() + head * geometry.HeadBytes();
    std::fill(begin + filled, begin + geometry.HeadBytes(), uint8_t{0});
  }
  return plane;
}

std::vector<uint8_t> Cut(const PlaneGeometry& geometry, std::span<const uint8_t> plane,
                         const PlaneRange& range) {
  const size_t token_bytes = geometry.HeadBytes() / geometry.tokens;
  std::vector<uint8_t> result;
  for (uint32_t head = range.head_begin; head < range.head_end; ++head) {
    const std::span<const uint8_t> part =
        plane.subspan(head * geometry.HeadBytes() + range.token_begin * token_bytes,
                      (range.token_end - range.token_begin) * token_bytes);
    result.insert(result.end(), part.begin(), part.end());
  }
  return result;
}

PlaneRange RandomRange(Random& random, const PlaneGeometry& geometry) {
  PlaneRange range;
  range.head_begin = static_cast<uint32_t>(random.Below(geometry.heads));
  range.head_end =
      range.head_begin + 1 + static_cast<uint32_t>(random.Below(geometry.heads - range.head_begin));
  range.token_begin = static_cast<uint32_t>(random.Below(geometry.tokens));
  range.token_end = range.token_begin + 1 +
                    static_cast<uint32_t>(random.Below(geometry.tokens - range.token_begin));
  return range;
}

std::vector<uint8_t> EncodeRun(const Codec& codec, const PlaneGeometry& geometry,
                               const PlanePlace& place, std::span<const uint8_t> plane) {
  std::vector<uint8_t> run(codec.LevelBytesMax(geometry, 0));
  LevelOutput level = {run, 0};
  CodecScratch scratch;
  const CodecStatus status = codec.EncodePlane(geometry, place, plane, {&level, 1}, scratch);
  EXPECT_TRUE(status.ok()) << status.text;
  EXPECT_GT(level.bytes, 0u);
  EXPECT_LE(level.bytes, run.size());
  return {run.begin(), run.begin() + static_cast<ptrdiff_t>(std::min(level.bytes, run.size()))};
}

CodecStatus DecodeRun(const Codec& codec, const PlaneGeometry& geometry, const PlanePlace& place,
                      std::span<const uint8_t> run, const PlaneRange& range,
                      std::vector<uint8_t>& result) {
  const std::vector<uint8_t> copy(run.begin(), run.end());
  const std::span<const uint8_t> level(copy);
  result.assign(range.Bytes(geometry), 0xa5);
  CodecScratch scratch;
  return codec.DecodePlane(geometry, place, {&level, 1}, range, result, scratch);
}

CodecStatus DecodeNeeded(const Codec& codec, const PlaneGeometry& geometry, const PlanePlace& place,
                         const Runs& runs, const PlaneRange& range, std::vector<uint8_t>& result,
                         size_t& needed_bytes) {
  Runs parts;
  for (const std::vector<uint8_t>& run : runs) parts.emplace_back(run.size(), 0xa5);
  const std::vector<std::span<const uint8_t>> views(parts.begin(), parts.end());
  needed_bytes = 0;
  for (uint32_t step = 0; step < kNeededSteps; ++step) {
    std::vector<LevelRange> needed;
    const CodecStatus status = codec.FindNeeded(geometry, place, views, range, step, needed);
    if (!status.ok()) return status;
    for (const LevelRange& bytes : needed) {
      EXPECT_LT(bytes.begin, bytes.end);
      EXPECT_LE(bytes.end, runs[bytes.level].size());
      std::copy(runs[bytes.level].begin() + static_cast<ptrdiff_t>(bytes.begin),
                runs[bytes.level].begin() + static_cast<ptrdiff_t>(bytes.end),
                parts[bytes.level].begin() + static_cast<ptrdiff_t>(bytes.begin));
      needed_bytes += bytes.end - bytes.begin;
    }
  }
  result.assign(range.Bytes(geometry), 0xa5);
  CodecScratch scratch;
  return codec.DecodePlane(geometry, place, views, range, result, scratch);
}

}  // namespace larder
