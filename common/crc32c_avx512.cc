// The method is that of Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ
// Instruction" (Intel, 2009), on vectors of four 128-bit lanes: what was read so far is kept as a
// short polynomial congruent to it, moved ahead by multiplying with powers of x modulo the CRC's
// polynomial, until only as many bytes are left as the crc32 instruction sums in no time.
#include "common/crc32c_avx512.h"

#if defined(__x86_64__)

#include <immintrin.h>

#include <algorithm>
#include <cstring>

#define LARDER_AVX512_FOLDING \
  __attribute__((target("avx512f,avx512bw,avx512vl,vpclmulqdq,pclmul,sse4.2,prfchw")))
#define LARDER_AVX512_FOLDING_INLINE LARDER_AVX512_FOLDING __attribute__((always_inline)) inline

namespace larder {
namespace {

constexpr size_t kLineBytes = 64;
constexpr size_t kAccumulators = 8;
constexpr size_t kStrideBytes = kAccumulators * kLineBytes;

// The hardware's prefetcher stops at every 4 KiB page; asking this far ahead bridges the gap.
constexpr size_t kPrefetchBytes = 1024;

// Non-temporal stores spare the read of a cold destination, which is a third of the traffic, but
// evict a cached one, which hurts a reader that follows at once. A copy of this size would hardly
// have stayed in a second-level cache, so that little is lost then.
constexpr uint64_t kNonTemporalBytesMin = uint64_t{1} << 20;

enum class Store { kNone, kCached, kNonTemporal };

// x^exponent modulo the polynomial, as the multiplier of a bit-reflected 64-bit operand.
constexpr uint64_t PowerOfX(unsigned exponent) {
  constexpr uint32_t kPolynomial = 0x82f63b78u;  // Castagnoli, reflected.
  uint32_t power = 0x80000000u;                  // x^0
  for (unsigned i = 0; i < exponent; ++i) power = (power >> 1) ^ (power & 1 ? kPolynomial : 0);
  return uint64_t{power} << 1;  // A product of reflected operands is one bit short.
}

// The multipliers that move a lane ahead by `kBytes`: its low quadword holds the higher powers.
template <size_t kBytes>
LARDER_AVX512_FOLDING_INLINE __m512i Multipliers() {
  constexpr uint64_t kLow = PowerOfX(8 * kBytes + 32);
  constexpr uint64_t kHigh = PowerOfX(8 * kBytes - 32);
  return _mm512_set_epi64(kHigh, kLow, kHigh, kLow, kHigh, kLow, kHigh, kLow);
}

// `accumulator` moved ahead, plus `line`.
LARDER_AVX512_FOLDING_INLINE __m512i Fold(__m512i accumulator, __m512i multipliers, __m512i line) {
  constexpr int kXorOfThree = 0x96;
  return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(accumulator, multipliers, 0x00),
                                   _mm512_clmulepi64_epi128(accumulator, multipliers, 0x11), line,
                                   kXorOfThree);
}

template <Store kStore>
LARDER_AVX512_FOLDING_INLINE __m512i Move(uint8_t* destination, const uint8_t* source, size_t at) {
  __m512i line = _mm512_loadu_si512(source + at);
  asm("" : "+v"(line));  // Keeps the compiler from loading a second time what it sums.
  if constexpr (kStore == Store::kCached) _mm512_storeu_si512(destination + at, line);
  if constexpr (kStore == Store::kNonTemporal) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(destination + at), line);
  }
  return line;
}

// Sums the first `size` bytes of a line.
LARDER_AVX512_FOLDING_INLINE uint32_t SumLine(__m512i line, size_t size, uint32_t state) {
  alignas(kLineBytes) uint8_t bytes[kLineBytes];
  _mm512_store_si512(bytes, line);
  size_t at = 0;
  for (; at + 8 <= size; at += 8) {
    uint64_t word;
    std::memcpy(&word, bytes + at, sizeof word);
    state = static_cast<uint32_t>(_mm_crc32_u64(state, word));
  }
  for (; at < size; ++at) state = _mm_crc32_u8(state, bytes[at]);
  return state;
}

// Less than a line, by masked access.
template <Store kStore>
LARDER_AVX512_FOLDING_INLINE uint32_t MovePartOfLine(uint8_t* destination, const uint8_t* source,
                                                     size_t at, size_t size, uint32_t state) {
  if (size == 0) return state;
  const __mmask64 mask = (uint64_t{1} << size) - 1;
  __m512i line = _mm512_maskz_loadu_epi8(mask, source + at);
  asm("" : "+v"(line));  // As above.
  if constexpr (kStore != Store::kNone) _mm512_mask_storeu_epi8(destination + at, mask, line);
  return SumLine(line, size, state);
}

