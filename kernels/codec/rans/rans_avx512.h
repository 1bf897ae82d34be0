// LaneDecoder (rans/rans_lanes.h) in AVX-512: lanes 0 to 15 in one register, 16 to 31 in another.
// A step that fused decoders put into their own loops; their functions have LARDER_TARGET_AVX512.
// Not thread-safe; does not own the stream.
#pragma once

#if defined(__x86_64__)

#include <cstddef>
#include <cstdint>

#include "kernels/codec/rans/rans_format.h"
#include "kernels/codec/rans/symbol_table.h"
#include "kernels/codec/rans/word_cursor.h"
#include "kernels/codec/vector_target.h"

namespace larder {

// One 32-bit value a lane.
struct Avx512Row {
  __m512i low;   // lanes 0 to 15
  __m512i high;  // lanes 16 to 31
};

// 32 bytes, one a lane.
LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE Avx512Row LoadBytesAvx512(const uint8_t* source) {
  return {_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(source))),
          _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(source + 16)))};
}
LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE void StoreBytesAvx512(const Avx512Row& row,
                                                                uint8_t* destination) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(destination), _mm512_cvtepi32_epi8(row.low));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(destination + 16), _mm512_cvtepi32_epi8(row.high));
}

// Where the tables of the lanes begin, for DecodeRow.
LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE Avx512Row TableOffsetsAvx512(const uint8_t* table) {
  const Avx512Row row = LoadBytesAvx512(table);
  return {_mm512_slli_epi32(row.low, kProbabilityBits),
          _mm512_slli_epi32(row.high, kProbabilityBits)};
}

class Avx512Decoder {
 public:
  // `tail` is memory for the decoder's life. False when the bytes are too few to be a stream.
  LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE bool Begin(const uint8_t* stream, size_t bytes,
                                                       StreamTail& tail) {
    if (bytes < kStateBytes || bytes % kWordBytes != 0) return false;
    BeginAt(stream, stream + kStateBytes, bytes - kStateBytes, tail);
    return true;
  }

  LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE void BeginAt(const uint8_t* states,
                                                         const uint8_t* words, size_t bytes,
                                                         StreamTail& tail) {
    state_ = LoadStates(states);
    cursor_.Begin(words, bytes, tail);
  }

  // The next symbol of each lane. `offset` is the lane's table x kProbabilityScale.
  LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE Avx512Row DecodeRow(const DecodeTable* tables,
                                                                const Avx512Row& offset) {
    const __m512i low_entry = TakeSymbols(tables, offset.low, state_.low);
    const __m512i high_entry = TakeSymbols(tables, offset.high, state_.high);
    const uint8_t* words = cursor_.BeginRow();
    const size_t low_bytes = TakeWords(words, state_.low);
    cursor_.EndRow(low_bytes + TakeWords(words + low_bytes, state_.high));
    return {SymbolsOf(low_entry), SymbolsOf(high_entry)};
  }

  // Whether every row so far was there.
  bool IsSound() const { return cursor_.IsSound(); }

  // Whether every row was there and the words end here with these states; nullptr: the stream ends,
  // as an encoder began it.
  LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE bool Finish(const uint8_t* states = nullptr) const {
    Avx512Row end = {_mm512_set1_epi32(kStateLow), _mm512_set1_epi32(kStateLow)};
    if (states != nullptr) end = LoadStates(states);
    return cursor_.IsAtEnd() && (_mm512_cmpneq_epu32_mask(state_.low, end.low) |
                                 _mm512_cmpneq_epu32_mask(state_.high, end.high)) == 0;
  }

 private:
  LARDER_TARGET_AVX512 static LARDER_ALWAYS_INLINE Avx512Row LoadStates(const uint8_t* states) {
    return {_mm512_loadu_si512(states), _mm512_loadu_si512(states + kStateBytes / 2)};
  }

  LARDER_TARGET_AVX512 static LARDER_ALWAYS_INLINE __m512i TakeSymbols(const DecodeTable* tables,
                                                                       __m512i offset,
                                                                       __m512i& state) {
    const __m512i slot = _mm512_and_si512(state, _mm512_set1_epi32(kProbabilityScale - 1));
    const __m512i entry = _mm512_i32gather_epi32(_mm512_or_si512(offset, slot), tables, 4);
    const __m512i frequency = _mm512_and_si512(entry, _mm512_set1_epi32(2047));
    state =
        _mm512_add_epi32(_mm512_mullo_epi32(frequency, _mm512_srli_epi32(state, kProbabilityBits)),
                         _mm512_srli_epi32(entry, 22));
    return entry;
  }

