// Caches that evict the lowest of a number: LFU, GDSF, PGDSF.
#include <set>
#include <tuple>
#include <vector>

#include "tools/sim/block_cache.h"

namespace larder {
namespace {

// Evicts the block of the lowest priority, among equal ones the least recently used.
class PriorityCache : public BlockCache {
 public:
  explicit PriorityCache(const CacheModelOptions& options)
      : BlockCache(options), entries_(blocks()) {}

  bool Contains(uint32_t block) const final { return entries_[block].present; }

 protected:
  struct Entry {
    double priority = 0;
    uint64_t last_use = 0;
    uint32_t uses = 0;
    bool present = false;
  };

  // Called at each use, when `entry.uses` has been counted.
  virtual double PriorityOf(uint32_t block, const Entry& entry) = 0;
  // Called when a block of this priority was evicted.
  virtual void OnEviction(double) {}
  // Whether the block can be evicted now.
  virtual bool MayGo(uint32_t) const { return true; }
  virtual void OnStore(uint32_t) {}
  virtual void OnEvict(uint32_t) {}
  // A block that could not be evicted can be now.
  void Reconsider(uint32_t block) {
    if (entries_[block].present) order_.insert(RankOf(block));
  }
  void Withdraw(uint32_t block) {
    if (entries_[block].present) order_.erase(RankOf(block));
  }

 private:
  using Rank = std::tuple<double, uint64_t, uint32_t>;

  Rank RankOf(uint32_t block) const {
    return {entries_[block].priority, entries_[block].last_use, block};
  }

  void Use(uint32_t block) final {
    Entry& entry = entries_[block];
    if (entry.present) {
      order_.erase(RankOf(block));
    } else {
      if (count_ >= capacity_ && !EvictLowest()) return left_.push_back(block);
      entry = {.present = true};
      ++count_;
      ++stored_;
      OnStore(block);
    }
    ++entry.uses;
    entry.last_use = ++clock_;
    entry.priority = PriorityOf(block, entry);
    if (MayGo(block)) order_.insert(RankOf(block));
  }

  bool EvictLowest() {
    if (order_.empty()) return false;
    const uint32_t victim = std::get<uint32_t>(*order_.begin());
    order_.erase(order_.begin());
    entries_[victim].present = false;
    --count_;
    left_.push_back(victim);
    OnEviction(entries_[victim].priority);
    OnEvict(victim);
    return true;
  }

  std::vector<Entry> entries_;
  std::set<Rank> order_;
  size_t count_ = 0;
  uint64_t clock_ = 0;
};

class LfuCache final : public PriorityCache {
 public:
  using PriorityCache::PriorityCache;

 private:
  double PriorityOf(uint32_t, const Entry& entry) override { return entry.uses; }
};

// Greedy dual size frequency (Cherkasova, HP Labs 1998) for blocks of equal size and cost.
class GdsfCache final : public PriorityCache {
 public:
  using PriorityCache::PriorityCache;

 private:
  double PriorityOf(uint32_t, const Entry& entry) override { return inflation_ + entry.uses; }
  void OnEviction(double priority) override { inflation_ = priority; }

  double inflation_ = 0;
};

// RAGCache's prefix-aware variant (Jin and others, 2024): the cost is what computing the block
// takes behind its prefix, and only leaves go.
class PgdsfCache final : public PriorityCache {
 public:
  explicit PgdsfCache(const CacheModelOptions& options)
      : PriorityCache(options), cost_(options.cost), children_(blocks()) {}

 private:
  double PriorityOf(uint32_t block, const Entry& entry) override {
    const auto tokens = static_cast<double>(trace_.tokens_per_block);
    const double begin = tokens * trace_.depth[block];
    return inflation_ + entry.uses * cost_.Range(begin, begin + tokens) / tokens;
  }
  void OnEviction(double priority) override { inflation_ = std::max(inflation_, priority); }
  bool MayGo(uint32_t block) const override { return children_[block] == 0; }

  void OnStore(uint32_t block) override {
    const uint32_t parent = trace_.parent[block];
    if (parent != kNoBlockNumber && children_[parent]++ == 0) Withdraw(parent);
  }
  void OnEvict(uint32_t block) override {
    const uint32_t parent = trace_.parent[block];
    if (parent != kNoBlockNumber && --children_[parent] == 0) Reconsider(parent);
  }

  CostModel cost_;
  std::vector<uint32_t> children_;
  double inflation_ = 0;
};

}  // namespace

std::unique_ptr<CacheModel> MakePriorityModel(absl::string_view policy,
                                              const CacheModelOptions& options) {
  if (policy == "lfu") return std::make_unique<LfuCache>(options);
  if (policy == "gdsf") return std::make_unique<GdsfCache>(options);
  if (policy == "pgdsf") return std::make_unique<PgdsfCache>(options);
  return nullptr;
}

}  // namespace larder
