// The daemon's own policy as a simulated cache.
#include <algorithm>
#include <utility>
#include <vector>

#include "common/hash.h"
#include "storage/policy/eviction_policy.h"
#include "tools/sim/cache_model.h"

namespace larder {
namespace {

// Does what the daemon does: the stored prefix is held while the rest comes in, each missing chunk
// takes the place of a victim that is worth less, and at the end all is touched, deepest first.
class LarderCache final : public CacheModel {
 public:
  explicit LarderCache(const CacheModelOptions& options)
      : trace_(*options.trace),
        capacity_(options.capacity_blocks),
        block_bytes_(options.block_bytes),
        cost_(options.cost),
        present_(trace_.unique_blocks()),
        children_(trace_.unique_blocks()) {}

  bool Contains(uint32_t block) const override { return present_[block]; }

  void Serve(const TraceRequest& request) override {
    const auto blocks = trace_.blocks_of(request);
    size_t hits = 0;
    while (hits < blocks.size() && present_[blocks[hits]]) ++hits;
    // Of what is held only the last block could be a victim; the others have a successor.
    held_ = hits > 0 ? blocks[hits - 1] : kNoBlockNumber;
    Touch(blocks.subspan(0, hits), request.time);
    size_t kept = hits;
    while (kept < blocks.size() && MakeRoom(request, kept)) ++kept;
    for (size_t i = blocks.size(); i > kept; --i) {
      policy_.Refuse(TraitsOf(request, i - 1), request.time);
      left_.push_back(blocks[i - 1]);
    }
    for (size_t i = hits; i < kept; ++i) Store(request, i);
    Touch(blocks.subspan(hits, kept - hits), request.time);
    if (held_ == kNoBlockNumber) return;
    const uint32_t released = std::exchange(held_, kNoBlockNumber);
    if (MayGo(released)) policy_.Reconsider(released);
  }

 private:
  static constexpr uint32_t kLooksMax = 1 << 15;  // as in the daemon
  static constexpr uint8_t kFullBlock = 0;
  static constexpr uint8_t kPartialBlock = 1;

  bool MayGo(uint32_t block) const { return children_[block] == 0 && block != held_; }

  void Touch(std::span<const uint32_t> blocks, MonotonicTime now) {
    for (size_t i = blocks.size(); i > 0; --i) {
      policy_.Touch(blocks[i - 1], MayGo(blocks[i - 1]), now);
    }
  }

  bool MakeRoom(const TraceRequest& request, size_t position) {
    if (count_ >= capacity_) {
      const uint32_t victim = policy_.Victim(
          request.time, kLooksMax, [this](uint32_t candidate) { return MayGo(candidate); });
      if (victim == EvictionPolicy::kNone) return false;
      if (!policy_.Admits(TraitsOf(request, position), victim, request.time)) return false;
      Evict(victim);
    }
    ++count_;
    return true;
  }

  void Store(const TraceRequest& request, size_t position) {
    const uint32_t block = trace_.blocks_of(request)[position];
    policy_.Insert(block, TraitsOf(request, position), request.time);
    present_[block] = true;
    ++stored_;
    const uint32_t parent = trace_.parent[block];
    if (parent != kNoBlockNumber) ++children_[parent];
  }

  void Evict(uint32_t block) {
    policy_.Remove(block);
    present_[block] = false;
    --count_;
    left_.push_back(block);
    const uint32_t parent = trace_.parent[block];
    if (parent == kNoBlockNumber) return;
    --children_[parent];
    if (MayGo(parent)) policy_.Reconsider(parent);
  }

  ChunkTraits TraitsOf(const TraceRequest& request, size_t position) const {
    const double begin = static_cast<double>(position) * trace_.tokens_per_block;
    const bool full = (position + 1) * trace_.tokens_per_block <= request.tokens;
    const uint64_t number = trace_.blocks_of(request)[position];
    return {.key = HashBytes({reinterpret_cast<const uint8_t*>(&number), sizeof(number)}).low,
            .depth = static_cast<uint32_t>(position),
            .bytes = block_bytes_,
            .recompute_cost = cost_.Range(begin, begin + trace_.tokens_per_block),
            .category = full ? kFullBlock : kPartialBlock};
  }

  const BlockTrace& trace_;
  const size_t capacity_;
  const uint64_t block_bytes_;
  const CostModel cost_;
  PolicyItems items_;
  EvictionPolicy policy_{&items_};
  uint32_t held_ = kNoBlockNumber;
  size_t count_ = 0;
  std::vector<bool> present_;
  std::vector<uint32_t> children_;
};

}  // namespace

std::unique_ptr<CacheModel> MakeLarderModel(const CacheModelOptions& options) {
  return std::make_unique<LarderCache>(options);
}

}  // namespace larder
