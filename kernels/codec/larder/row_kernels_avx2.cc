#include "kernels/codec/larder/row_kernels.h"

#if defined(__x86_64__)

#include "kernels/codec/larder/digit_packing.h"
#include "kernels/codec/vector_target.h"

namespace larder {
namespace {

constexpr uint32_t kFloats = 8;  // in a register

LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE __m128i LoadHalf(const uint8_t* bytes) {
  return _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
}

LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE void StoreHalf(__m128i value, uint8_t* bytes) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(bytes), value);
}

template <typename T>
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE __m256i LoadWhole(const T* values) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(values));
}

// 16 numbers of 16 bits, each below 256, as bytes.
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE __m128i Narrow(__m256i wide) {
  return _mm_packus_epi16(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
}

LARDER_TARGET_AVX2 void Load(CodecElement element, const uint8_t* elements, uint32_t head_dim,
                             FloatRow* row) {
  if (CodecElementBytes(element) != 2) {
    ScalarRowKernels().load(element, elements, head_dim, row);
    return;
  }
  const bool bfloat = element == CodecElement::kBfloat16;
  for (uint32_t channel = 0; channel < head_dim; channel += kFloats) {
    const __m128i bits = LoadHalf(elements + 2 * channel);
    const __m256 value =
        bfloat ? _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16))
               : _mm256_cvtph_ps(bits);
    _mm256_store_ps(&row->value[channel], value);
  }
}

