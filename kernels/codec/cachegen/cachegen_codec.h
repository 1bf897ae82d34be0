// Codec 4, cachegen: values quantised as the open code of CacheGen does (Liu et al., SIGCOMM 2024;
// lmcache/storage_backend/serde of LMCache): one largest magnitude for each token over all channels
// of the plane, 31 steps for the first 10 layers' keys and the first 2 layers' values, 15 for all
// others, and one distribution for each channel, counted over the chunk and stored as 33 u16. For
// comparison. What differs: our entropy coder with probabilities of 10 bits reads the stored
// distribution, and largest magnitudes are stored in the element's own type. Latents are quantised
// like keys.
//
//   run    = u32 C, u16 largest[filled tokens], zeros up to a multiple of 4, directory, stream*
//   stream = u16 distribution[dim][33], symbols           ; a stream of rans/rans_format.h
//
// C is 15 or 7. A symbol is C + round(value x (C / largest)); a value is (symbol - C) / C x
// largest, in float. `distribution` is how often a symbol is below i, times 65504, plus i, modulo
// 2^16. A row of symbols is a token and a group of 32 channels. NaN counts as zero, infinities as
// the largest finite value.
#pragma once

#include <memory>

#include "kernels/codec/codec.h"

namespace larder {

std::unique_ptr<Codec> MakeCachegenCodec();

}  // namespace larder
