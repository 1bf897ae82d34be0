// Codec 2 in AVX2: the 32 elements of a row in two registers of 16-bit parts, whatever their type.
#include <algorithm>

#include "kernels/codec/lossless/lossless_paths.h"
#include "kernels/codec/rans/rans_avx2.h"

#if defined(__x86_64__)

namespace larder {
namespace {

// 16 lanes each.
struct Row {
  __m256i half[2];
};

LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE __m256i Constant(uint32_t value) {
  return _mm256_set1_epi16(static_cast<short>(value));
}

LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE Row LoadWideBytes(const uint8_t* source) {
  const __m128i* bytes = reinterpret_cast<const __m128i*>(source);
  return {{_mm256_cvtepu8_epi16(_mm_loadu_si128(bytes)),
           _mm256_cvtepu8_epi16(_mm_loadu_si128(bytes + 1))}};
}
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE Row LoadWords(const uint8_t* source) {
  const __m256i* words = reinterpret_cast<const __m256i*>(source);
  return {{_mm256_loadu_si256(words), _mm256_loadu_si256(words + 1)}};
}
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE void StoreWords(uint8_t* destination, const Row& row) {
  __m256i* words = reinterpret_cast<__m256i*>(destination);
  _mm256_storeu_si256(words, row.half[0]);
  _mm256_storeu_si256(words + 1, row.half[1]);
}
// The low byte of each lane.
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE void StoreNarrow(uint8_t* destination, const Row& row) {
  const __m256i mask = Constant(255);
  const __m256i packed =
      _mm256_packus_epi16(_mm256_and_si256(row.half[0], mask), _mm256_and_si256(row.half[1], mask));
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(destination),
                      _mm256_permute4x64_epi64(packed, 0b11011000));
}

// Bit `lane` of a row's comparison, whose lanes are all ones or zero.
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE uint32_t MaskOf(const Row& row) {
  const __m256i packed =
      _mm256_permute4x64_epi64(_mm256_packs_epi16(row.half[0], row.half[1]), 0b11011000);
  return static_cast<uint32_t>(_mm256_movemask_epi8(packed));
}

// `value` in the lanes whose bit is set.
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE Row ValueWhere(uint32_t bits, uint32_t value) {
  const __m256i lane_bit = _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048,
                                             4096, 8192, 16384, static_cast<short>(32768));
  Row row;
  for (uint32_t h = 0; h < 2; ++h) {
    const __m256i selected = _mm256_and_si256(Constant(bits >> (16 * h)), lane_bit);
    row.half[h] = _mm256_and_si256(_mm256_cmpeq_epi16(selected, lane_bit), Constant(value));
  }
  return row;
}

// The raw bits of a row.
template <class Layout>
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE Row LoadRaw(const LosslessHead& head, size_t row) {
  Row raw = {{_mm256_setzero_si256(), _mm256_setzero_si256()}};
  if constexpr (Layout::kHasLow) raw = LoadWideBytes(head.low + row * kLanes);
  for (int plane = 0; plane < Layout::kPlanes; ++plane) {
    const uint32_t bits = LoadU32(head.planes + (row * Layout::kPlanes + plane) * sizeof(uint32_t));
    const Row set = ValueWhere(bits, 1u << (Layout::kLowBits + plane));
    for (uint32_t h = 0; h < 2; ++h) raw.half[h] = _mm256_or_si256(raw.half[h], set.half[h]);
  }
  return raw;
}

template <class Layout>
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE __m256i Join(__m256i exponent, __m256i raw) {
  const __m256i mantissa = _mm256_and_si256(raw, Constant(Layout::kMantissaMask));
  const __m256i sign =
      _mm256_slli_epi16(_mm256_srli_epi16(raw, Layout::kMantissaBits), Layout::kBits - 1);
  return _mm256_or_si256(_mm256_or_si256(sign, mantissa),
                         _mm256_slli_epi16(exponent, Layout::kMantissaBits));
}

// One head on its way through its rows.
template <class Layout>
class HeadDecoder {
 public:
  LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE bool Begin(const LosslessTask& task, StreamTail& tail) {
    escapes_ = task.head.escapes;
    escapes_end_ = escapes_ + task.head.escape_count;
    return decoder_.Begin(task.head.symbols, task.head.symbol_bytes, tail);
  }

  LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE void DecodeRow(const LosslessHead& head,
                                                         const DecodeTable* tables, size_t row,
                                                         size_t channel, uint8_t* to) {
    const Avx2Row symbol = decoder_.DecodeRow(tables, TableOffsetsAvx2(head.table + channel));
    const Row base = LoadWideBytes(head.base + channel);
    Row exponent, escape;
    for (uint32_t h = 0; h < 2; ++h) {
      const __m256i narrow = _mm256_permute4x64_epi64(
          _mm256_packus_epi32(symbol.part[2 * h], symbol.part[2 * h + 1]), 0b11011000);
      exponent.half[h] = _mm256_sub_epi16(base.half[h], narrow);
      escape.half[h] = _mm256_cmpeq_epi16(narrow, Constant(kEscape));
    }
    const uint32_t escaped = MaskOf(escape);
    if (escaped != 0) [[unlikely]]
      TakeEscapes(escaped, exponent);
    if (to == nullptr) return;
    Row element;
    const Row raw = LoadRaw<Layout>(head, row);
    for (uint32_t h = 0; h < 2; ++h) {
      element.half[h] = Join<Layout>(
          _mm256_and_si256(exponent.half[h], Constant(Layout::kExponentMask)), raw.half[h]);
    }
    if constexpr (Layout::kWide) {
      StoreWords(to + channel * 2, element);
    } else {
      StoreNarrow(to + channel, element);
    }
  }

  LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE bool Finish(const LosslessWindow& window) const {
    if (overrun_) return false;
    if (window.token_end < window.filled_tokens) return decoder_.IsSound();
    return decoder_.Finish() && escapes_ == escapes_end_;
  }

 private:
  LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE void TakeEscapes(uint32_t escaped, Row& exponent) {
    const size_t count = static_cast<size_t>(_mm_popcnt_u32(escaped));
    if (count > static_cast<size_t>(escapes_end_ - escapes_)) {
      overrun_ = true;
      return;
    }
    uint16_t lanes[kLanes];
    StoreWords(reinterpret_cast<uint8_t*>(lanes), exponent);
    for (uint32_t left = escaped; left != 0; left &= left - 1) {
      lanes[__builtin_ctz(left)] = *escapes_++;
    }
    exponent = LoadWords(reinterpret_cast<const uint8_t*>(lanes));
  }

  Avx2Decoder decoder_;
  const uint8_t* escapes_ = nullptr;
  const uint8_t* escapes_end_ = nullptr;
  bool overrun_ = false;
};

template <CodecElement kElement>
LARDER_TARGET_AVX2 bool Decode(const LosslessTask& task, const DecodeTable* tables) {
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

// Two heads in one loop would not fit into sixteen registers.
template <CodecElement kElement>
LARDER_TARGET_AVX2 bool DecodePair(const LosslessTask& first, const LosslessTask& second,
                                   const DecodeTable* tables) {
  return Decode<kElement>(first, tables) && Decode<kElement>(second, tables);
}

template <CodecElement kElement>
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE Row LoadRow(const LosslessSplit& split, uint32_t token,
                                                    uint32_t group) {
  if constexpr (FloatLayout<kElement>::kWide) {
    return LoadWords(split.from.At(token) + group * kLanes * 2);
  } else {
    return LoadWideBytes(split.from.At(token) + group * kLanes);
  }
}

template <class Layout>
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE __m256i ExponentOf(__m256i element) {
  return _mm256_and_si256(_mm256_srli_epi16(element, Layout::kMantissaBits),
                          Constant(Layout::kExponentMask));
}

template <CodecElement kElement>
LARDER_TARGET_AVX2 Row FindBases(const LosslessSplit& split, uint32_t group) {
  using Layout = FloatLayout<kElement>;
  Row base = {{_mm256_setzero_si256(), _mm256_setzero_si256()}};
  for (uint32_t token = 0; token < split.filled_tokens; ++token) {
    const Row element = LoadRow<kElement>(split, token, group);
    for (uint32_t h = 0; h < 2; ++h) {
      __m256i exponent = ExponentOf<Layout>(element.half[h]);
      if constexpr (Layout::kTopIsSpecial) {
        exponent = _mm256_andnot_si256(
            _mm256_cmpeq_epi16(exponent, Constant(Layout::kExponentMask)), exponent);
      }
      base.half[h] = _mm256_max_epu16(base.half[h], exponent);
    }
  }
  return base;
}

template <CodecElement kElement>
LARDER_TARGET_AVX2 void SplitRow(const LosslessSplit& split, uint32_t token, uint32_t group,
                                 const Row& base) {
  using Layout = FloatLayout<kElement>;
  const size_t row = size_t{token} * split.groups + group;
  const Row element = LoadRow<kElement>(split, token, group);
  Row symbol, raw;
  for (uint32_t h = 0; h < 2; ++h) {
    const __m256i bits = element.half[h];
    const __m256i below = _mm256_sub_epi16(base.half[h], ExponentOf<Layout>(bits));
    symbol.half[h] = _mm256_min_epu16(below, Constant(kEscape));
    raw.half[h] = _mm256_or_si256(
        _mm256_and_si256(bits, Constant(Layout::kMantissaMask)),
        _mm256_slli_epi16(_mm256_srli_epi16(bits, Layout::kBits - 1), Layout::kMantissaBits));
  }
  StoreNarrow(split.symbols + row * kLanes, symbol);
  if constexpr (Layout::kHasLow) StoreNarrow(split.low + row * kLanes, raw);
  for (int plane = 0; plane < Layout::kPlanes; ++plane) {
    const __m256i bit = Constant(1u << (Layout::kLowBits + plane));
    const Row set = {{_mm256_cmpeq_epi16(_mm256_and_si256(raw.half[0], bit), bit),
                      _mm256_cmpeq_epi16(_mm256_and_si256(raw.half[1], bit), bit)}};
    StoreU32(split.planes + (row * Layout::kPlanes + plane) * sizeof(uint32_t), MaskOf(set));
  }
}

// How often eight symbols from `first` on stand in each lane of some rows.
struct ByteCounts {
  __m256i count[8];
};

// REQUIRES: at most 255 rows.
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE ByteCounts CountRows(const uint8_t* symbols, size_t stride,
                                                             uint32_t rows, uint32_t first) {
  ByteCounts counts = {};
  for (uint32_t row = 0; row < rows; ++row, symbols += stride) {
    const __m256i symbol = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(symbols));
    for (uint32_t i = 0; i < 8; ++i) {
      // A comparison that holds is -1.
      const __m256i is = _mm256_cmpeq_epi8(symbol, _mm256_set1_epi8(static_cast<char>(first + i)));
      counts.count[i] = _mm256_sub_epi8(counts.count[i], is);
    }
  }
  return counts;
}

