// The entropy coder's constants and the arithmetic of one lane, for CPU and GPU.
//
// Range asymmetric numeral systems (Duda, 2013) with 32 interleaved lanes: each lane has a state of
// 32 bits, and a state that falls below 2^16 takes the next 16-bit word of the stream. The words of
// a row are in the order of the lanes. An encoder runs backward from the last row to the first:
//
//   stream = state[32] word*      ; u32 each, then the 16-bit words by row, all little-endian
//
// Every state is 2^16 where the encoder begins, so a decoder that ends elsewhere, or with words
// left, has read a damaged stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/codec/host_device.h"
#include "kernels/codec/lanes.h"

namespace larder {

inline constexpr uint32_t kProbabilityBits = 10;
inline constexpr uint32_t kProbabilityScale = 1u << kProbabilityBits;
inline constexpr uint32_t kSymbolsMax = 32;
inline constexpr uint32_t kStateLow = 1u << 16;
inline constexpr size_t kWordBytes = 2;
inline constexpr size_t kStateBytes = kLanes * sizeof(uint32_t);

// A row takes at most one word a lane.
inline constexpr size_t kRowBytesMax = kLanes * kWordBytes;
LARDER_HD constexpr size_t StreamBytesMax(size_t rows) { return kStateBytes + rows * kRowBytesMax; }

// A stream may begin at any byte in a CPU's memory; in a GPU's it begins at an even address.
LARDER_HD inline uint32_t LoadWord(const uint8_t* bytes) {
#ifdef __CUDA_ARCH__
  return *reinterpret_cast<const uint16_t*>(bytes);
#else
  uint16_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return word;
#endif
}
LARDER_HD inline void StoreWord(uint8_t* bytes, uint32_t word) {
#ifdef __CUDA_ARCH__
  *reinterpret_cast<uint16_t*>(bytes) = static_cast<uint16_t>(word);
#else
  const uint16_t value = static_cast<uint16_t>(word);
  std::memcpy(bytes, &value, sizeof(value));
#endif
}

// What a table says about a slot (the low bits of a state): the symbol, its frequency, and how far
// the slot is into the symbol's range.
LARDER_HD constexpr uint32_t PackDecodeEntry(uint32_t symbol, uint32_t frequency, uint32_t offset) {
  return offset << 22 | symbol << 11 | frequency;
}
LARDER_HD constexpr uint32_t DecodeEntrySymbol(uint32_t entry) { return (entry >> 11) & 31u; }

// The state after a symbol was taken out of it, before words are added.
LARDER_HD constexpr uint32_t StateAfterDecode(uint32_t state, uint32_t entry) {
  return (entry & 2047u) * (state >> kProbabilityBits) + (entry >> 22);
}

// What a table says about a symbol to an encoder. frequency <= 1024, start <= 1023; shift and bias
// belong to the reciprocal that stands beside the entry.
LARDER_HD constexpr uint32_t PackEncodeEntry(uint32_t frequency, uint32_t start, uint32_t shift,
                                             uint32_t bias) {
  return start << 22 | bias << 16 | shift << 11 | frequency;
}

// Whether the state must give up its low word before the symbol can be put into it.
LARDER_HD constexpr bool IsStateFull(uint32_t state, uint32_t entry) {
  return (state >> (32 - kProbabilityBits)) >= (entry & 2047u);
}

// REQUIRES: !IsStateFull. state / frequency is a multiplication, exact for every such state.
LARDER_HD constexpr uint32_t StateAfterEncode(uint32_t state, uint32_t entry, uint32_t reciprocal) {
  const uint32_t frequency = entry & 2047u;
  const uint64_t product = static_cast<uint64_t>(state + ((entry >> 16) & 1u)) * reciprocal;
  const uint32_t quotient = static_cast<uint32_t>(product >> 32) >> ((entry >> 11) & 31u);
  return state + quotient * (kProbabilityScale - frequency) + (entry >> 22);
}

}  // namespace larder
