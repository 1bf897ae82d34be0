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

// REQUIRES: CpuHasPath(path). The codec shares `profile`.
std::unique_ptr<Codec> MakeLarderCodec(std::shared_ptr<const LarderProfile> profile, CpuPath path);

}  // namespace larder
