// Contents like those of a KV cache, for codecs that would make nothing of random bytes.
#pragma once

#include <cstdint>
#include <span>

#include "common/ids.h"
#include "kernels/format/container_format.h"

namespace larder {

// Fills `out` with bfloat16 values that follow from the key: evenly spread over [-2, 2).
// Thread-safe. REQUIRES: an even size.
void FillValues(KeyHash key, std::span<uint8_t> out);

// The position of the first byte of a value that is not what FillValues writes there; bytes.size()
// when all are right. A lossy codec may be off by a bound that follows from its levels: for larder
// half a step of the base level, a third of that with each further one, of what these values'
// spread makes of a step.
size_t CheckValues(KeyHash key, ContainerCodec codec, uint32_t levels,
                   std::span<const uint8_t> bytes);

}  // namespace larder
