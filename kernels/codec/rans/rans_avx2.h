// LaneDecoder (rans/rans_lanes.h) in AVX2: lanes 8 k to 8 k + 7 in register k of four.
// A step that fused decoders put into their own loops; their functions have LARDER_TARGET_AVX2.
// Not thread-safe; does not own the stream.
#pragma once

#if defined(__x86_64__)

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/codec/rans/rans_format.h"
#include "kernels/codec/rans/symbol_table.h"
#include "kernels/codec/rans/word_cursor.h"
#include "kernels/codec/vector_target.h"

namespace larder {

// One 32-bit value a lane.
struct Avx2Row {
  __m256i part[4];
};

// For a mask of eight lanes: which word of the next ones each lane in the mask takes, and which
// lanes give the words that end at the last of eight places.
struct Avx2LaneOrder {
  alignas(64) uint8_t expand[256][8];
  alignas(64) uint8_t compress[256][8];
};

inline constexpr Avx2LaneOrder MakeAvx2LaneOrder() {
  Avx2LaneOrder order = {};
  for (uint32_t mask = 0; mask < 256; ++mask) {
    uint8_t lanes[8] = {};
    uint8_t count = 0;
    for (uint8_t lane = 0; lane < 8; ++lane) {
      if ((mask >> lane & 1) == 0) continue;
      order.expand[mask][lane] = count;
      lanes[count++] = lane;
    }
    for (uint8_t i = 0; i < count; ++i) order.compress[mask][8 - count + i] = lanes[i];
  }
  return order;
}

inline constexpr Avx2LaneOrder kAvx2LaneOrder = MakeAvx2LaneOrder();

LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE __m256i WidenBytesAvx2(const uint8_t* source) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(source)));
}

// 32 bytes, one a lane.
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE Avx2Row LoadBytesAvx2(const uint8_t* source) {
  return {{WidenBytesAvx2(source), WidenBytesAvx2(source + 8), WidenBytesAvx2(source + 16),
           WidenBytesAvx2(source + 24)}};
}
// REQUIRES: every value is at most 255.
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE void StoreBytesAvx2(const Avx2Row& row,
                                                            uint8_t* destination) {
  const __m256i packed = _mm256_packus_epi16(_mm256_packus_epi32(row.part[0], row.part[1]),
                                             _mm256_packus_epi32(row.part[2], row.part[3]));
  // The packs work in 128-bit halves.
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(destination),
                      _mm256_permutevar8x32_epi32(packed, order));
}

// Where the tables of the lanes begin, for DecodeRow.
LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE Avx2Row TableOffsetsAvx2(const uint8_t* table) {
  Avx2Row row = LoadBytesAvx2(table);
  for (__m256i& part : row.part) part = _mm256_slli_epi32(part, kProbabilityBits);
  return row;
}

class Avx2Decoder {
 public:
  // `tail` is memory for the decoder's life. False when the bytes are too few to be a stream.
  LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE bool Begin(const uint8_t* stream, size_t bytes,
                                                     StreamTail& tail) {
    if (bytes < kStateBytes || bytes % kWordBytes != 0) return false;
    BeginAt(stream, stream + kStateBytes, bytes - kStateBytes, tail);
    return true;
  }

  LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE void BeginAt(const uint8_t* states, const uint8_t* words,
                                                       size_t bytes, StreamTail& tail) {
    for (size_t k = 0; k < 4; ++k) {
      state_.part[k] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(states) + k);
    }
    cursor_.Begin(words, bytes, tail);
  }

  // The next symbol of each lane. `offset` is the lane's table x kProbabilityScale.
  LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE Avx2Row DecodeRow(const DecodeTable* tables,
                                                            const Avx2Row& offset) {
    Avx2Row symbol;
    const uint8_t* words = cursor_.BeginRow();
    size_t bytes = 0;
    for (size_t k = 0; k < 4; ++k) {
      symbol.part[k] = TakeSymbols(tables, offset.part[k], state_.part[k]);
      bytes += TakeWords(words + bytes, state_.part[k]);
    }
    cursor_.EndRow(bytes);
    return symbol;
  }

  // Whether every row so far was there.
  bool IsSound() const { return cursor_.IsSound(); }

  // Whether every row was there and the words end here with these states; nullptr: the stream ends,
  // as an encoder began it.
  LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE bool Finish(const uint8_t* states = nullptr) const {
    __m256i end = _mm256_set1_epi32(kStateLow);
    __m256i equal = _mm256_set1_epi32(-1);
    for (size_t k = 0; k < 4; ++k) {
      if (states != nullptr) {
        end = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(states) + k);
      }
      equal = _mm256_and_si256(equal, _mm256_cmpeq_epi32(state_.part[k], end));
    }
    return cursor_.IsAtEnd() && _mm256_movemask_epi8(equal) == -1;
  }

 private:
  LARDER_TARGET_AVX2 static LARDER_ALWAYS_INLINE __m256i TakeSymbols(const DecodeTable* tables,
                                                                     __m256i offset,
                                                                     __m256i& state) {
    const __m256i slot = _mm256_and_si256(state, _mm256_set1_epi32(kProbabilityScale - 1));
    const __m256i entry = _mm256_i32gather_epi32(reinterpret_cast<const int*>(tables),
                                                 _mm256_or_si256(offset, slot), 4);
    const __m256i frequency = _mm256_and_si256(entry, _mm256_set1_epi32(2047));
    state =
        _mm256_add_epi32(_mm256_mullo_epi32(frequency, _mm256_srli_epi32(state, kProbabilityBits)),
                         _mm256_srli_epi32(entry, 22));
    return _mm256_and_si256(_mm256_srli_epi32(entry, 11), _mm256_set1_epi32(kSymbolsMax - 1));
  }

  // Returns the bytes taken.
  LARDER_TARGET_AVX2 static LARDER_ALWAYS_INLINE size_t TakeWords(const uint8_t* words,
                                                                  __m256i& state) {
    const __m256i low = _mm256_cmpeq_epi32(_mm256_srli_epi32(state, 16), _mm256_setzero_si256());
    const uint32_t mask = static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(low)));
    const __m256i next =
        _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words)));
    const __m256i word =
        _mm256_permutevar8x32_epi32(next, WidenBytesAvx2(kAvx2LaneOrder.expand[mask]));
    state = _mm256_blendv_epi8(state, _mm256_or_si256(_mm256_slli_epi32(state, 16), word), low);
    return static_cast<size_t>(_mm_popcnt_u32(mask)) * kWordBytes;
  }

  Avx2Row state_;
  WordCursor cursor_;
};

