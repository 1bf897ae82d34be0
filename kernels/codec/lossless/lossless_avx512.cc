// Codec 2 in AVX-512: the 32 elements of a row in one register of 16-bit parts, whatever their
// type.
#include "kernels/codec/lossless/lossless_paths.h"
#include "kernels/codec/rans/rans_avx512.h"

#if defined(__x86_64__)

namespace larder {
namespace {

LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE __m512i LoadWideBytes(const uint8_t* source) {
  return _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(source)));
}
LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE void StoreNarrow(uint8_t* destination, __m512i values) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(destination), _mm512_cvtepi16_epi8(values));
}

LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE __m512i Constant(uint32_t value) {
  return _mm512_set1_epi16(static_cast<short>(value));
}

// The raw bits of a row.
template <class Layout>
LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE __m512i LoadRaw(const LosslessHead& head, size_t row) {
  __m512i raw = _mm512_setzero_si512();
  if constexpr (Layout::kHasLow) raw = LoadWideBytes(head.low + row * kLanes);
  for (int plane = 0; plane < Layout::kPlanes; ++plane) {
    const __mmask32 bits =
        LoadU32(head.planes + (row * Layout::kPlanes + plane) * sizeof(uint32_t));
    raw = _mm512_or_si512(raw,
                          _mm512_maskz_mov_epi16(bits, Constant(1u << (Layout::kLowBits + plane))));
  }
  return raw;
}

template <class Layout>
LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE __m512i Join(__m512i exponent, __m512i raw) {
  const __m512i mantissa = _mm512_and_si512(raw, Constant(Layout::kMantissaMask));
  const __m512i sign =
      _mm512_slli_epi16(_mm512_srli_epi16(raw, Layout::kMantissaBits), Layout::kBits - 1);
  return _mm512_or_si512(_mm512_or_si512(sign, mantissa),
                         _mm512_slli_epi16(exponent, Layout::kMantissaBits));
}

// One head on its way through its rows.
template <class Layout>
class HeadDecoder {
 public:
  LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE bool Begin(const LosslessTask& task, StreamTail& tail) {
    escapes_ = task.head.escapes;
    escapes_end_ = escapes_ + task.head.escape_count;
    return decoder_.Begin(task.head.symbols, task.head.symbol_bytes, tail);
  }

  LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE void DecodeRow(const LosslessHead& head,
                                                           const DecodeTable* tables, size_t row,
                                                           size_t channel, uint8_t* to) {
    const Avx512Row symbol = decoder_.DecodeRow(tables, TableOffsetsAvx512(head.table + channel));
    const __m512i narrow =
        _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi32_epi16(symbol.low)),
                           _mm512_cvtepi32_epi16(symbol.high), 1);
    __m512i exponent = _mm512_sub_epi16(LoadWideBytes(head.base + channel), narrow);
    const __mmask32 escaped = _mm512_cmpeq_epi16_mask(narrow, Constant(kEscape));
    if (escaped != 0) [[unlikely]]
      exponent = TakeEscapes(escaped, exponent);
    if (to == nullptr) return;
    exponent = _mm512_and_si512(exponent, Constant(Layout::kExponentMask));
    const __m512i element = Join<Layout>(exponent, LoadRaw<Layout>(head, row));
    if constexpr (Layout::kWide) {
      _mm512_storeu_si512(to + channel * 2, element);
    } else {
      StoreNarrow(to + channel, element);
    }
  }

  LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE bool Finish(const LosslessWindow& window) const {
    if (overrun_) return false;
    if (window.token_end < window.filled_tokens) return decoder_.IsSound();
    return decoder_.Finish() && escapes_ == escapes_end_;
  }

 private:
  LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE __m512i TakeEscapes(__mmask32 escaped,
                                                                __m512i exponent) {
    const size_t count = static_cast<size_t>(_mm_popcnt_u32(escaped));
    if (count > static_cast<size_t>(escapes_end_ - escapes_)) {
      overrun_ = true;
      return exponent;
    }
    // A masked load reads no byte that the mask leaves out.
    const __m256i next =
        _mm256_maskz_loadu_epi8(_bzhi_u32(~0u, static_cast<uint32_t>(count)), escapes_);
    escapes_ += count;
    return _mm512_mask_cvtepu8_epi16(exponent, escaped, _mm256_maskz_expand_epi8(escaped, next));
  }

  Avx512Decoder decoder_;
  const uint8_t* escapes_ = nullptr;
  const uint8_t* escapes_end_ = nullptr;
  bool overrun_ = false;
};

template <CodecElement kElement>
LARDER_TARGET_AVX512 bool Decode(const LosslessTask& task, const DecodeTable* tables) {
  StreamTail tail;
  HeadDecoder<FloatLayout<kElement>> decoder;
  if (!decoder.Begin(task, tail)) return false;
  const size_t channels = size_t{task.window.groups} * kLanes;
  size_t row = 0;
  for (uint32_t token = 0; token < task.window.token_end; ++token) {
    uint8_t* to = task.window.At(token);
    for (size_t channel = 0; channel < channels; channel += kLanes, ++row) {
      decoder.DecodeRow(task.head, tables, row, channel, to);
    }
  }
  return decoder.Finish(task.window);
}

