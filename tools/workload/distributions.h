// The few distributions that workloads are drawn from, on the injected source of randomness.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/random.h"

namespace larder {

// A log-normal distribution by its median and the standard deviation of the logarithm.
struct LogNormal {
  double median = 1;
  double sigma = 1;

  double Draw(Random& random) const;
  // Rounded and held to [1, max]. REQUIRES: max >= 1.
  uint32_t DrawTokens(Random& random, uint32_t max) const;
};

// Ranks 0 to count - 1, where rank r has a weight of (r + 1)^-exponent. Immutable, so thread-safe.
class Zipf {
 public:
  // REQUIRES: count > 0.
  Zipf(size_t count, double exponent);
  size_t Draw(Random& random) const;

 private:
  std::vector<double> cumulative_;
};

}  // namespace larder
