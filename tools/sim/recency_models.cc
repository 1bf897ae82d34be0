// Caches with one order: FIFO, LRU, LRU of leaves, SIEVE.
#include <vector>

#include "storage/policy/recency_order.h"
#include "tools/sim/block_cache.h"
#include "tools/sim/block_lists.h"

namespace larder {
namespace {

class OneListCache : public BlockCache {
 public:
  explicit OneListCache(const CacheModelOptions& options)
      : BlockCache(options), lists_(blocks(), 1) {}
  bool Contains(uint32_t block) const final { return lists_.list_of(block) == 0; }

 protected:
  void Evict(uint32_t block) {
    lists_.Remove(block);
    left_.push_back(block);
  }
  void Store(uint32_t block) {
    lists_.PushNewest(0, block);
    ++stored_;
  }
  bool full() const { return lists_.size(0) >= capacity_; }

  BlockLists lists_;
};

class FifoCache final : public OneListCache {
 public:
  using OneListCache::OneListCache;

 private:
  void Use(uint32_t block) override {
    if (Contains(block)) return;
    if (full()) Evict(lists_.oldest(0));
    Store(block);
  }
};

class LruCache final : public OneListCache {
 public:
  using OneListCache::OneListCache;

 private:
  void Use(uint32_t block) override {
    if (Contains(block)) return lists_.MoveToNewest(0, block);
    if (full()) Evict(lists_.oldest(0));
    Store(block);
  }
};

// SIEVE (Zhang and others, NSDI 2024): a hand goes from old to new, spares what was used since it
// passed, and stays where it is between evictions.
class SieveCache final : public OneListCache {
 public:
  explicit SieveCache(const CacheModelOptions& options)
      : OneListCache(options), visited_(blocks()) {}

 private:
  void Use(uint32_t block) override {
    if (Contains(block)) {
      visited_[block] = true;
      return;
    }
    if (full()) EvictAtHand();
    Store(block);
    visited_[block] = false;
  }

  void EvictAtHand() {
    uint32_t block = hand_ != kNoBlockNumber ? hand_ : lists_.oldest(0);
    while (visited_[block]) {
      visited_[block] = false;
      block = lists_.newer(block);
      if (block == kNoBlockNumber) block = lists_.oldest(0);
    }
    hand_ = lists_.newer(block);
    Evict(block);
  }

  std::vector<bool> visited_;
  uint32_t hand_ = kNoBlockNumber;
};

// LRU where a block with stored successors never goes: the order that the daemon falls back to.
class LeafLruCache final : public CacheModel {
 public:
  explicit LeafLruCache(const CacheModelOptions& options)
      : trace_(*options.trace),
        capacity_(options.capacity_blocks),
        present_(trace_.unique_blocks()),
        children_(trace_.unique_blocks()) {}

  bool Contains(uint32_t block) const override { return present_[block]; }

  void Serve(const TraceRequest& request) override {
    const auto request_blocks = trace_.blocks_of(request);
    size_t kept = 0;
    // What is stored already is out of the order, so that the request cannot evict its own prefix.
    while (kept < request_blocks.size() && present_[request_blocks[kept]]) {
      order_.Remove(request_blocks[kept++]);
    }
    while (kept < request_blocks.size() && (count_ < capacity_ || EvictOldestLeaf())) {
      Store(request_blocks[kept++]);
    }
    for (size_t i = request_blocks.size(); i > kept; --i) left_.push_back(request_blocks[i - 1]);
    for (size_t i = kept; i > 0; --i) order_.Touch(request_blocks[i - 1]);
  }

 private:
  void Store(uint32_t block) {
    present_[block] = true;
    ++count_;
    ++stored_;
    if (trace_.parent[block] != kNoBlockNumber) ++children_[trace_.parent[block]];
  }

  bool EvictOldestLeaf() {
    uint32_t oldest = order_.oldest();
    while (oldest != RecencyOrder::kNone && children_[oldest] > 0) {
      order_.Park(oldest);
      oldest = order_.oldest();
    }
    if (oldest == RecencyOrder::kNone) return false;
    order_.Remove(oldest);
    present_[oldest] = false;
    --count_;
    left_.push_back(oldest);
    const uint32_t parent = trace_.parent[oldest];
    if (parent != kNoBlockNumber && --children_[parent] == 0) order_.Unpark(parent);
    return true;
  }

  const BlockTrace& trace_;
  const size_t capacity_;
  size_t count_ = 0;
  RecencyOrder::Links links_;
  RecencyOrder order_{&links_};
  std::vector<bool> present_;
  std::vector<uint32_t> children_;
};

}  // namespace

std::unique_ptr<CacheModel> MakeRecencyModel(absl::string_view policy,
                                             const CacheModelOptions& options) {
  if (policy == "fifo") return std::make_unique<FifoCache>(options);
  if (policy == "lru") return std::make_unique<LruCache>(options);
  if (policy == "leaf-lru") return std::make_unique<LeafLruCache>(options);
  if (policy == "sieve") return std::make_unique<SieveCache>(options);
  return nullptr;
}

}  // namespace larder