// LaneEncoder likewise: rows from the last to the first.
class Avx2Encoder {
 public:
  // The stream will end at `end`. REQUIRES: StreamBytesMax(rows) bytes before it.
  LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE void Begin(uint8_t* end) {
    for (__m256i& state : state_.part) state = _mm256_set1_epi32(kStateLow);
    next_ = end;
  }

  // `table` and `symbol` of each lane. REQUIRES: the symbol has a frequency in the table.
  LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE void EncodeRow(const EncodeTable* tables,
                                                         const Avx2Row& table,
                                                         const Avx2Row& symbol) {
    for (size_t k = 4; k-- > 0;) {
      PutSymbols(tables, table.part[k], symbol.part[k], state_.part[k]);
    }
  }

  const uint8_t* words() const { return next_; }
  LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE void StoreStates(uint8_t* states) const {
    for (size_t k = 0; k < 4; ++k) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(states) + k, state_.part[k]);
    }
  }

  // Writes the states; returns where the stream begins.
  LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE uint8_t* Finish() {
    next_ -= kStateBytes;
    StoreStates(next_);
    return next_;
  }

 private:
  LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE void PutSymbols(const EncodeTable* tables, __m256i table,
                                                          __m256i symbol, __m256i& state) {
    static_assert(sizeof(EncodeTable) == 2 * kSymbolsMax * sizeof(uint32_t));
    const __m256i index = _mm256_or_si256(_mm256_slli_epi32(table, 6), symbol);
    const __m256i entry =
        _mm256_i32gather_epi32(reinterpret_cast<const int*>(tables->entry), index, 4);
    const __m256i reciprocal =
        _mm256_i32gather_epi32(reinterpret_cast<const int*>(tables->reciprocal), index, 4);
    const __m256i frequency = _mm256_and_si256(entry, _mm256_set1_epi32(2047));

    const __m256i room =
        _mm256_cmpgt_epi32(frequency, _mm256_srli_epi32(state, 32 - kProbabilityBits));
    GiveWords(room, state);

    const __m256i bias = _mm256_and_si256(_mm256_srli_epi32(entry, 16), _mm256_set1_epi32(1));
    const __m256i shift = _mm256_and_si256(_mm256_srli_epi32(entry, 11), _mm256_set1_epi32(31));
    const __m256i quotient =
        _mm256_srlv_epi32(MultiplyHigh(_mm256_add_epi32(state, bias), reciprocal), shift);
    const __m256i rest = _mm256_sub_epi32(_mm256_set1_epi32(kProbabilityScale), frequency);
    state = _mm256_add_epi32(_mm256_add_epi32(state, _mm256_srli_epi32(entry, 22)),
                             _mm256_mullo_epi32(quotient, rest));
  }

  // The lanes that are not in `room` give up their low words. Eight words are stored, of which the
  // last ones count: what is before them has not been written yet, or will be room for the states.
  LARDER_TARGET_AVX2 LARDER_ALWAYS_INLINE void GiveWords(__m256i room, __m256i& state) {
    const uint32_t mask =
        ~static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(room))) & 255u;
    const __m256i words = _mm256_and_si256(
        _mm256_permutevar8x32_epi32(state, WidenBytesAvx2(kAvx2LaneOrder.compress[mask])),
        _mm256_set1_epi32(0xffff));
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(next_ - 8 * kWordBytes),
        _mm_packus_epi32(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1)));
    next_ -= static_cast<size_t>(_mm_popcnt_u32(mask)) * kWordBytes;
    state = _mm256_blendv_epi8(_mm256_srli_epi32(state, 16), state, room);
  }

  // The high half of each product.
  LARDER_TARGET_AVX2 static LARDER_ALWAYS_INLINE __m256i MultiplyHigh(__m256i a, __m256i b) {
    const __m256i even = _mm256_mul_epu32(a, b);
    const __m256i odd = _mm256_mul_epu32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32));
    return _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xaa);
  }

  Avx2Row state_;
  uint8_t* next_ = nullptr;
};

}  // namespace larder

#endif
