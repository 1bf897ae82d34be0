// Rotary position embedding, undone before keys are quantised and done again after. Cosines and
// sines come from turns in integers and one polynomial, never from a mathematics library, so that
// every machine has the same ones.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/codec/geometry.h"
#include "kernels/codec/larder/larder_format.h"
#include "kernels/codec/larder/row_arithmetic.h"

namespace larder {

// Of a turn of `phase` / 2^64.
struct CosineSine {
  float cosine;
  float sine;
};

LARDER_HD inline double MultiplyRounded(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dmul_rn(a, b);
#else
  return a * b;
#endif
}
LARDER_HD inline double AddRounded(double a, double b) {
#ifdef __CUDA_ARCH__
  return __dadd_rn(a, b);
#else
  return a + b;
#endif
}

LARDER_HD inline CosineSine CosineSineOf(uint64_t phase) {
  // The nearest quarter turn, and what is left of it: at most an eighth of a turn either way.
  const uint64_t quarter = (phase + (uint64_t{1} << 61)) >> 62;
  const int64_t rest = static_cast<int64_t>(phase - (quarter << 62)) >> 11;
  constexpr double kTwoPiOver2To53 = 6.283185307179586 / 9007199254740992.0;
  const double x = MultiplyRounded(static_cast<double>(rest), kTwoPiOver2To53);
  const double square = MultiplyRounded(x, x);
  // Taylor series; the first term left out is below 1e-11.
  constexpr double kSine[] = {-1.0 / 39916800, 1.0 / 362880, -1.0 / 5040, 1.0 / 120, -1.0 / 6, 1};
  constexpr double kCosine[] = {
      1.0 / 479001600, -1.0 / 3628800, 1.0 / 40320, -1.0 / 720, 1.0 / 24, -1.0 / 2, 1};
  double sine = 0;
  for (const double coefficient : kSine) {
    sine = AddRounded(MultiplyRounded(sine, square), coefficient);
  }
  sine = MultiplyRounded(sine, x);
  double cosine = 0;
  for (const double coefficient : kCosine) {
    cosine = AddRounded(MultiplyRounded(cosine, square), coefficient);
  }
  const float c = static_cast<float>(cosine);
  const float s = static_cast<float>(sine);
  switch (quarter & 3) {
    case 0:
      return {c, s};
    case 1:
      return {-s, c};
    case 2:
      return {-c, -s};
    default:
      return {s, -c};
  }
}

// Angles add.
LARDER_HD inline CosineSine Combine(const CosineSine& a, const CosineSine& b) {
  return {AddRounded(MultiplyRounded(a.cosine, b.cosine), -MultiplyRounded(a.sine, b.sine)),
          AddRounded(MultiplyRounded(a.sine, b.cosine), MultiplyRounded(a.cosine, b.sine))};
}

// Which channels of a head turn together.
struct RotationShape {
  RopeStyle style = RopeStyle::kNone;
  uint32_t channel_begin = 0;
  uint32_t pairs = 0;

  LARDER_HD uint32_t First(uint32_t pair) const {
    return channel_begin + (style == RopeStyle::kHalves ? pair : 2 * pair);
  }
  LARDER_HD uint32_t Second(uint32_t pair) const {
    return First(pair) + (style == RopeStyle::kHalves ? pairs : 1);
  }
  LARDER_HD bool Turns(uint32_t channel) const {
    return channel - channel_begin < 2 * pairs;  // below channel_begin the difference is large
  }
  // REQUIRES: Turns(channel).
  LARDER_HD uint32_t PairOf(uint32_t channel) const {
    const uint32_t place = channel - channel_begin;
    return style == RopeStyle::kHalves ? place % pairs : place / 2;
  }
};

inline constexpr uint32_t kRotatedPairsMax = kCodecHeadDimMax / 2;

// The rotation of the tokens of one chunk: the angle of a pair at a token is that of the chunk's
// first token and that of the token within the chunk. Does not own the latter.
struct RotationView {
  RotationShape shape;
  alignas(64) std::array<float, kRotatedPairsMax> start_cosines;
  alignas(64) std::array<float, kRotatedPairsMax> start_sines;
  const float* cosines = nullptr;  // [token][pair], of positions from 0 on
  const float* sines = nullptr;

  bool Any() const { return shape.pairs != 0; }
  CosineSine Angle(uint32_t token, uint32_t pair) const {
    const size_t within = size_t{token} * shape.pairs + pair;
    return Combine({start_cosines[pair], start_sines[pair]}, {cosines[within], sines[within]});
  }
};

// The rotation of a model. Immutable, thread-safe; views point into it.
class Rotation {
 public:
  Rotation() = default;
  // `turns`: of each pair, in one token, in units of 2^-64 turns.
  Rotation(const RotationShape& shape, std::vector<uint64_t> turns);

  const RotationShape& shape() const { return shape_; }
  std::span<const uint64_t> turns() const { return turns_; }
  // [token][pair] of the positions 0 to kCodecTokensMax - 1.
  std::span<const float> cosines() const { return cosines_; }
  std::span<const float> sines() const { return sines_; }

  // Sets `view` to the tokens from position `first_token` on.
  void SetView(uint64_t first_token, RotationView* view) const;

 private:
  RotationShape shape_;
  std::vector<uint64_t> turns_;
  std::vector<float> cosines_;
  std::vector<float> sines_;
};

}  // namespace larder
