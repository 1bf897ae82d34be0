#include "kernels/codec/larder/row_kernels.h"

#if defined(__x86_64__)

#include "kernels/codec/larder/digit_packing.h"
#include "kernels/codec/vector_target.h"

namespace larder {
namespace {

constexpr uint32_t kFloats = 16;  // in a register

LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE __m256i LoadBytes(const uint8_t* bytes) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
}

LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE void StoreBytes(__m256i value, uint8_t* bytes) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes), value);
}

LARDER_TARGET_AVX512 void Load(CodecElement element, const uint8_t* elements, uint32_t head_dim,
                               FloatRow* row) {
  if (CodecElementBytes(element) != 2) {
    ScalarRowKernels().load(element, elements, head_dim, row);
    return;
  }
  const bool bfloat = element == CodecElement::kBfloat16;
  for (uint32_t channel = 0; channel < head_dim; channel += kFloats) {
    const __m256i bits = LoadBytes(elements + 2 * channel);
    const __m512 value =
        bfloat ? _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))
               : _mm512_cvtph_ps(bits);
    _mm512_store_ps(&row->value[channel], value);
  }
}

// To nearest even. Values come from ValueAt: far from the largest bfloat16, and never NaN.
LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE __m256i Bfloat16Of(__m512 value) {
  const __m512i bits = _mm512_castps_si512(value);
  const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
  return _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
}

// To nearest even, at most the largest finite value.
LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE __m256i HalfOf(__m512 value) {
  const __m512 largest = _mm512_set1_ps(65504.0f);
  const __m512 held =
      _mm512_max_ps(_mm512_min_ps(value, largest), _mm512_sub_ps(_mm512_setzero_ps(), largest));
  return _mm512_cvtps_ph(held, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

LARDER_TARGET_AVX512 void Store(CodecElement element, const FloatRow& row, uint32_t head_dim,
                                uint8_t* elements) {
  if (CodecElementBytes(element) != 2) {
    ScalarRowKernels().store(element, row, head_dim, elements);
    return;
  }
  const bool bfloat = element == CodecElement::kBfloat16;
  for (uint32_t channel = 0; channel < head_dim; channel += kFloats) {
    const __m512 value = _mm512_load_ps(&row.value[channel]);
    StoreBytes(bfloat ? Bfloat16Of(value) : HalfOf(value), elements + 2 * channel);
  }
}

LARDER_TARGET_AVX512 void Rotate(const RotationView& rotation, uint32_t token, bool back,
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
  const __m512i sign = _mm512_set1_epi32(back ? INT32_MIN : 0);
  for (uint32_t pair = 0; pair < shape.pairs; pair += kFloats) {
    const __m512 x = _mm512_loadu_ps(first + pair);
    const __m512 y = _mm512_loadu_ps(second + pair);
    // RotationView::Angle.
    const __m512 start_cosine = _mm512_load_ps(&rotation.start_cosines[pair]);
    const __m512 start_sine = _mm512_load_ps(&rotation.start_sines[pair]);
    const __m512 within_cosine = _mm512_loadu_ps(cosines + pair);
    const __m512 within_sine = _mm512_loadu_ps(sines + pair);
    const __m512 cosine = _mm512_sub_ps(_mm512_mul_ps(start_cosine, within_cosine),
                                        _mm512_mul_ps(start_sine, within_sine));
    const __m512 forward = _mm512_add_ps(_mm512_mul_ps(start_sine, within_cosine),
                                         _mm512_mul_ps(start_cosine, within_sine));
    const __m512 sine = _mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(forward), sign));
    _mm512_storeu_ps(first + pair, _mm512_sub_ps(_mm512_mul_ps(x, cosine), _mm512_mul_ps(y, sine)));
    _mm512_storeu_ps(second + pair,
                     _mm512_add_ps(_mm512_mul_ps(y, cosine), _mm512_mul_ps(x, sine)));
  }
}

