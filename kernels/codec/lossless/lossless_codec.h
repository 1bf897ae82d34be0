// Codec 2, lossless: every bit pattern comes back. The format is lossless/lossless_format.h.
#pragma once

#include <memory>

#include "kernels/codec/codec.h"
#include "kernels/codec/cpu_path.h"

namespace larder {

// REQUIRES: CpuHasPath(path). A plane grows by at most 20 bytes a head.
std::unique_ptr<Codec> MakeLosslessCodec(CpuPath path);

}  // namespace larder
