// Hashes that name things. Not cryptographic except Sha256: the full key is compared on read.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "common/ids.h"

namespace larder {

// XXH3-128 of `bytes` with `seed`.
struct Hash128 {
  uint64_t low = 0;
  uint64_t high = 0;
};
Hash128 HashBytes(std::span<const uint8_t> bytes, uint64_t seed = 0);

// The 128-bit hash of an engine's key of 1 to 64 bytes. Never the zero value, which means "none".
KeyHash HashKey(std::span<const uint8_t> key);

using Sha256Digest = std::array<uint8_t, 32>;
Sha256Digest Sha256(std::span<const uint8_t> bytes);

// Keys for callers that hold tokens: key[i] = sha256(key[i-1] || tokens of chunk i as u32 LE), with
// key[-1] empty. Returns one key for each full chunk; a partial last chunk gets none.
// REQUIRES: tokens_per_chunk > 0.
std::vector<Sha256Digest> HashTokenChunks(std::span<const uint32_t> tokens,
                                          size_t tokens_per_chunk);

}  // namespace larder