// FineIndex of 16 channels, plus kFineMax; the mask has those that are inside.
LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE __m512i FineAbove(const FloatRow& row,
                                                            const HeadParameters& parameters,
                                                            uint32_t channel, __mmask16* inside) {
  const __m512 scaled = _mm512_mul_ps(_mm512_load_ps(&row.value[channel]),
                                      _mm512_load_ps(&parameters.inverse_step[channel]));
  const __m512 mean = _mm512_cvtepi32_ps(_mm512_load_si512(&parameters.mean[channel]));
  const __m512 steps = _mm512_sub_ps(scaled, mean);
  *inside = _mm512_cmp_ps_mask(_mm512_abs_ps(steps), _mm512_load_ps(&parameters.bound[channel]),
                               _CMP_LT_OQ);
  const __m512i fine =
      _mm512_maskz_cvt_roundps_epi32(*inside, steps, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  return _mm512_add_epi32(fine, _mm512_set1_epi32(kFineMax));
}

LARDER_TARGET_AVX512 void Quantise(const FloatRow& row, const HeadParameters& parameters,
                                   uint32_t head_dim, uint8_t* base, uint8_t* rests,
                                   uint32_t* outside) {
  for (uint32_t channel = 0; channel < head_dim; channel += kLanes) {
    __mmask16 inside_low, inside_high;
    const __m512i low = FineAbove(row, parameters, channel, &inside_low);
    const __m512i high = FineAbove(row, parameters, channel + kFloats, &inside_high);
    const __m512i above = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(low)),
                                             _mm512_cvtepi32_epi16(high), 1);
    const __m512i symbol = _mm512_mulhi_epu16(above, _mm512_set1_epi16(2428));
    const __m512i rest =
        _mm512_sub_epi16(above, _mm512_mullo_epi16(symbol, _mm512_set1_epi16(kFineSteps)));
    StoreBytes(_mm512_cvtepi16_epi8(symbol), base + channel);
    StoreBytes(_mm512_cvtepi16_epi8(rest), rests + channel);
    outside[channel / kLanes] =
        ~(uint32_t{inside_low} | static_cast<uint32_t>(inside_high) << kFloats);
  }
}

LARDER_TARGET_AVX512 void Pack(const uint8_t* rests, size_t blocks, uint32_t level,
                               uint8_t* digits) {
  const __m256i table = LoadBytes(kDigitsOfRests[level].data());
  for (size_t block = 0; block < blocks; ++block) {
    __m256i value = _mm256_setzero_si256();
    for (uint32_t place = 0; place < kDigitsInByte; ++place) {
      const __m256i digit = _mm256_permutexvar_epi8(LoadBytes(rests), table);
      value = _mm256_add_epi8(_mm256_add_epi8(value, value), _mm256_add_epi8(value, digit));
      rests += kLanes;
    }
    // PackedFraction in 16 bits.
    const __m512i wide = _mm512_cvtepu8_epi16(value);
    const __m512i scaled = _mm512_add_epi16(_mm512_mullo_epi16(wide, _mm512_set1_epi16(13)),
                                            _mm512_set1_epi16(kDigitValues - 1));
    const __m512i extra = _mm512_mulhi_epu16(scaled, _mm512_set1_epi16(270));
    StoreBytes(_mm256_add_epi8(value, _mm512_cvtepi16_epi8(extra)), digits + block * kLanes);
  }
}

LARDER_TARGET_AVX512 void SeeMagnitudes(const FloatRow& row, uint32_t head_dim, ChannelSums* sums) {
  const __m512i magnitude = _mm512_set1_epi32(INT32_MAX);
  const __m512i infinity = _mm512_set1_epi32(0x7f800000);
  for (uint32_t channel = 0; channel < head_dim; channel += kFloats) {
    const __m512i bits = _mm512_and_si512(_mm512_load_si512(&row.value[channel]), magnitude);
    const __m512i before = _mm512_load_si512(&sums->magnitude_bits[channel]);
    const __mmask16 finite = _mm512_cmplt_epu32_mask(bits, infinity);
    _mm512_store_si512(&sums->magnitude_bits[channel],
                       _mm512_mask_max_epu32(before, finite, before, bits));
  }
}

// Sums of 8 channels.
LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE void AddEight(__m256i values, uint32_t channel,
                                                        ChannelSums* sums) {
  const __m512i wide = _mm512_cvtepi32_epi64(values);
  int64_t* const sum = &sums->sum[channel];
  uint64_t* const squares = &sums->squares[channel];
  _mm512_store_si512(sum, _mm512_add_epi64(_mm512_load_si512(sum), wide));
  _mm512_store_si512(squares,
                     _mm512_add_epi64(_mm512_load_si512(squares), _mm512_mul_epi32(wide, wide)));
}

