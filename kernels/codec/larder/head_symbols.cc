#include "kernels/codec/larder/head_symbols.h"

#include <algorithm>

namespace larder {

void LoadUnrotated(const RowKernels& kernels, const HeadShape& shape, const uint8_t* elements,
                   uint32_t token, FloatRow* row) {
  kernels.load(shape.element, elements + token * shape.RowBytes(), shape.head_dim, row);
  if (shape.rotation.Any()) {
    kernels.rotate(shape.rotation, token, /*back=*/true, row);
  }
}

void QuantiseHead(const RowKernels& kernels, const HeadShape& shape, const uint8_t* elements,
                  const HeadParameters& parameters, const HeadSymbols& symbols,
                  std::span<uint32_t> outside) {
  const size_t dim = shape.head_dim;
  const size_t groups = dim / kLanes;
  // Tokens that are not coded get the most probable symbols, and nothing to patch.
  std::fill_n(symbols.base.begin(), shape.exact_tokens * dim, uint8_t{kBaseSymbolMax});
  std::fill_n(symbols.rests.begin(), shape.exact_tokens * dim, kRestMiddle);
  std::fill(symbols.rests.begin() + shape.tokens * dim, symbols.rests.end(), kRestMiddle);
  std::fill_n(outside.begin(), shape.exact_tokens * groups, 0u);
  FloatRow row;
  for (uint32_t token = shape.exact_tokens; token < shape.tokens; ++token) {
    LoadUnrotated(kernels, shape, elements, token, &row);
    kernels.quantise(row, parameters, shape.head_dim, &symbols.base[token * dim],
                     &symbols.rests[token * dim], &outside[token * groups]);
  }
}

void ReconstructHead(const RowKernels& kernels, const HeadShape& shape, const uint8_t* base,
                     const DigitStreams& digits, uint32_t digit_levels,
                     const HeadParameters& parameters, uint32_t token_begin, uint32_t token_end,
                     uint8_t* elements) {
  FloatRow row;
  for (uint32_t token = token_begin; token < token_end; ++token) {
    kernels.reconstruct(base + size_t{token} * shape.head_dim, digits, digit_levels, token,
                        parameters, shape.head_dim, &row);
    if (shape.rotation.Any()) {
      kernels.rotate(shape.rotation, token, /*back=*/false, &row);
    }
    kernels.store(shape.element, row, shape.head_dim, elements);
    elements += shape.RowBytes();
  }
}

}  // namespace larder
