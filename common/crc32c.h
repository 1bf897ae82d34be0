// CRC32C (Castagnoli, reflected, as in iSCSI and RFC 3720): the checksum of every format here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace larder {

// The CRC of `bytes` appended to data whose CRC is `crc` (0 for none). Thread-safe.
uint32_t Crc32c(std::span<const uint8_t> bytes, uint32_t crc = 0);

// Copies `source` to `destination` (no overlap) and returns the CRC of the source appended to
// `crc`. The bytes that were summed are the very bytes that were stored: each is loaded once, so a
// writer racing with the copy cannot make the two differ. Uses non-temporal stores for large
// copies; `whole_bytes` is the size of the copy of which this one is a part.
uint32_t CopyAndCrc32c(uint8_t* destination, std::span<const uint8_t> source, uint32_t crc = 0,
                       uint64_t whole_bytes = 0);

}  // namespace larder
