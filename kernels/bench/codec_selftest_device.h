// What the self-test asks of a GPU; only in builds with CUDA.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/codec/codec.h"
#include "kernels/codec/larder/profile.h"

namespace larder {

// Whether there is a GPU to test on.
bool HasDevice();

// What the GPU decodes of the runs of a whole plane. kDevice says what CUDA refused.
CodecStatus DecodeLarderOnDevice(const LarderProfile& profile, const PlaneGeometry& geometry,
                                 const PlanePlace& place,
                                 std::span<const std::vector<uint8_t>> levels,
                                 std::vector<uint8_t>& elements);
// The runs that the GPU encodes: levels.size() of them, each with LevelBytesMax of room.
CodecStatus EncodeLarderOnDevice(const LarderProfile& profile, const PlaneGeometry& geometry,
                                 const PlanePlace& place, const std::vector<uint8_t>& elements,
                                 uint32_t split_tokens, std::span<std::vector<uint8_t>> levels);
CodecStatus DecodeLosslessOnDevice(const PlaneGeometry& geometry, const std::vector<uint8_t>& run,
                                   std::vector<uint8_t>& elements);

// The run that the GPU makes of a whole plane; `run` comes with LevelBytesMax of room.
CodecStatus EncodeLosslessOnDevice(const PlaneGeometry& geometry,
                                   const std::vector<uint8_t>& elements, std::vector<uint8_t>& run);

}  // namespace larder
