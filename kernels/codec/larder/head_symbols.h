// A head's values as symbols: between the quantiser and the entropy coder.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/codec/geometry.h"
#include "kernels/codec/larder/head_layout.h"
#include "kernels/codec/larder/row_kernels.h"

namespace larder {

// Rows of head_dim, a row a token. Does not own them.
struct HeadSymbols {
  std::span<uint8_t> base;
  std::span<uint8_t> rests;  // fine steps within the base step; whole blocks of digits
};

// Which part of a plane's head is coded, and how.
struct HeadShape {
  CodecElement element = CodecElement::kBfloat16;
  uint32_t head_dim = 0;
  uint32_t tokens = 0;        // filled
  uint32_t exact_tokens = 0;  // the first of them, which are not quantised
  uint32_t split_tokens = 0;  // between split points; 0: there are none
  RotationView rotation;      // or none

  size_t BlocksOfDigits() const { return DigitBlocks(size_t{tokens} * (head_dim / kLanes)); }
  HeadSizes Sizes() const {
    return {head_dim, static_cast<uint32_t>(CodecElementBytes(element)), tokens, exact_tokens,
            split_tokens};
  }
  size_t RowBytes() const { return head_dim * CodecElementBytes(element); }
};

// The row of one token, with its rotation undone.
void LoadUnrotated(const RowKernels& kernels, const HeadShape& shape, const uint8_t* elements,
                   uint32_t token, FloatRow* row);

// All symbols of a head; `outside` gets a bit for each channel of each token that must be patched.
void QuantiseHead(const RowKernels& kernels, const HeadShape& shape, const uint8_t* elements,
                  const HeadParameters& parameters, const HeadSymbols& symbols,
                  std::span<uint32_t> outside);

// The elements of the tokens [token_begin, token_end), all filled, from base symbols and the first
// `digit_levels` of the digits.
void ReconstructHead(const RowKernels& kernels, const HeadShape& shape, const uint8_t* base,
                     const DigitStreams& digits, uint32_t digit_levels,
                     const HeadParameters& parameters, uint32_t token_begin, uint32_t token_end,
                     uint8_t* elements);

}  // namespace larder
