#include "tools/workload/distributions.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace larder {
namespace {

// Box and Muller's transform; one of its two results is enough here.
double DrawNormal(Random& random) {
  const double radius = std::sqrt(-2 * std::log(1 - random.Unit()));
  return radius * std::cos(2 * std::numbers::pi * random.Unit());
}

}  // namespace

double LogNormal::Draw(Random& random) const {
  return median * std::exp(sigma * DrawNormal(random));
}

uint32_t LogNormal::DrawTokens(Random& random, uint32_t max) const {
  return static_cast<uint32_t>(std::clamp<double>(std::round(Draw(random)), 1, max));
}

Zipf::Zipf(size_t count, double exponent) {
  double sum = 0;
  cumulative_.reserve(count);
  for (size_t rank = 0; rank < count; ++rank) {
    sum += std::pow(static_cast<double>(rank + 1), -exponent);
    cumulative_.push_back(sum);
  }
}

size_t Zipf::Draw(Random& random) const {
  const double target = random.Unit() * cumulative_.back();
  const auto found = std::upper_bound(cumulative_.begin(), cumulative_.end(), target);
  // Rounding may put the target on the very end.
  return std::min<size_t>(static_cast<size_t>(found - cumulative_.begin()), cumulative_.size() - 1);
}

}  // namespace larder
