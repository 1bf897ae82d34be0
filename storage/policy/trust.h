// Whether what was learned does better than plain recency.
#pragma once

#include <algorithm>
#include <cstdint>

namespace larder {

// Keeps the account of hits against those of a cache with plain least-recently-used order, on the
// monitor's sample. What was learned is trusted from a number of observed reuses on, and until the
// account falls below a small part of all uses. Then it must wait, each time twice as long, before
// it gets another try with an empty account. So it can lose only a bounded share of hits. Pure and
// not thread-safe.
class Trust {
 public:
  // A sampled chunk was used, one of `weight` that were; `cache_size` is in chunks.
  void RecordUse(bool hit, bool lru_hit, uint64_t weight, uint64_t observed_reuses,
                 size_t cache_size) {
    uses_ += weight;
    if (trusted_) {
      const auto uses = static_cast<double>(uses_);
      const auto size = static_cast<double>(cache_size);
      balance_ =
          std::min(balance_ + ((hit ? 1 : 0) - (lru_hit ? 1 : 0)) * static_cast<double>(weight),
                   kSavingsShareMax * uses + kSavingsCacheSizes * size);
      if (balance_ <
          -(kLossShareMax * uses + std::min(kLossCacheSizes * size, kLossBurstMax) + kLossMin)) {
        Suspend(cache_size);
      }
    } else if (observed_reuses >= kReusesMin && uses_ >= resume_at_use_) {
      trusted_ = true;
      balance_ = 0;
    }
  }

  bool trusted() const { return trusted_; }
  // How often trust was lost.
  uint64_t suspensions() const { return suspensions_; }

 private:
  static constexpr uint64_t kReusesMin = 3000;
  // What may be lost: a share of all uses so far, and what the change to another order costs at
  // first, for it keeps chunks that pay later.
  static constexpr double kLossShareMax = 0.0002;
  static constexpr double kLossCacheSizes = 1.0 / 40;
  static constexpr double kLossBurstMax = 400;
  static constexpr double kLossMin = 32;
  // What was won counts against later losses up to this.
  static constexpr double kSavingsShareMax = 0.01;
  static constexpr double kSavingsCacheSizes = 1.0 / 16;
  static constexpr uint64_t kFirstWaitCacheSizes = 32;
  static constexpr uint32_t kWaitDoublingsMax = 16;

  void Suspend(size_t cache_size) {
    trusted_ = false;
    resume_at_use_ = uses_ + (kFirstWaitCacheSizes * std::max<uint64_t>(cache_size, 1)
                              << std::min<uint64_t>(suspensions_, kWaitDoublingsMax));
    ++suspensions_;
  }

  bool trusted_ = false;
  double balance_ = 0;
  uint64_t uses_ = 0;
  uint64_t resume_at_use_ = 0;
  uint64_t suspensions_ = 0;
};

}  // namespace larder
