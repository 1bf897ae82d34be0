// Caches with several queues: S3-FIFO, ARC, W-TinyLFU.
#include <algorithm>
#include <bit>
#include <vector>

#include "tools/sim/block_cache.h"
#include "tools/sim/block_lists.h"

namespace larder {
namespace {

// S3-FIFO (Yang and others, SOSP 2023): a small queue filters what is used once; a ghost queue lets
// what comes back soon into the main one.
class S3FifoCache final : public BlockCache {
 public:
  explicit S3FifoCache(const CacheModelOptions& options)
      : BlockCache(options),
        lists_(blocks(), 3),
        frequency_(blocks()),
        small_max_(std::max<size_t>(1, capacity_ / 10)),
        ghosts_max_(capacity_ - std::min(capacity_, small_max_)) {}

  bool Contains(uint32_t block) const override { return lists_.list_of(block) <= kMain; }

 private:
  static constexpr uint8_t kSmall = 0, kMain = 1, kGhost = 2;
  static constexpr uint8_t kFrequencyMax = 3;

  void Use(uint32_t block) override {
    if (Contains(block)) {
      frequency_[block] = std::min<uint8_t>(kFrequencyMax, frequency_[block] + 1);
      return;
    }
    const bool is_ghost = lists_.list_of(block) == kGhost;
    lists_.Remove(block);
    while (lists_.size(kSmall) + lists_.size(kMain) >= capacity_) EvictOne();
    frequency_[block] = 0;
    lists_.PushNewest(is_ghost ? kMain : kSmall, block);
    ++stored_;
  }

  void EvictOne() {
    if (lists_.size(kSmall) >= small_max_ || lists_.size(kMain) == 0) {
      ShrinkSmall();
    } else {
      ShrinkMain();
    }
  }

  // Moves or evicts the oldest of the small queue.
  void ShrinkSmall() {
    const uint32_t block = lists_.oldest(kSmall);
    if (frequency_[block] > 1) {
      lists_.MoveToNewest(kMain, block);
      if (lists_.size(kMain) > capacity_ - small_max_) ShrinkMain();
      return;
    }
    lists_.MoveToNewest(kGhost, block);
    left_.push_back(block);
    while (lists_.size(kGhost) > ghosts_max_) lists_.Remove(lists_.oldest(kGhost));
  }

  void ShrinkMain() {
    while (frequency_[lists_.oldest(kMain)] > 0) {
      const uint32_t block = lists_.oldest(kMain);
      --frequency_[block];
      lists_.MoveToNewest(kMain, block);
    }
    left_.push_back(lists_.oldest(kMain));
    lists_.Remove(lists_.oldest(kMain));
  }

  BlockLists lists_;
  std::vector<uint8_t> frequency_;
  const size_t small_max_;
  const size_t ghosts_max_;
};

// ARC (Megiddo and Modha, FAST 2003): recency and frequency share the cache, and hits in their
// ghosts move the border.
class ArcCache final : public BlockCache {
 public:
  explicit ArcCache(const CacheModelOptions& options) : BlockCache(options), lists_(blocks(), 4) {}

  bool Contains(uint32_t block) const override { return lists_.list_of(block) <= kFrequent; }

 private:
  static constexpr uint8_t kRecent = 0, kFrequent = 1, kRecentGhost = 2, kFrequentGhost = 3;

  void Use(uint32_t block) override {
    if (Contains(block)) return lists_.MoveToNewest(kFrequent, block);
    const uint8_t ghost = lists_.list_of(block);
    if (ghost == kRecentGhost || ghost == kFrequentGhost) {
      Adapt(ghost);
      Replace(ghost == kFrequentGhost);
      lists_.MoveToNewest(kFrequent, block);
    } else {
      MakeRoom();
      lists_.PushNewest(kRecent, block);
    }
    ++stored_;
  }

  void Adapt(uint8_t ghost) {
    const auto recent = static_cast<double>(lists_.size(kRecentGhost));
    const auto frequent = static_cast<double>(lists_.size(kFrequentGhost));
    const auto capacity = static_cast<double>(capacity_);
    recent_target_ = ghost == kRecentGhost
                         ? std::min(capacity, recent_target_ + std::max(1.0, frequent / recent))
                         : std::max(0.0, recent_target_ - std::max(1.0, recent / frequent));
  }

  void MakeRoom() {
    const size_t recent = lists_.size(kRecent) + lists_.size(kRecentGhost);
    const size_t all = recent + lists_.size(kFrequent) + lists_.size(kFrequentGhost);
    if (recent >= capacity_) {
      if (lists_.size(kRecent) < capacity_) {
        lists_.Remove(lists_.oldest(kRecentGhost));
        Replace(false);
      } else {
        Evict(kRecent, BlockLists::kNoList);
      }
    } else if (all >= capacity_) {
      if (all >= 2 * capacity_) lists_.Remove(lists_.oldest(kFrequentGhost));
      Replace(false);
    }
  }