LARDER_TARGET_AVX512 void AddScaled(const FloatRow& row, uint32_t head_dim, float scale,
                                    ChannelSums* sums) {
  const __m512 limit = _mm512_set1_ps(kScaledLimit);
  for (uint32_t channel = 0; channel < head_dim; channel += kFloats) {
    const __m512 scaled = _mm512_mul_ps(_mm512_load_ps(&row.value[channel]), _mm512_set1_ps(scale));
    const __mmask16 counts = _mm512_cmp_ps_mask(_mm512_abs_ps(scaled), limit, _CMP_LT_OQ);
    const __m512i values = _mm512_maskz_cvt_roundps_epi32(
        counts, scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    AddEight(_mm512_castsi512_si256(values), channel, sums);
    AddEight(_mm512_extracti64x4_epi64(values, 1), channel + 8, sums);
  }
}

// The digits 0 to 2 of a row's lanes, in 16 bits.
LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE __m512i Unpack(const uint8_t* bytes, __m512i multiplier) {
  const __m512i moved =
      _mm512_and_si512(_mm512_mullo_epi16(_mm512_cvtepu8_epi16(LoadBytes(bytes)), multiplier),
                       _mm512_set1_epi16(255));
  return _mm512_srli_epi16(_mm512_mullo_epi16(moved, _mm512_set1_epi16(3)), 8);
}

LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE void StoreValues(__m256i fine,
                                                           const HeadParameters& parameters,
                                                           uint32_t channel, FloatRow* row) {
  const __m512i whole =
      _mm512_add_epi32(_mm512_cvtepi16_epi32(fine), _mm512_load_si512(&parameters.mean[channel]));
  _mm512_store_ps(&row->value[channel], _mm512_mul_ps(_mm512_cvtepi32_ps(whole),
                                                      _mm512_load_ps(&parameters.step[channel])));
}

LARDER_TARGET_AVX512 void Reconstruct(const uint8_t* base, const DigitStreams& digits,
                                      uint32_t levels, uint32_t token,
                                      const HeadParameters& parameters, uint32_t head_dim,
                                      FloatRow* row) {
  const uint32_t groups = head_dim / kLanes;
  // Index 0 of the base symbols and of each level's digits.
  constexpr std::array<int16_t, kLarderLevels> kZero = {405, 405 + 9, 405 + 12, 405 + 13};
  static_assert(kZero[0] == kBaseSymbolMax * kFineSteps);
  const __m512i zero = _mm512_set1_epi16(kZero[levels]);
  for (uint32_t group = 0; group < groups; ++group) {
    const uint32_t channel = group * kLanes;
    const __m512i symbol = _mm512_cvtepu8_epi16(LoadBytes(base + channel));
    __m512i fine =
        _mm512_sub_epi16(_mm512_mullo_epi16(symbol, _mm512_set1_epi16(kFineSteps)), zero);
    if (levels > 0) {
      const size_t digit_row = size_t{token} * groups + group;
      const size_t at = digit_row / kDigitsInByte * kLanes;
      const __m512i multiplier =
          _mm512_set1_epi16(static_cast<int16_t>(DigitMultiplier(digit_row % kDigitsInByte)));
      fine = _mm512_add_epi16(
          fine, _mm512_mullo_epi16(Unpack(digits[0] + at, multiplier), _mm512_set1_epi16(9)));
      if (levels > 1) {
        fine = _mm512_add_epi16(
            fine, _mm512_mullo_epi16(Unpack(digits[1] + at, multiplier), _mm512_set1_epi16(3)));
      }
      if (levels > 2) {
        fine = _mm512_add_epi16(fine, Unpack(digits[2] + at, multiplier));
      }
    }
    StoreValues(_mm512_castsi512_si256(fine), parameters, channel, row);
    StoreValues(_mm512_extracti64x4_epi64(fine, 1), parameters, channel + kFloats, row);
  }
}

}  // namespace

const RowKernels& Avx512RowKernels() {
  static constexpr RowKernels kKernels = {Load,     Rotate, SeeMagnitudes, AddScaled,
                                          Quantise, Pack,   Reconstruct,   Store};
  return kKernels;
}

}  // namespace larder

#endif
