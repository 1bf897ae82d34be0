// Randomness as an injected interface, so that every decision can be replayed from a seed.
#pragma once

#include <cstdint>

namespace larder {

class Random {
 public:
  virtual ~Random() = default;

  virtual uint64_t Next() = 0;

  // Uniform in [0, bound). REQUIRES: bound > 0.
  uint64_t Below(uint64_t bound);

  // Uniform in [0, 1).
  double Unit();
};

// xoshiro256** (Blackman and Vigna, 2018) seeded through splitmix64. Not thread-safe.
class SeededRandom final : public Random {
 public:
  explicit SeededRandom(uint64_t seed);
  uint64_t Next() override;

 private:
  uint64_t state_[4];
};

// The kernel's generator, for identities that must not be guessed. Thread-safe.
class SystemRandom final : public Random {
 public:
  uint64_t Next() override;
};

}  // namespace larder
