// Memory and profiles for tests of the GPU kernels' logic on the CPU.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/codec/larder/warp_profile.h"

namespace larder {

// Memory aligned as the kernels ask for.
class AlignedBytes {
 public:
  explicit AlignedBytes(size_t bytes) : memory_(bytes / 64 + 1), bytes_(bytes) {}
  explicit AlignedBytes(std::span<const uint8_t> from) : AlignedBytes(from.size()) {
    std::copy(from.begin(), from.end(), data());
  }
  uint8_t* data() { return memory_[0].bytes; }
  std::span<uint8_t> span() { return {data(), bytes_}; }

 private:
  struct alignas(64) Line {
    uint8_t bytes[64];
  };
  std::vector<Line> memory_;
  size_t bytes_;
};

// A profile in the form of the kernels.
struct WarpModel {
  // The head dim is that of the planes: a profile may be of any.
  WarpModel(const LarderProfile& profile, uint32_t head_dim)
      : block(WarpProfileBytes(profile)),
        view(WriteWarpProfile(profile, block.span(), block.data())),
        tables(view.Tables()) {
    view.head_dim = head_dim;
  }

  AlignedBytes block;
  WarpProfile view;
  WarpTables tables;
};

}  // namespace larder
