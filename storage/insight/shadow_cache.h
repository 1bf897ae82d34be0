// Small copies of a cache that run on the sample, to compare policies and sizes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "common/clock.h"
#include "storage/insight/sampled_curve.h"

namespace larder {

// A cache without contents, scaled down to the sample (miniature simulation, Waldspurger and
// others, USENIX ATC 2017). Chunks are known by their slots, which the sample gives and takes. Not
// thread-safe.
class ShadowCache {
 public:
  virtual ~ShadowCache() = default;

  // From now on it holds chunks of at most so many bytes.
  virtual void SetCapacity(uint64_t bytes) = 0;
  // A request uses the chunks, which are in prefix order and have slots. Returns how many of them,
  // from the first on, were stored when it came.
  virtual size_t Serve(std::span<const SampledChunk> chunks, MonotonicTime now) = 0;
  // The slot's chunk is in the sample no longer.
  virtual void Forget(uint32_t slot) = 0;
};

// The eviction policy of storage/policy/, used as the daemon does.
std::unique_ptr<ShadowCache> MakePolicyShadow();
// S3-FIFO (Yang and others, SOSP 2023).
std::unique_ptr<ShadowCache> MakeS3FifoShadow();

}  // namespace larder
