// The vector forms of rans/rans.h, for its dispatch alone. A bool is whether the stream was sound;
// a pair has one shape, that is as many rows and as many groups. Streams have their states apart.
#pragma once

#include "kernels/codec/rans/rans.h"

namespace larder {

struct SoundPair {
  bool first;
  bool second;
};

size_t EncodeStreamAvx512(const EncodeModel& model, std::span<const uint8_t> symbols,
                          std::span<uint8_t> room, const StreamSplits& splits);
bool DecodeStreamAvx512(const StreamToDecode& stream);
SoundPair DecodePairAvx512(const StreamToDecode& first, const StreamToDecode& second);

size_t EncodeStreamAvx2(const EncodeModel& model, std::span<const uint8_t> symbols,
                        std::span<uint8_t> room, const StreamSplits& splits);
bool DecodeStreamAvx2(const StreamToDecode& stream);
SoundPair DecodePairAvx2(const StreamToDecode& first, const StreamToDecode& second);

}  // namespace larder
