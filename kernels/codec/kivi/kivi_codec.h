// Codec 5, kivi: 2 or 4 bits a value with a scale and a minimum for each group of 32, keys in
// groups of tokens of one channel, values in groups of channels of one token (Liu et al., KIVI,
// ICML 2024). For comparison. The most recent tokens, which that paper leaves as they are, are
// quantised like the others: a stored chunk is not recent. Latents are quantised like values.
//
//   run    = u8 bits, u8 axis, u16 0, directory, stream*          ; axis 0: by channel, 1: by token
//   stream = u16 scale[group], u16 minimum[group], u8 codes[filled tokens][dim x bits / 8]
//
// Groups are in the order [32 tokens][channel], or [token][32 channels]. Scales and minima are bf16
// for planes of bf16, fp16 for all others. The first code of a byte is in its low bits. A value is
// minimum + code x scale in float. NaN is stored as zero, infinities as the largest finite value.
#pragma once

#include <memory>

#include "kernels/codec/codec.h"

namespace larder {

// Encodes with `bits`, 2 or 4; decodes both.
std::unique_ptr<Codec> MakeKiviCodec(uint32_t bits);

}  // namespace larder
