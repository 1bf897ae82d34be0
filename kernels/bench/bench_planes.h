// Planes and a profile like those of a model of Llama-3-8B's shape, to measure codecs with.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/codec/geometry.h"
#include "kernels/codec/larder/profile.h"

namespace larder {

// Keys and values of a few layers of one chunk in the middle of a sequence.
struct BenchChunk {
  PlaneGeometry geometry;
  std::vector<PlanePlace> places;
  std::vector<std::vector<uint8_t>> planes;  // one a place

  size_t Bytes() const { return planes.size() * geometry.PlaneBytes(); }
};

// The shape of Llama-3-8B: bfloat16, 8 heads of 128, 256 tokens.
PlaneGeometry BenchGeometry();

// Keys are rotated with a base of 500,000. Each channel is Gaussian with a mean and a spread of its
// own; the same bytes on every run.
BenchChunk MakeBenchChunk(const PlaneGeometry& geometry, uint32_t layers);

// A profile of the chunk's model, made from the chunk: steps of 1.2 deviations.
std::shared_ptr<const LarderProfile> MakeBenchProfile(const BenchChunk& chunk);

}  // namespace larder
