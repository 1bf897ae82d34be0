// The offline optimum.
#include <set>
#include <tuple>
#include <vector>

#include "tools/sim/cache_model.h"

namespace larder {
namespace {

// Keeps, after each request, the blocks whose next use is nearest (Belady, 1966, with the right not
// to store). No block is used without all before it, so of two blocks of a prefix the deeper one is
// never used earlier; on a tie the deeper one goes. So what is kept is always whole prefixes, and
// as all blocks are equally large, no other choice gives more hits.
class OptimumCache final : public CacheModel {
 public:
  explicit OptimumCache(const CacheModelOptions& options)
      : trace_(*options.trace),
        capacity_(options.capacity_blocks),
        next_use_(*options.next_use),
        kept_until_(trace_.unique_blocks(), kNeverUsed) {}

  bool Contains(uint32_t block) const override { return kept_until_[block] != kNeverUsed; }

  void Serve(const TraceRequest& request) override {
    const auto blocks = trace_.blocks_of(request);
    for (size_t i = 0; i < blocks.size(); ++i) {
      const uint32_t block = blocks[i];
      const bool was_kept = Contains(block);
      if (was_kept) kept_.erase(RankOf(block));
      kept_until_[block] = next_use_[request.first_access + i];
      if (kept_until_[block] != kNeverUsed) {
        kept_.insert(RankOf(block));
        if (!was_kept) ++stored_;
      } else if (was_kept) {
        left_.push_back(block);
      }
    }
    while (kept_.size() > capacity_) Evict();
  }

 private:
  using Rank = std::tuple<uint32_t, uint32_t, uint32_t>;  // next use, depth, block

  Rank RankOf(uint32_t block) const { return {kept_until_[block], trace_.depth[block], block}; }

  void Evict() {
    const uint32_t block = std::get<2>(*kept_.rbegin());
    kept_.erase(std::prev(kept_.end()));
    kept_until_[block] = kNeverUsed;
    left_.push_back(block);
  }

  const BlockTrace& trace_;
  const size_t capacity_;
  const std::vector<uint32_t>& next_use_;
  std::vector<uint32_t> kept_until_;  // its next use, while kept
  std::set<Rank> kept_;
};

}  // namespace

std::unique_ptr<CacheModel> MakeOptimumModel(const CacheModelOptions& options) {
  return std::make_unique<OptimumCache>(options);
}

}  // namespace larder
