// Manifests of the chunks that benchmarks store.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "kernels/format/manifest.h"

namespace larder {

// A model whose cache takes `bytes_per_token` for each token, in chunks of `tokens_per_chunk`:
// bfloat16 keys and values, so bytes_per_token = 4 x layers x heads x head_dim. Up to 8 layers and
// 8 heads as far as the number divides, the rest is head_dim. INVALID_ARGUMENT names what is out of
// bounds; bytes_per_token has to be a multiple of 4.
absl::StatusOr<Manifest> ManifestOfSize(uint64_t bytes_per_token, uint32_t tokens_per_chunk);

// Chunks of 16 tokens of a model with 8 heads of 64 elements in bfloat16: 1 MiB with 32 layers,
// 8 MiB with 256. A plane has 16 KiB.
Manifest ManifestOfLayers(uint32_t layers);

// The smallest chunk there is: one token of one layer, one byte.
Manifest TinyManifest();

}  // namespace larder
