// Codec 1, raw: the elements as they are, one level. Tokens that are not filled come back as they
// were too: the container's raw planes are copied without a look at them.
#pragma once

#include <memory>

#include "kernels/codec/codec.h"

namespace larder {

std::unique_ptr<Codec> MakeRawCodec();

}  // namespace larder
