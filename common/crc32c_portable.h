// CRC32C for processors without the vector path; an implementation detail of crc32c.cc. Works on
// the raw CRC register, without the inversions before and after. Thread-safe.
#pragma once

#include <cstdint>
#include <span>

namespace larder {

uint32_t AdvanceCrcPortable(std::span<const uint8_t> bytes, uint32_t state);

// Sums what was stored in `destination`, which no other thread may write meanwhile.
uint32_t CopyAndAdvanceCrcPortable(uint8_t* destination, std::span<const uint8_t> source,
                                   uint32_t state);

}  // namespace larder
