// The hits of least-recently-used caches of all sizes, estimated from a sample of all chunks.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "storage/insight/hit_curve.h"
#include "storage/insight/lru_stack.h"
#include "storage/policy/reuse_age.h"

namespace larder {

// A chunk of a request that may be in a sample.
struct SampledChunk {
  uint64_t hash = 0;  // evenly spread over 64 bits: the samples are those with small ones
  uint64_t bytes = 0;
  double recompute_cost = 1;
  uint32_t depth = 0;  // position in the request
  uint8_t category = 0;
  uint32_t slot = LruStack::kNone;  // in the sample that was fed last
};

// Spatially hashed sampling (SHARDS, Waldspurger and others, FAST 2015): the chunks whose hashes
// are at most a threshold are all that is looked at, and their stack distances, divided by the
// share of chunks that they are, stand for those of all. Of fixed size: all chunks at first; when
// the sample is full, the threshold falls and what is above it goes; but once a cache of the
// capacity that matters would hold no more than an eighth of the sample, what was used longest ago
// goes instead. SHARDS-adj: what the sample has too few or too many uses of is taken as hits of
// every cache.
//
// A request's chunks count as used all at once, the deepest first (docs/POLICY.md), so a chunk is
// in a cache only together with all before it. Pure and not thread-safe.
class SampledCurve {
 public:
  // The slot has no key any more.
  using Forget = absl::FunctionRef<void(uint32_t slot)>;

  // At most `keys_max` chunks are in the sample. `capacity_bytes` is the capacity that matters.
  SampledCurve(size_t keys_max, uint64_t capacity_bytes);

  bool Samples(uint64_t hash) const { return hash <= threshold_; }
  // The share of all chunks that is in the sample.
  double rate() const { return static_cast<double>(threshold_) / 0x1p64; }
  uint64_t threshold() const { return threshold_; }

  // A request for `total` chunks of `total_bytes` begins, `chunks` being those that may be in the
  // sample, in prefix order: leaves those in `chunks` that are, and makes room for them. Of a
  // request that names so few chunks so often that they are half the sample, only the first count.
  void Begin(uint64_t total, uint64_t total_bytes, std::vector<SampledChunk>* chunks,
             Forget forget);
  // The request uses the chunks that Begin has left, which get their slots.
  void Use(std::span<SampledChunk> chunks, PolicyTicks now);

  // Old uses count less from now on. Where the sample has become far too thin, as when chunks are
  // much larger than those at first, it forgets everything and returns true.
  bool Fade(double factor, Forget forget);

  // The share of all chunks asked for that a cache of this size would have had; 0 before any use.
  double HitRatio(double capacity_bytes) const;
  // The same for a cache that forgets nothing that the sample remembers.
  double UnlimitedHitRatio() const;
  // The size at which a cache would have had this ratio of hits; for a higher one than any gives,
  // that of the best.
  double CapacityFor(double hit_ratio) const {
    return curve_.CapacityFor(hit_ratio * uses_ - adjustment());
  }
  // Whether so many bytes of different chunks were asked for: a smaller number would not have
  // filled the cache, whose hit ratio is then that of an unlimited one.
  bool Fills(uint64_t capacity_bytes) const {
    return static_cast<double>(stack_.bytes()) >= static_cast<double>(capacity_bytes) * rate();
  }

  double uses() const { return uses_; }         // chunks asked for, faded
  double weight() const { return 1 / rate(); }  // of one sampled use
  // What sampled hits have to be given for what the sample missed or saw too often; faded.
  double adjustment() const { return uses_ - curve_.total() - first_uses_; }
  // Reuses by age, and first uses, as weights.
  const std::array<double, kAgeBuckets>& reuse_ages() const { return reuse_ages_; }
  double first_uses() const { return first_uses_; }

 private:
  // How many chunks of the sample fit in the capacity that matters, at its rate.
  double CapacityKeys() const;
  double WantedRate() const;
  void Thin(Forget forget);
  void StartAnew(Forget forget);

  uint64_t capacity_bytes_;
  LruStack stack_;
  uint64_t threshold_ = ~uint64_t{0};  // all chunks
  HitCurve curve_;
  std::array<double, kAgeBuckets> reuse_ages_{};
  double uses_ = 0;
  double used_bytes_ = 0;
  double first_uses_ = 0;
  uint64_t request_chunks_max_ = 1;
  uint32_t wait_fades_ = 0;     // between two new starts
  uint32_t fades_to_wait_ = 0;  // of these, still to come
};

}  // namespace larder
