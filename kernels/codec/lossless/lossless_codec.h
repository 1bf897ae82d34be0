// Codec 2, lossless: every bit pattern comes back. The format is lossless/lossless_format.h.
#pragma once

#include <cstddef>
#include <memory>

#include "kernels/codec/codec.h"
#include "kernels/codec/cpu_path.h"

namespace larder {

// What a run can have more than the filled elements, for each head: its header and its entry in the
// directory.
inline constexpr size_t kLosslessHeadGrowthMax = 20;

// REQUIRES: CpuHasPath(path).
std::unique_ptr<Codec> MakeLosslessCodec(CpuPath path);

}  // namespace larder
