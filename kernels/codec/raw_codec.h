// Codec 1, raw: the elements as they are, one level.
#pragma once

#include <memory>

#include "kernels/codec/codec.h"

namespace larder {

std::unique_ptr<Codec> MakeRawCodec();

}  // namespace larder