  // Returns the bytes taken.
  LARDER_TARGET_AVX512 static LARDER_ALWAYS_INLINE size_t TakeWords(const uint8_t* words,
                                                                    __m512i& state) {
    const __mmask16 low = _mm512_cmplt_epu32_mask(state, _mm512_set1_epi32(kStateLow));
    const __m512i next =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words)));
    state = _mm512_mask_or_epi32(state, low, _mm512_slli_epi32(state, 16),
                                 _mm512_maskz_expand_epi32(low, next));
    return static_cast<size_t>(_mm_popcnt_u32(low)) * kWordBytes;
  }

  LARDER_TARGET_AVX512 static LARDER_ALWAYS_INLINE __m512i SymbolsOf(__m512i entry) {
    return _mm512_and_si512(_mm512_srli_epi32(entry, 11), _mm512_set1_epi32(kSymbolsMax - 1));
  }

  Avx512Row state_;
  WordCursor cursor_;
};

// LaneEncoder likewise: rows from the last to the first.
class Avx512Encoder {
 public:
  // The stream will end at `end`. REQUIRES: StreamBytesMax(rows) bytes before it.
  LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE void Begin(uint8_t* end) {
    state_.low = _mm512_set1_epi32(kStateLow);
    state_.high = state_.low;
    next_ = end;
  }

  // `table` and `symbol` of each lane. REQUIRES: the symbol has a frequency in the table.
  LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE void EncodeRow(const EncodeTable* tables,
                                                           const Avx512Row& table,
                                                           const Avx512Row& symbol) {
    PutSymbols(tables, table.high, symbol.high, state_.high);
    PutSymbols(tables, table.low, symbol.low, state_.low);
  }

  const uint8_t* words() const { return next_; }
  LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE void StoreStates(uint8_t* states) const {
    _mm512_storeu_si512(states, state_.low);
    _mm512_storeu_si512(states + kStateBytes / 2, state_.high);
  }

  // Writes the states; returns where the stream begins.
  LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE uint8_t* Finish() {
    next_ -= kStateBytes;
    StoreStates(next_);
    return next_;
  }

 private:
  LARDER_TARGET_AVX512 LARDER_ALWAYS_INLINE void PutSymbols(const EncodeTable* tables,
                                                            __m512i table, __m512i symbol,
                                                            __m512i& state) {
    static_assert(sizeof(EncodeTable) == 2 * kSymbolsMax * sizeof(uint32_t));
    const __m512i index = _mm512_or_si512(_mm512_slli_epi32(table, 6), symbol);
    const __m512i entry = _mm512_i32gather_epi32(index, tables->entry, 4);
    const __m512i reciprocal = _mm512_i32gather_epi32(index, tables->reciprocal, 4);
    const __m512i frequency = _mm512_and_si512(entry, _mm512_set1_epi32(2047));

    const __mmask16 full =
        _mm512_cmpge_epu32_mask(_mm512_srli_epi32(state, 32 - kProbabilityBits), frequency);
    const uint32_t words = static_cast<uint32_t>(_mm_popcnt_u32(full));
    next_ -= words * kWordBytes;
    _mm256_mask_storeu_epi16(next_, static_cast<__mmask16>(_bzhi_u32(0xffffu, words)),
                             _mm512_cvtepi32_epi16(_mm512_maskz_compress_epi32(full, state)));
    state = _mm512_mask_srli_epi32(state, full, state, 16);

    const __m512i bias = _mm512_and_si512(_mm512_srli_epi32(entry, 16), _mm512_set1_epi32(1));
    const __m512i shift = _mm512_and_si512(_mm512_srli_epi32(entry, 11), _mm512_set1_epi32(31));
    const __m512i quotient =
        _mm512_srlv_epi32(MultiplyHigh(_mm512_add_epi32(state, bias), reciprocal), shift);
    const __m512i rest = _mm512_sub_epi32(_mm512_set1_epi32(kProbabilityScale), frequency);
    state = _mm512_add_epi32(_mm512_add_epi32(state, _mm512_srli_epi32(entry, 22)),
                             _mm512_mullo_epi32(quotient, rest));
  }

  // The high half of each product.
  LARDER_TARGET_AVX512 static LARDER_ALWAYS_INLINE __m512i MultiplyHigh(__m512i a, __m512i b) {
    const __m512i even = _mm512_mul_epu32(a, b);
    const __m512i odd = _mm512_mul_epu32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32));
    return _mm512_mask_blend_epi32(0xaaaa, _mm512_srli_epi64(even, 32), odd);
  }

  Avx512Row state_;
  uint8_t* next_ = nullptr;
};

}  // namespace larder

#endif