// The best table of eight channels.
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE __m256i ChooseTables(const LosslessCounts& counts,
                                                             uint32_t lane,
                                                             const LosslessTables& tables) {
  __m256i best = _mm256_setzero_si256();
  __m256i least = _mm256_set1_epi32(0x7fffffff);  // above every sum: 512 tokens of 576 each
  for (uint32_t table = 0; table < kLosslessTables; ++table) {
    __m256i bits = _mm256_setzero_si256();
    for (uint32_t symbol = 0; symbol < kLosslessSymbols; ++symbol) {
      const __m256i cost = _mm256_set1_epi32(static_cast<int>(tables.cost[symbol][table]));
      const __m256i count =
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(&counts.count[symbol][lane]));
      bits = _mm256_add_epi32(bits, _mm256_mullo_epi32(count, cost));
    }
    const __m256i less = _mm256_cmpgt_epi32(least, bits);
    least = _mm256_blendv_epi8(least, bits, less);
    best = _mm256_blendv_epi8(best, _mm256_set1_epi32(static_cast<int>(table)), less);
  }
  return best;
}

template <CodecElement kElement>
LARDER_TARGET_AVX2 bool Split(const LosslessSplit& split, const LosslessTables& tables) {
  uint32_t escapes = 0;
  for (uint32_t group = 0; group < split.groups; ++group) {
    const Row base = FindBases<kElement>(split, group);
    for (uint32_t token = 0; token < split.filled_tokens; ++token) {
      SplitRow<kElement>(split, token, group, base);
    }
    LosslessCounts counts;
    CountLosslessSymbolsAvx2(split, group, counts);
    StoreNarrow(split.base + group * kLanes, base);
    StoreBytesAvx2({{ChooseTables(counts, 0, tables), ChooseTables(counts, 8, tables),
                     ChooseTables(counts, 16, tables), ChooseTables(counts, 24, tables)}},
                   split.table + group * kLanes);
    for (const uint32_t count : counts.count[kEscape]) escapes += count;
  }
  return escapes != 0;
}

template <CodecElement kElement>
constexpr LosslessPath kPath = {Split<kElement>, Decode<kElement>, DecodePair<kElement>};

}  // namespace

LARDER_TARGET_AVX2 void CountLosslessSymbolsAvx2(const LosslessSplit& split, uint32_t group,
                                                 LosslessCounts& counts) {
  constexpr uint32_t kRowsMax = 255;  // what a byte counts
  const size_t stride = size_t{split.groups} * kLanes;
  counts = {};
  for (uint32_t token = 0; token < split.filled_tokens; token += kRowsMax) {
    const uint32_t rows = std::min(kRowsMax, split.filled_tokens - token);
    const uint8_t* symbols = split.symbols + token * stride + group * kLanes;
    for (uint32_t first = 0; first < kLosslessSymbols; first += 8) {
      const ByteCounts some = CountRows(symbols, stride, rows, first);
      for (uint32_t i = 0; i < 8; ++i) {
        uint8_t bytes[kLanes];
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(bytes), some.count[i]);
        for (uint32_t lane = 0; lane < kLanes; ++lane) {
          counts.count[first + i][lane] += bytes[lane];
        }
      }
    }
  }
}

LosslessPath LosslessPathAvx2(CodecElement element) {
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
