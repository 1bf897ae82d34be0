#include "kernels/codec/larder/rotation.h"

#include <utility>

namespace larder {

Rotation::Rotation(const RotationShape& shape, std::vector<uint64_t> turns)
    : shape_(shape), turns_(std::move(turns)) {
  within_chunk_.reserve(size_t{kCodecTokensMax} * shape_.pairs);
  for (uint64_t token = 0; token < kCodecTokensMax; ++token) {
    for (const uint64_t turn : turns_) {
      within_chunk_.push_back(CosineSineOf(token * turn));
    }
  }
}

RotationView Rotation::View(uint64_t first_token, uint32_t tokens, std::span<float> scratch) const {
  const size_t pairs = shape_.pairs;
  float* const cosines = scratch.data();
  float* const sines = cosines + tokens * pairs;
  for (size_t pair = 0; pair < pairs; ++pair) {
    const CosineSine start = CosineSineOf(first_token * turns_[pair]);
    cosines[pair] = start.cosine;
    sines[pair] = start.sine;
  }
  // Backwards, because the first row holds the start until it is overwritten, by itself.
  for (size_t token = tokens; token-- > 0;) {
    for (size_t pair = 0; pair < pairs; ++pair) {
      const CosineSine sum =
          Combine({cosines[pair], sines[pair]}, within_chunk_[token * pairs + pair]);
      cosines[token * pairs + pair] = sum.cosine;
      sines[token * pairs + pair] = sum.sine;
    }
  }
  return {shape_, cosines, sines};
}

}  // namespace larder
