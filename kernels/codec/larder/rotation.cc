#include "kernels/codec/larder/rotation.h"

#include <utility>

namespace larder {

Rotation::Rotation(const RotationShape& shape, std::vector<uint64_t> turns)
    : shape_(shape), turns_(std::move(turns)) {
  for (uint64_t token = 0; token < kCodecTokensMax; ++token) {
    for (const uint64_t turn : turns_) {
      const CosineSine angle = CosineSineOf(token * turn);
      cosines_.push_back(angle.cosine);
      sines_.push_back(angle.sine);
    }
  }
}

void Rotation::SetView(uint64_t first_token, RotationView* view) const {
  view->shape = shape_;
  view->cosines = cosines_.data();
  view->sines = sines_.data();
  for (uint32_t pair = 0; pair < shape_.pairs; ++pair) {
    const CosineSine start = CosineSineOf(first_token * turns_[pair]);
    view->start_cosines[pair] = start.cosine;
    view->start_sines[pair] = start.sine;
  }
}

}  // namespace larder
