// Watches a sample of all chunks that are asked for, stored or not.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "storage/policy/reuse_statistics.h"

namespace larder {

// Keeps the latest use of each sampled chunk, newest first, and feeds ReuseStatistics from that. A
// chunk is in the sample if its key falls under a threshold, so that all its uses are seen (spatial
// sampling, SHARDS, Waldspurger and others, FAST 2015). The same list says which of them a cache
// with plain least-recently-used order would hold now. Pure and not thread-safe; a fixed amount of
// memory, about 2 MiB.
class AccessMonitor {
 public:
  // Chunks in the sample at the same time.
  static constexpr uint32_t kWatchedMax = 1 << 16;

  // `statistics` must outlive this.
  explicit AccessMonitor(ReuseStatistics* statistics);

  // Thins the sample so that it reaches back several times as far as a cache of `chunks` does.
  void SetCacheSize(size_t chunks);

  bool Samples(uint64_t key) const { return (key >> 32) << sample_shift_ >> 32 == 0; }

  // A sampled chunk was used and belongs to the class from now on. Returns whether a cache of the
  // size set, with plain least-recently-used order, would have held it. Amortised O(1).
  bool Use(uint64_t key, uint32_t class_index, PolicyTicks now);

  // Lets the chunks grow older; at most kStepsMax of them.
  void Advance(PolicyTicks now);
  static constexpr int kStepsMax = 64;

  // Whether enough chunks were seen, since the sample was last thinned, to fill that cache.
  bool knows_lru() const { return lru_count_ >= lru_count_max_; }

  // The share of all chunks that is in the sample is 2^-sample_shift().
  uint32_t sample_shift() const { return sample_shift_; }

 private:
  static constexpr uint32_t kNone = 0xffffffffu;

  struct Watched {
    uint32_t tag;
    PolicyTicks last_use;
    uint32_t older;
    uint32_t newer;
    uint32_t next_in_chain;
    uint16_t class_index;
    uint8_t bucket;
    bool in_lru;  // a least-recently-used cache would still hold it
  };

  void Clear();
  uint32_t Find(uint32_t tag) const;
  uint32_t TakeSlot();
  void Insert(uint32_t slot, uint32_t tag);
  void RemoveFromChain(uint32_t slot);
  void RemoveFromOrder(uint32_t slot);
  void PutFirst(uint32_t slot);
  uint32_t NewerWithin(uint32_t slot) const;

  ReuseStatistics* statistics_;
  std::vector<Watched> watched_;
  std::vector<uint32_t> chains_;                 // by the tag's low bits
  std::array<uint32_t, kAgeBuckets> oldest_in_;  // the oldest of each bucket, or kNone
  uint32_t newest_ = kNone;
  uint32_t oldest_ = kNone;
  uint32_t lru_oldest_ = kNone;
  size_t lru_count_ = 0;
  size_t lru_count_max_ = 0;
  uint32_t sample_shift_ = 0;
  uint32_t next_bucket_ = 0;
};

}  // namespace larder
