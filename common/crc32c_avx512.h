// CRC32C by carry-less multiplication of 512-bit vectors; an implementation detail of crc32c.cc.
// Everything here works on the raw CRC register, without the inversions before and after, and is
// thread-safe. Exists on x86-64 only.
#pragma once

#if defined(__x86_64__)

#include <cstddef>
#include <cstdint>
#include <span>

namespace larder {

// Whether this processor and its kernel can run the two functions below.
bool HasAvx512Folding();

uint32_t AdvanceCrcAvx512(std::span<const uint8_t> bytes, uint32_t state);

// Each byte is loaded once, summed and stored. No later store of this thread overtakes the copy.
// `whole_bytes`: of the copy of which this one is a part.
uint32_t CopyAndAdvanceCrcAvx512(uint8_t* destination, std::span<const uint8_t> source,
                                 uint32_t state, uint64_t whole_bytes);

}  // namespace larder

#endif  // defined(__x86_64__)
