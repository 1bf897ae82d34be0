// Where the tokens of one head are in memory: one after the other, or in an engine's paged blocks.
// For CPU and GPU; owns nothing.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/codec/host_device.h"

namespace larder {

// Byte is uint8_t, or const uint8_t for a source. The channels of a token are contiguous.
template <typename Byte>
struct TokenPlaces {
  Byte* base = nullptr;     // token 0, or the first byte of block 0's part for this head
  size_t token_stride = 0;  // bytes from a token to the next one (of the block)
  // nullptr: all tokens are in one block. Else token t is in block block_table[t / block_tokens].
  const uint32_t* block_table = nullptr;
  uint32_t block_tokens = 1;
  size_t block_stride = 0;  // bytes from a block to the next one

  LARDER_HD Byte* At(uint32_t token) const {
    if (block_table == nullptr) return base + token * token_stride;
    return base + block_table[token / block_tokens] * block_stride +
           token % block_tokens * token_stride;
  }
};

using TokenSources = TokenPlaces<const uint8_t>;
using TokenDestinations = TokenPlaces<uint8_t>;

}  // namespace larder