  void Replace(bool in_frequent_ghost) {
    if (lists_.size(kRecent) + lists_.size(kFrequent) < capacity_) return;
    const auto recent = static_cast<double>(lists_.size(kRecent));
    const bool take_recent =
        recent > 0 && (recent > recent_target_ || (in_frequent_ghost && recent == recent_target_));
    if (take_recent || lists_.size(kFrequent) == 0) {
      Evict(kRecent, kRecentGhost);
    } else {
      Evict(kFrequent, kFrequentGhost);
    }
  }

  void Evict(uint8_t list, uint8_t ghost) {
    const uint32_t block = lists_.oldest(list);
    lists_.Remove(block);
    if (ghost != BlockLists::kNoList) lists_.PushNewest(ghost, block);
    left_.push_back(block);
  }

  BlockLists lists_;
  double recent_target_ = 0;
};

// Counts uses roughly, and halves all counts from time to time.
class FrequencySketch {
 public:
  explicit FrequencySketch(size_t capacity)
      : counters_(std::bit_ceil(std::max<size_t>(capacity, 64)) * kRows),
        uses_max_(10 * std::max<size_t>(capacity, 64)) {}

  void Increment(uint32_t block) {
    for (size_t row = 0; row < kRows; ++row) {
      uint8_t& counter = counters_[Position(row, block)];
      counter = std::min<uint8_t>(kCounterMax, counter + 1);
    }
    if (++uses_ < uses_max_) return;
    uses_ /= 2;
    for (uint8_t& counter : counters_) counter /= 2;
  }

  uint8_t Estimate(uint32_t block) const {
    uint8_t least = kCounterMax;
    for (size_t row = 0; row < kRows; ++row)
      least = std::min(least, counters_[Position(row, block)]);
    return least;
  }

 private:
  static constexpr size_t kRows = 4;
  static constexpr uint8_t kCounterMax = 15;

  size_t Position(size_t row, uint32_t block) const {
    uint64_t mixed = (block + 1) * (0x9e3779b97f4a7c15u + 2 * row * 0x517cc1b727220a95u);
    mixed ^= mixed >> 32;
    const size_t width = counters_.size() / kRows;
    return row * width + (mixed * 0xbf58476d1ce4e5b9u >> 20) % width;
  }

  std::vector<uint8_t> counters_;
  size_t uses_ = 0;
  size_t uses_max_;
};

// W-TinyLFU (Einziger and others, ACM TOS 2017): what leaves a small LRU window must be used more
// often than the victim of the segmented LRU behind it.
class WTinyLfuCache final : public BlockCache {
 public:
  explicit WTinyLfuCache(const CacheModelOptions& options)
      : BlockCache(options),
        lists_(blocks(), 3),
        sketch_(capacity_),
        window_max_(std::max<size_t>(1, capacity_ / 100)),
        main_max_(capacity_ - std::min(capacity_, window_max_)),
        protected_max_(main_max_ * 4 / 5) {}

  bool Contains(uint32_t block) const override {
    return lists_.list_of(block) != BlockLists::kNoList;
  }

 private:
  static constexpr uint8_t kWindow = 0, kProbation = 1, kProtected = 2;

  void Use(uint32_t block) override {
    sketch_.Increment(block);
    switch (lists_.list_of(block)) {
      case kWindow:
        return lists_.MoveToNewest(kWindow, block);
      case kProbation:
      case kProtected:
        lists_.MoveToNewest(kProtected, block);
        if (lists_.size(kProtected) > protected_max_) {
          lists_.MoveToNewest(kProbation, lists_.oldest(kProtected));
        }
        return;
    }
    lists_.PushNewest(kWindow, block);
    ++stored_;
    if (lists_.size(kWindow) > window_max_) LeaveWindow();
  }

  void LeaveWindow() {
    const uint32_t candidate = lists_.oldest(kWindow);
    lists_.Remove(candidate);
    if (lists_.size(kProbation) + lists_.size(kProtected) < main_max_) {
      return lists_.PushNewest(kProbation, candidate);
    }
    const uint32_t victim =
        lists_.size(kProbation) > 0 ? lists_.oldest(kProbation) : lists_.oldest(kProtected);
    if (victim == kNoBlockNumber || sketch_.Estimate(candidate) <= sketch_.Estimate(victim)) {
      left_.push_back(candidate);
      return;
    }
    lists_.Remove(victim);
    left_.push_back(victim);
    lists_.PushNewest(kProbation, candidate);
  }

  BlockLists lists_;
  FrequencySketch sketch_;
  const size_t window_max_;
  const size_t main_max_;
  const size_t protected_max_;
};

}  // namespace

std::unique_ptr<CacheModel> MakeQueueModel(absl::string_view policy,
                                           const CacheModelOptions& options) {
  if (policy == "s3fifo") return std::make_unique<S3FifoCache>(options);
  if (policy == "arc") return std::make_unique<ArcCache>(options);
  if (policy == "wtinylfu") return std::make_unique<WTinyLfuCache>(options);
  return nullptr;
}

}  // namespace larder
