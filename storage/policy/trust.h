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
  // A sampled chunk was used. `cache_size` is in chunks of the sample.
  void RecordUse(bool hit, bool lru_hit, uint64_t observed_reuses, size_t cache_size) {
    ++uses_;
    if (trusted_) {
      balance_ = std::min(balance_ + (hit ? 1 : 0) - (lru_hit ? 1 : 0),
                          kSavingsMax * static_cast<double>(cache_size));
      const double window = std::min(static_cast<double>(uses_),
                                     kWindowCacheSizes * static_cast<double>(cache_size));
      if (balance_ < -(kLossShareMax * window + kLossMin)) Suspend(cache_size);
    } else if (observed_reuses >= kReusesMin && uses_ >= resume_at_use_) {
      trusted_ = true;
      balance_ = 0;
    }
  }

  bool trusted() const { return trusted_; }
  // How often trust was lost.
  uint64_t suspensions() const { return suspensions_; }

 private:
  static constexpr uint64_t kReusesMin = 1000;
  static constexpr double kLossShareMax = 0.001;
  static constexpr double kLossMin = 50;
  static constexpr double kSavingsMax = 0.25;
  static constexpr double kWindowCacheSizes = 64;
  static constexpr uint64_t kFirstWaitCacheSizes = 8;
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