// Moves whole strides from `at` on and returns what they come to, as one line; advances `at`.
// REQUIRES: at least one stride is left.
template <Store kStore>
LARDER_AVX512_FOLDING_INLINE __m512i MoveStrides(uint8_t* destination, const uint8_t* source,
                                                 size_t size, size_t& at, __m512i before) {
  const __m512i by_stride = Multipliers<kStrideBytes>();
  __m512i sums[kAccumulators];
#pragma GCC unroll 8
  for (size_t i = 0; i < kAccumulators; ++i) {
    sums[i] = Move<kStore>(destination, source, at + i * kLineBytes);
  }
  sums[0] = _mm512_xor_si512(sums[0], before);
  for (at += kStrideBytes; size - at >= kStrideBytes; at += kStrideBytes) {
    // The next bytes of the source are likely to be wanted whoever copies them; the lines beyond
    // the destination's end may be another writer's.
    const bool claim = kStore == Store::kCached && size - at >= kStrideBytes + kPrefetchBytes;
#pragma GCC unroll 8
    for (size_t i = 0; i < kAccumulators; ++i) {
      const size_t line_at = at + i * kLineBytes;
      _mm_prefetch(reinterpret_cast<const char*>(source + line_at + kPrefetchBytes), _MM_HINT_T0);
      if (claim) __builtin_prefetch(destination + line_at + kPrefetchBytes, 1, 3);
      sums[i] = Fold(sums[i], by_stride, Move<kStore>(destination, source, line_at));
    }
  }
  const __m512i by_four = Multipliers<4 * kLineBytes>();
  const __m512i by_two = Multipliers<2 * kLineBytes>();
#pragma GCC unroll 4
  for (size_t i = 0; i < 4; ++i) sums[i] = Fold(sums[i], by_four, sums[i + 4]);
#pragma GCC unroll 2
  for (size_t i = 0; i < 2; ++i) sums[i] = Fold(sums[i], by_two, sums[i + 2]);
  return Fold(sums[0], Multipliers<kLineBytes>(), sums[1]);
}

template <Store kStore>
LARDER_AVX512_FOLDING uint32_t MoveAll(uint8_t* destination, const uint8_t* source, size_t size,
                                       uint32_t state) {
  size_t at = 0;
  if constexpr (kStore == Store::kNonTemporal) {
    const size_t past_line = reinterpret_cast<uintptr_t>(destination) % kLineBytes;
    at = std::min(size, (kLineBytes - past_line) % kLineBytes);
    state = MovePartOfLine<Store::kCached>(destination, source, 0, at, state);
  }
  if (size - at >= kLineBytes) {
    // The register so far counts as if it were added to the first four bytes.
    const __m512i before = _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(state)));
    __m512i sum;
    if (size - at >= kStrideBytes) {
      sum = MoveStrides<kStore>(destination, source, size, at, before);
    } else {
      sum = _mm512_xor_si512(Move<kStore>(destination, source, at), before);
      at += kLineBytes;
    }
    const __m512i by_line = Multipliers<kLineBytes>();
    for (; size - at >= kLineBytes; at += kLineBytes) {
      sum = Fold(sum, by_line, Move<kStore>(destination, source, at));
    }
    state = SumLine(sum, kLineBytes, 0);
  }
  constexpr Store kPartStore = kStore == Store::kNone ? Store::kNone : Store::kCached;
  state = MovePartOfLine<kPartStore>(destination, source, at, size - at, state);
  // Non-temporal stores are not ordered by the release store with which a caller publishes them.
  if constexpr (kStore == Store::kNonTemporal) _mm_sfence();
  return state;
}

}  // namespace

bool HasAvx512Folding() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("vpclmulqdq") &&
         __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.2");
}

uint32_t AdvanceCrcAvx512(std::span<const uint8_t> bytes, uint32_t state) {
  return MoveAll<Store::kNone>(nullptr, bytes.data(), bytes.size(), state);
}

uint32_t CopyAndAdvanceCrcAvx512(uint8_t* destination, std::span<const uint8_t> source,
                                 uint32_t state, uint64_t whole_bytes) {
  if (std::max<uint64_t>(source.size(), whole_bytes) >= kNonTemporalBytesMin) {
    return MoveAll<Store::kNonTemporal>(destination, source.data(), source.size(), state);
  }
  return MoveAll<Store::kCached>(destination, source.data(), source.size(), state);
}

}  // namespace larder

#endif  // defined(__x86_64__)