// To nearest even. Values come from ValueAt: far from the largest bfloat16, and never NaN.
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE __m128i Bfloat16Of(__m256 value) {
  const __m256i bits = _mm256_castps_si256(value);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_srli_epi32(
      _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
}

// To nearest even, at most the largest finite value.
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE __m128i HalfOf(__m256 value) {
  const __m256 largest = _mm256_set1_ps(65504.0f);
  const __m256 held =
      _mm256_max_ps(_mm256_min_ps(value, largest), _mm256_sub_ps(_mm256_setzero_ps(), largest));
  return _mm256_cvtps_ph(held, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

LARDER_TARGET_AVX2 void Store(CodecElement element, const FloatRow& row, uint32_t head_dim,
                              uint8_t* elements) {
  if (CodecElementBytes(element) != 2) {
    ScalarRowKernels().store(element, row, head_dim, elements);
    return;
  }
  const bool bfloat = element == CodecElement::kBfloat16;
  for (uint32_t channel = 0; channel < head_dim; channel += kFloats) {
    const __m256 value = _mm256_load_ps(&row.value[channel]);
    StoreHalf(bfloat ? Bfloat16Of(value) : HalfOf(value), elements + 2 * channel);
  }
}

LARDER_TARGET_AVX2 void Rotate(const RotationView& rotation, uint32_t token, bool back,
                               FloatRow* row) {
  const RotationShape& shape = rotation.shape;
  if (shape.style != RopeStyle::kHalves || shape.pairs % kFloats != 0) {
    ScalarRowKernels().rotate(rotation, token, back, row);
    return;
  }
  const float* const cosines = rotation.cosines + size_t{token} * shape.pairs;
  const float* const sines = rotation.sines + size_t{token} * shape.pairs;
  float* const first = &row->value[shape.channel_begin];
  float* const second = first + shape.pairs;
  const __m256 sign = _mm256_castsi256_ps(_mm256_set1_epi32(back ? INT32_MIN : 0));
  for (uint32_t pair = 0; pair < shape.pairs; pair += kFloats) {
    const __m256 x = _mm256_loadu_ps(first + pair);
    const __m256 y = _mm256_loadu_ps(second + pair);
    // RotationView::Angle.
    const __m256 start_cosine = _mm256_load_ps(&rotation.start_cosines[pair]);
    const __m256 start_sine = _mm256_load_ps(&rotation.start_sines[pair]);
    const __m256 within_cosine = _mm256_loadu_ps(cosines + pair);
    const __m256 within_sine = _mm256_loadu_ps(sines + pair);
    const __m256 cosine = _mm256_sub_ps(_mm256_mul_ps(start_cosine, within_cosine),
                                        _mm256_mul_ps(start_sine, within_sine));
    const __m256 forward = _mm256_add_ps(_mm256_mul_ps(start_sine, within_cosine),
                                         _mm256_mul_ps(start_cosine, within_sine));
    const __m256 sine = _mm256_xor_ps(forward, sign);
    _mm256_storeu_ps(first + pair, _mm256_sub_ps(_mm256_mul_ps(x, cosine), _mm256_mul_ps(y, sine)));
    _mm256_storeu_ps(second + pair,
                     _mm256_add_ps(_mm256_mul_ps(y, cosine), _mm256_mul_ps(x, sine)));
  }
}

// FineIndex of 8 channels, plus kFineMax; the mask has those that are inside.
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE __m256i FineAbove(const FloatRow& row,
                                                          const HeadParameters& parameters,
                                                          uint32_t channel, uint32_t* inside) {
  const __m256 scaled = _mm256_mul_ps(_mm256_load_ps(&row.value[channel]),
                                      _mm256_load_ps(&parameters.inverse_step[channel]));
  const __m256 mean = _mm256_cvtepi32_ps(LoadWhole(&parameters.mean[channel]));
  const __m256 steps = _mm256_sub_ps(scaled, mean);
  const __m256 magnitude = _mm256_and_ps(steps, _mm256_castsi256_ps(_mm256_set1_epi32(INT32_MAX)));
  const __m256 mask =
      _mm256_cmp_ps(magnitude, _mm256_load_ps(&parameters.bound[channel]), _CMP_LT_OQ);
  *inside = static_cast<uint32_t>(_mm256_movemask_ps(mask));
  const __m256 rounded =
      _mm256_round_ps(_mm256_and_ps(steps, mask), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return _mm256_add_epi32(_mm256_cvtps_epi32(rounded), _mm256_set1_epi32(kFineMax));
}

// 16 channels; the result is their bits of `outside`.
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE uint32_t QuantiseHalf(const FloatRow& row,
                                                              const HeadParameters& parameters,
                                                              uint32_t channel, uint8_t* base,
                                                              uint8_t* rests) {
  uint32_t inside_low, inside_high;
  const __m256i low = FineAbove(row, parameters, channel, &inside_low);
  const __m256i high = FineAbove(row, parameters, channel + kFloats, &inside_high);
  // Packing interleaves the halves of the registers; the permutation undoes that.
  const __m256i above =
      _mm256_permute4x64_epi64(_mm256_packus_epi32(low, high), _MM_SHUFFLE(3, 1, 2, 0));
  const __m256i symbol = _mm256_mulhi_epu16(above, _mm256_set1_epi16(2428));
  const __m256i rest =
      _mm256_sub_epi16(above, _mm256_mullo_epi16(symbol, _mm256_set1_epi16(kFineSteps)));
  StoreHalf(Narrow(symbol), base + channel);
  StoreHalf(Narrow(rest), rests + channel);
  return ~(inside_low | inside_high << kFloats) & 0xffff;
}

LARDER_TARGET_AVX2 void Quantise(const FloatRow& row, const HeadParameters& parameters,
                                 uint32_t head_dim, uint8_t* base, uint8_t* rests,
                                 uint32_t* outside) {
  for (uint32_t channel = 0; channel < head_dim; channel += kLanes) {
    const uint32_t low = QuantiseHalf(row, parameters, channel, base, rests);
    const uint32_t high = QuantiseHalf(row, parameters, channel + kLanes / 2, base, rests);
    outside[channel / kLanes] = low | high << kLanes / 2;
  }
}

// value / divisor of bytes of 0 to 26, for 3 and 9: (value x multiplier) >> 8 in 16 bits.
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE __m256i Scale(__m256i value, int16_t multiplier) {
  return _mm256_srli_epi16(_mm256_mullo_epi16(value, _mm256_set1_epi16(multiplier)), 8);
}
constexpr int16_t kThird = 86;
constexpr int16_t kNinth = 29;
static_assert([] {
  for (int32_t value = 0; value < kFineSteps; ++value) {
    if (value * kThird >> 8 != value / 3 || value * kNinth >> 8 != value / 9) {
      return false;
    }
  }
  return true;
}());

// A refinement level's digit of 16 rests, in 16 bits.
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE __m256i DigitOf(__m256i rest, uint32_t level) {
  const __m256i ninth = Scale(rest, kNinth);
  if (level == 0) {
    return ninth;
  }
  const __m256i third = Scale(rest, kThird);
  const __m256i three = _mm256_set1_epi16(3);
  return level == 1 ? _mm256_sub_epi16(third, _mm256_mullo_epi16(ninth, three))
                    : _mm256_sub_epi16(rest, _mm256_mullo_epi16(third, three));
}

LARDER_TARGET_AVX2 void Pack(const uint8_t* rests, size_t blocks, uint32_t level, uint8_t* digits) {
  constexpr uint32_t kHalfLanes = kLanes / 2;
  for (size_t half = 0; half < 2 * blocks; ++half) {
    const uint8_t* const from = rests + half / 2 * kDigitsInByte * kLanes + half % 2 * kHalfLanes;
    __m256i value = _mm256_setzero_si256();
    for (uint32_t place = 0; place < kDigitsInByte; ++place) {
      const __m256i rest = _mm256_cvtepu8_epi16(LoadHalf(from + place * kLanes));
      value =
          _mm256_add_epi16(_mm256_mullo_epi16(value, _mm256_set1_epi16(3)), DigitOf(rest, level));
    }
    // PackedFraction.
    const __m256i scaled = _mm256_add_epi16(_mm256_mullo_epi16(value, _mm256_set1_epi16(13)),
                                            _mm256_set1_epi16(kDigitValues - 1));
    const __m256i extra = _mm256_mulhi_epu16(scaled, _mm256_set1_epi16(270));
    StoreHalf(Narrow(_mm256_add_epi16(value, extra)), digits + half * kHalfLanes);
  }
}

LARDER_TARGET_AVX2 void SeeMagnitudes(const FloatRow& row, uint32_t head_dim, ChannelSums* sums) {
  const __m256i magnitude = _mm256_set1_epi32(INT32_MAX);
  const __m256i infinity = _mm256_set1_epi32(0x7f800000);
  for (uint32_t channel = 0; channel < head_dim; channel += kFloats) {
    const __m256i bits = _mm256_and_si256(LoadWhole(&row.value[channel]), magnitude);
    const __m256i finite = _mm256_and_si256(bits, _mm256_cmpgt_epi32(infinity, bits));
    __m256i* const largest = reinterpret_cast<__m256i*>(&sums->magnitude_bits[channel]);
    _mm256_store_si256(largest, _mm256_max_epu32(_mm256_load_si256(largest), finite));
  }
}

// Sums of 4 channels.
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE void AddFour(__m128i values, uint32_t channel,
                                                     ChannelSums* sums) {
  const __m256i wide = _mm256_cvtepi32_epi64(values);
  __m256i* const sum = reinterpret_cast<__m256i*>(&sums->sum[channel]);
  __m256i* const squares = reinterpret_cast<__m256i*>(&sums->squares[channel]);
  _mm256_store_si256(sum, _mm256_add_epi64(_mm256_load_si256(sum), wide));
  _mm256_store_si256(squares,
                     _mm256_add_epi64(_mm256_load_si256(squares), _mm256_mul_epi32(wide, wide)));
}

LARDER_TARGET_AVX2 void AddScaled(const FloatRow& row, uint32_t head_dim, float scale,
                                  ChannelSums* sums) {
  const __m256 limit = _mm256_set1_ps(kScaledLimit);
  for (uint32_t channel = 0; channel < head_dim; channel += kFloats) {
    const __m256 scaled = _mm256_mul_ps(_mm256_load_ps(&row.value[channel]), _mm256_set1_ps(scale));
    const __m256 magnitude =
        _mm256_and_ps(scaled, _mm256_castsi256_ps(_mm256_set1_epi32(INT32_MAX)));
    const __m256 counted = _mm256_and_ps(scaled, _mm256_cmp_ps(magnitude, limit, _CMP_LT_OQ));
    const __m256i values =
        _mm256_cvtps_epi32(_mm256_round_ps(counted, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    AddFour(_mm256_castsi256_si128(values), channel, sums);
    AddFour(_mm256_extracti128_si256(values, 1), channel + 4, sums);
  }
}

// The digits 0 to 2 of 16 lanes, in 16 bits.
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE __m256i Unpack(const uint8_t* bytes, __m256i multiplier) {
  const __m256i moved =
      _mm256_and_si256(_mm256_mullo_epi16(_mm256_cvtepu8_epi16(LoadHalf(bytes)), multiplier),
                       _mm256_set1_epi16(255));
  return Scale(moved, 3);
}

LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE void StoreValues(__m128i fine,
                                                         const HeadParameters& parameters,
                                                         uint32_t channel, FloatRow* row) {
  const __m256i whole =
      _mm256_add_epi32(_mm256_cvtepi16_epi32(fine), LoadWhole(&parameters.mean[channel]));
  _mm256_store_ps(&row->value[channel], _mm256_mul_ps(_mm256_cvtepi32_ps(whole),
                                                      _mm256_load_ps(&parameters.step[channel])));
}

LARDER_TARGET_AVX2 void Reconstruct(const uint8_t* base, const DigitStreams& digits,
                                    uint32_t levels, uint32_t token,
                                    const HeadParameters& parameters, uint32_t head_dim,
                                    FloatRow* row) {
  constexpr uint32_t kHalfLanes = kLanes / 2;
  // Index 0 of the base symbols and of each level's digits.
  constexpr std::array<int16_t, kLarderLevels> kZero = {405, 405 + 9, 405 + 12, 405 + 13};
  static_assert(kZero[0] == kBaseSymbolMax * kFineSteps);
  const __m256i zero = _mm256_set1_epi16(kZero[levels]);
  const size_t first_row = size_t{token} * (head_dim / kLanes);
  for (uint32_t channel = 0; channel < head_dim; channel += kHalfLanes) {
    const __m256i symbol = _mm256_cvtepu8_epi16(LoadHalf(base + channel));
    __m256i fine =
        _mm256_sub_epi16(_mm256_mullo_epi16(symbol, _mm256_set1_epi16(kFineSteps)), zero);
    if (levels > 0) {
      const size_t digit_row = first_row + channel / kLanes;
      const size_t at = digit_row / kDigitsInByte * kLanes + channel % kLanes;
      const __m256i multiplier =
          _mm256_set1_epi16(static_cast<int16_t>(DigitMultiplier(digit_row % kDigitsInByte)));
      fine = _mm256_add_epi16(
          fine, _mm256_mullo_epi16(Unpack(digits[0] + at, multiplier), _mm256_set1_epi16(9)));
      if (levels > 1) {
        fine = _mm256_add_epi16(
            fine, _mm256_mullo_epi16(Unpack(digits[1] + at, multiplier), _mm256_set1_epi16(3)));
      }
      if (levels > 2) {
        fine = _mm256_add_epi16(fine, Unpack(digits[2] + at, multiplier));
      }
    }
    StoreValues(_mm256_castsi256_si128(fine), parameters, channel, row);
    StoreValues(_mm256_extracti128_si256(fine, 1), parameters, channel + kFloats, row);
  }
}

}  // namespace

const RowKernels& Avx2RowKernels() {
  static constexpr RowKernels kKernels = {Load,     Rotate, SeeMagnitudes, AddScaled,
                                          Quantise, Pack,   Reconstruct,   Store};
  return kKernels;
}

}  // namespace larder

#endif
