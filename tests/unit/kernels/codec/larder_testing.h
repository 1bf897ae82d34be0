// Profiles and runs to test the larder codec with.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "common/random.h"
#include "kernels/codec/codec.h"
#include "kernels/codec/larder/larder_format.h"
#include "kernels/codec/larder/profile.h"
#include "tests/unit/kernels/codec/plane_testing.h"

namespace larder {

// A model of two layers whose planes have the geometry's heads and head dim, with some rotation or
// none, and steps that suit RandomPlane.
ProfileContents RandomProfileContents(Random& random, const PlaneGeometry& geometry);

// Failing is a failure of the test.
std::shared_ptr<const LarderProfile> ParseProfile(const ProfileContents& contents);

// One of those, one that has a rotation but no parameters, or the generic one.
std::shared_ptr<const LarderProfile> RandomProfile(Random& random, const PlaneGeometry& geometry);

// Keys or values of either layer, at the start of a sequence or within.
PlanePlace RandomPlace(Random& random);

// The first `levels` levels, each encoded into memory of LevelBytesMax. Failing is a failure of the
// test.
Runs EncodeLevels(const Codec& codec, const PlaneGeometry& geometry, const PlanePlace& place,
                  std::span<const uint8_t> plane, uint32_t levels);

// Nothing, or some tokens between split points.
uint32_t RandomSplitTokens(Random& random);

// Decodes from copies of the very size.
CodecStatus DecodeLevels(const Codec& codec, const PlaneGeometry& geometry, const PlanePlace& place,
                         const Runs& runs, uint32_t levels, const PlaneRange& range,
                         std::vector<uint8_t>& result);

}  // namespace larder
