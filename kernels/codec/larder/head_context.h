// What the coding of each head of one plane has in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/codec/cpu_path.h"
#include "kernels/codec/geometry.h"
#include "kernels/codec/larder/head_symbols.h"
#include "kernels/codec/larder/profile.h"

namespace larder {

// Points to what a call of the codec was given.
struct HeadContext {
  const LarderProfile* profile = nullptr;
  CpuPath path = CpuPath::kScalar;
  const PlaneGeometry* geometry = nullptr;
  const PlanePlace* place = nullptr;
  uint32_t split_tokens = 0;  // that an encoder puts between split points; 0: it puts none

  // Values are not rotated, and a profile without a rotation leaves keys as they are.
  bool Rotates() const {
    return place->kind != PlaneKind::kValue && profile->rotation().shape().pairs != 0;
  }

  // The shape of every head.
  HeadShape Shape() const {
    HeadShape shape;
    shape.element = geometry->element;
    shape.head_dim = geometry->head_dim;
    shape.tokens = geometry->filled_tokens;
    shape.exact_tokens = ExactTokens(place->first_token, shape.tokens);
    shape.split_tokens = SplitTokens(split_tokens, shape.tokens);
    if (Rotates()) {
      profile->rotation().SetView(place->first_token, &shape.rotation);
    }
    return shape;
  }
};

// Cuts scratch memory into arrays on cache lines. Two passes: the first, without memory, measures.
class ScratchCutter {
 public:
  explicit ScratchCutter(uint8_t* memory) : memory_(memory) {}

  template <typename T>
  std::span<T> Cut(size_t count) {
    T* const begin = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + bytes_);
    bytes_ += (count * sizeof(T) + 63) / 64 * 64;
    return {begin, memory_ == nullptr ? 0 : count};
  }

  size_t bytes() const { return bytes_; }

 private:
  uint8_t* memory_;
  size_t bytes_ = 0;
};

}  // namespace larder
