// Codec 3, larder: layered and lossy. Keys are turned back to where their rotary embedding found
// them, each channel is quantised in steps, and the entropy of the indices is stored: a base level
// and three that refine it by a factor of three each. Any prefix of the levels decodes.
// docs/formats/codec_larder.md describes the bytes.
#pragma once

#include <memory>

#include "kernels/codec/codec.h"
#include "kernels/codec/cpu_path.h"
#include "kernels/codec/larder/profile.h"

namespace larder {

// The codec shares `profile`. With `split_tokens` it encodes a split point after every so many
// tokens, from which the next ones decode without those before; decoders need not be told. It
// refuses to encode unless IsSplitTokens(split_tokens). REQUIRES: CpuHasPath(path).
std::unique_ptr<Codec> MakeLarderCodec(std::shared_ptr<const LarderProfile> profile, CpuPath path,
                                       uint32_t split_tokens = 0);

}  // namespace larder
