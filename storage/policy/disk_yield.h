// Which kinds of chunks give enough hits for being written to disk.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "storage/policy/chunk_order.h"

namespace larder {

// Counts, for each kind of chunk, how many were written and how many of those were asked for again.
// A kind is written as long as that share is not far below that of all kinds together; the scarcer
// the endurance budget, the less below. Counts fade. Pure and not thread-safe; 3 KiB.
class DiskYield {
 public:
  using Kind = uint8_t;
  static constexpr Kind kNoKind = 0xff;

  // `uses` counts the storing as one.
  static Kind KindOf(uint32_t uses, uint32_t depth, uint32_t category) {
    const uint32_t use_band = std::clamp(uses, 1u, kUseBands) - 1;
    const auto depth_band = std::min(static_cast<uint32_t>(std::bit_width(depth)), kDepthBands - 1);
    return static_cast<Kind>((category % kChunkCategories * kUseBands + use_band) * kDepthBands +
                             depth_band);
  }

  void Wrote(Kind kind) {
    ++yields_[kind].written;
    if (++all_.written >= kFadeAtWrites) Fade();
  }
  // A chunk was asked for, the first time since it was written. No effect on kNoKind.
  void ReadBack(Kind kind) {
    if (kind >= kKinds) return;
    ++yields_[kind].read;
    ++all_.read;
  }

  // `key` is the chunk's, evenly spread: a part of all chunks is written whatever its kind, so that
  // a kind whose time has come is noticed. `budget_left` is 1 where there is plenty, down to 0.
  bool Admits(Kind kind, uint64_t key, double budget_left = 1) const {
    const Yield& yield = yields_[kind];
    if (yield.written < kTrials || key % kTryOneIn == 0) return true;
    const double share_min = kShareMin + (kShareMinWithoutBudget - kShareMin) * (1 - budget_left);
    return yield.read * all_.written >= share_min * all_.read * yield.written;
  }

 private:
  static constexpr uint32_t kUseBands = 4;
  static constexpr uint32_t kDepthBands = 12;
  static constexpr uint32_t kKinds = kChunkCategories * kUseBands * kDepthBands;
  static_assert(kKinds < kNoKind);
  static constexpr double kShareMin = 0.6;
  static constexpr double kShareMinWithoutBudget = 1.5;
  // So many of a kind are written before it is judged, and one in so many ever after.
  static constexpr double kTrials = 500;
  static constexpr uint64_t kTryOneIn = 16;
  static constexpr double kFadeAtWrites = 1 << 18;

  struct Yield {
    double written = 0;
    double read = 0;
  };

  void Fade() {
    const auto halve = [](Yield& yield) {
      yield.written /= 2;
      yield.read /= 2;
    };
    std::for_each(yields_.begin(), yields_.end(), halve);
    halve(all_);
  }

  std::array<Yield, kKinds> yields_;
  Yield all_;
};

}  // namespace larder
