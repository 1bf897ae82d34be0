#include "storage/policy/access_monitor.h"

namespace larder {
namespace {

constexpr uint32_t kChains = AccessMonitor::kWatchedMax;
// The sample reaches back so many times as far as the cache.
constexpr size_t kReach = 6;
constexpr uint32_t kSampleShiftMax = 30;
// Each call looks at so many buckets.
constexpr int kBucketsMax = 8;

}  // namespace

AccessMonitor::AccessMonitor(ReuseStatistics* statistics)
    : statistics_(statistics), chains_(kChains, kNone) {
  watched_.reserve(kWatchedMax);
  oldest_in_.fill(kNone);
}

void AccessMonitor::SetCacheSize(size_t chunks) {
  while (sample_shift_ < kSampleShiftMax && (chunks >> sample_shift_) * kReach > kWatchedMax) {
    ++sample_shift_;
    Clear();
  }
  lru_count_max_ = chunks >> sample_shift_;
}

bool AccessMonitor::Use(uint64_t key, uint32_t class_index, PolicyTicks now) {
  const auto tag = static_cast<uint32_t>(key);
  uint32_t slot = Find(tag);
  bool lru_hit = false;
  if (slot != kNone) {
    lru_hit = watched_[slot].in_lru;
    statistics_->Reuse(watched_[slot].class_index, watched_[slot].bucket);
    RemoveFromOrder(slot);
  } else {
    slot = TakeSlot();
    Insert(slot, tag);
  }
  Watched& watched = watched_[slot];
  watched.last_use = now;
  watched.class_index = static_cast<uint16_t>(class_index);
  watched.bucket = 0;
  PutFirst(slot);
  statistics_->Begin(class_index);
  return lru_hit;
}

void AccessMonitor::Advance(PolicyTicks now) {
  // One bucket after the other, so that each gets its turn whatever the others have to do.
  int steps = 0;
  for (int visited = 0; visited < kBucketsMax && steps < kStepsMax; ++visited) {
    const uint32_t bucket = next_bucket_;
    next_bucket_ = (next_bucket_ + kAgeBuckets - 2) % (kAgeBuckets - 1);  // from old to young
    while (oldest_in_[bucket] != kNone && steps < kStepsMax) {
      const uint32_t slot = oldest_in_[bucket];
      Watched& watched = watched_[slot];
      if (now - watched.last_use < kAgeBucketStart[bucket + 1]) break;
      ++steps;
      oldest_in_[bucket] = NewerWithin(slot);
      watched.bucket = static_cast<uint8_t>(bucket + 1);
      if (oldest_in_[bucket + 1] == kNone) oldest_in_[bucket + 1] = slot;
      statistics_->Survive(watched.class_index, bucket);
    }
  }
}

void AccessMonitor::Clear() {
  for (uint32_t slot = oldest_; slot != kNone; slot = watched_[slot].newer) {
    statistics_->Forget(watched_[slot].class_index, watched_[slot].bucket);
  }
  watched_.clear();
  chains_.assign(kChains, kNone);
  oldest_in_.fill(kNone);
  newest_ = oldest_ = lru_oldest_ = kNone;
  lru_count_ = 0;
}

uint32_t AccessMonitor::Find(uint32_t tag) const {
  uint32_t slot = chains_[tag % kChains];
  while (slot != kNone && watched_[slot].tag != tag) slot = watched_[slot].next_in_chain;
  return slot;
}

uint32_t AccessMonitor::TakeSlot() {
  if (watched_.size() < kWatchedMax) {
    watched_.emplace_back();
    return static_cast<uint32_t>(watched_.size() - 1);
  }
  const uint32_t slot = oldest_;
  statistics_->Forget(watched_[slot].class_index, watched_[slot].bucket);
  RemoveFromChain(slot);
  RemoveFromOrder(slot);
  return slot;
}

void AccessMonitor::Insert(uint32_t slot, uint32_t tag) {
  watched_[slot].tag = tag;
  watched_[slot].next_in_chain = chains_[tag % kChains];
  chains_[tag % kChains] = slot;
}

void AccessMonitor::RemoveFromChain(uint32_t slot) {
  uint32_t* link = &chains_[watched_[slot].tag % kChains];
  while (*link != slot) link = &watched_[*link].next_in_chain;
  *link = watched_[slot].next_in_chain;
}

uint32_t AccessMonitor::NewerWithin(uint32_t slot) const {
  const uint32_t newer = watched_[slot].newer;
  return newer != kNone && watched_[newer].bucket == watched_[slot].bucket ? newer : kNone;
}

void AccessMonitor::RemoveFromOrder(uint32_t slot) {
  const Watched& watched = watched_[slot];
  if (oldest_in_[watched.bucket] == slot) oldest_in_[watched.bucket] = NewerWithin(slot);
  if (watched.in_lru) {
    --lru_count_;
    if (lru_oldest_ == slot) lru_oldest_ = watched.newer;
  }
  (watched.older != kNone ? watched_[watched.older].newer : oldest_) = watched.newer;
  (watched.newer != kNone ? watched_[watched.newer].older : newest_) = watched.older;
}

void AccessMonitor::PutFirst(uint32_t slot) {
  Watched& watched = watched_[slot];
  watched.older = newest_;
  watched.newer = kNone;
  watched.in_lru = true;
  (newest_ != kNone ? watched_[newest_].newer : oldest_) = slot;
  newest_ = slot;
  if (oldest_in_[0] == kNone) oldest_in_[0] = slot;
  if (lru_oldest_ == kNone) lru_oldest_ = slot;
  ++lru_count_;
  while (lru_count_ > lru_count_max_) {
    watched_[lru_oldest_].in_lru = false;
    lru_oldest_ = watched_[lru_oldest_].newer;
    --lru_count_;
  }
}

}  // namespace larder