template <CodecElement kElement>
LARDER_TARGET_AVX512 bool DecodePair(const LosslessTask& first, const LosslessTask& second,
                                     const DecodeTable* tables) {
  StreamTail first_tail, second_tail;
  HeadDecoder<FloatLayout<kElement>> a, b;
  if (!a.Begin(first, first_tail) || !b.Begin(second, second_tail)) return false;
  const size_t channels = size_t{first.window.groups} * kLanes;
  size_t row = 0;
  for (uint32_t token = 0; token < first.window.token_end; ++token) {
    uint8_t* first_to = first.window.At(token);
    uint8_t* second_to = second.window.At(token);
    for (size_t channel = 0; channel < channels; channel += kLanes, ++row) {
      a.DecodeRow(first.head, tables, row, channel, first_to);
      b.DecodeRow(second.head, tables, row, channel, second_to);
    }
  }
  return a.Finish(first.window) && b.Finish(second.window);
}

template <CodecElement kElement>
LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE __m512i LoadRow(const LosslessSplit& split,
                                                          uint32_t token, uint32_t group) {
  if constexpr (FloatLayout<kElement>::kWide) {
    return _mm512_loadu_si512(split.from.At(token) + group * kLanes * 2);
  } else {
    return LoadWideBytes(split.from.At(token) + group * kLanes);
  }
}

template <class Layout>
LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE __m512i ExponentOf(__m512i element) {
  return _mm512_and_si512(_mm512_srli_epi16(element, Layout::kMantissaBits),
                          Constant(Layout::kExponentMask));
}

template <CodecElement kElement>
LARDER_TARGET_AVX512 __m512i FindBases(const LosslessSplit& split, uint32_t group) {
  using Layout = FloatLayout<kElement>;
  __m512i base = _mm512_setzero_si512();
  for (uint32_t token = 0; token < split.filled_tokens; ++token) {
    const __m512i exponent = ExponentOf<Layout>(LoadRow<kElement>(split, token, group));
    if constexpr (Layout::kTopIsSpecial) {
      const __mmask32 counts = _mm512_cmpneq_epi16_mask(exponent, Constant(Layout::kExponentMask));
      base = _mm512_mask_max_epu16(base, counts, base, exponent);
    } else {
      base = _mm512_max_epu16(base, exponent);
    }
  }
  return base;
}

template <CodecElement kElement>
LARDER_TARGET_AVX512 void SplitRows(const LosslessSplit& split, uint32_t group, __m512i base) {
  using Layout = FloatLayout<kElement>;
  for (uint32_t token = 0; token < split.filled_tokens; ++token) {
    const size_t row = size_t{token} * split.groups + group;
    const __m512i element = LoadRow<kElement>(split, token, group);
    const __m512i below = _mm512_sub_epi16(base, ExponentOf<Layout>(element));
    StoreNarrow(split.symbols + row * kLanes, _mm512_min_epu16(below, Constant(kEscape)));
    const __m512i raw = _mm512_or_si512(
        _mm512_and_si512(element, Constant(Layout::kMantissaMask)),
        _mm512_slli_epi16(_mm512_srli_epi16(element, Layout::kBits - 1), Layout::kMantissaBits));
    if constexpr (Layout::kHasLow) StoreNarrow(split.low + row * kLanes, raw);
    for (int plane = 0; plane < Layout::kPlanes; ++plane) {
      StoreU32(split.planes + (row * Layout::kPlanes + plane) * sizeof(uint32_t),
               _mm512_test_epi16_mask(raw, Constant(1u << (Layout::kLowBits + plane))));
    }
  }
}

// The best table of 16 channels.
LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE __m512i ChooseTables(const LosslessCounts& counts,
                                                               uint32_t lane,
                                                               const LosslessTables& tables) {
  __m512i best = _mm512_setzero_si512();
  __m512i least = _mm512_set1_epi32(-1);
  for (uint32_t table = 0; table < kLosslessTables; ++table) {
    __m512i bits = _mm512_setzero_si512();
    for (uint32_t symbol = 0; symbol < kLosslessSymbols; ++symbol) {
      const __m512i cost = _mm512_set1_epi32(static_cast<int>(tables.cost[symbol][table]));
      const __m512i count = _mm512_loadu_si512(&counts.count[symbol][lane]);
      bits = _mm512_add_epi32(bits, _mm512_mullo_epi32(count, cost));
    }
    const __mmask16 less = _mm512_cmplt_epu32_mask(bits, least);
    least = _mm512_mask_mov_epi32(least, less, bits);
    best = _mm512_mask_mov_epi32(best, less, _mm512_set1_epi32(static_cast<int>(table)));
  }
  return best;
}

template <CodecElement kElement>
LARDER_TARGET_AVX512 bool Split(const LosslessSplit& split, const LosslessTables& tables) {
  uint32_t escapes = 0;
  for (uint32_t group = 0; group < split.groups; ++group) {
    const __m512i base = FindBases<kElement>(split, group);
    SplitRows<kElement>(split, group, base);
    LosslessCounts counts;
    CountLosslessSymbolsAvx2(split, group, counts);
    StoreNarrow(split.base + group * kLanes, base);
    StoreBytesAvx512({ChooseTables(counts, 0, tables), ChooseTables(counts, 16, tables)},
                     split.table + group * kLanes);
    for (const uint32_t count : counts.count[kEscape]) escapes += count;
  }
  return escapes != 0;
}

template <CodecElement kElement>
constexpr LosslessPath kPath = {Split<kElement>, Decode<kElement>, DecodePair<kElement>};

}  // namespace

LosslessPath LosslessPathAvx512(CodecElement element) {
  switch (element) {
    case CodecElement::kBfloat16:
      return kPath<CodecElement::kBfloat16>;
    case CodecElement::kFloat16:
      return kPath<CodecElement::kFloat16>;
    case CodecElement::kFloat8E4M3:
      return kPath<CodecElement::kFloat8E4M3>;
    case CodecElement::kFloat8E5M2:
      return kPath<CodecElement::kFloat8E5M2>;
  }
  return {};
}

}  // namespace larder

#endif
