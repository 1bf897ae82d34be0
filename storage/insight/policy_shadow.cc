#include <vector>

#include "storage/insight/shadow_cache.h"
#include "storage/policy/eviction_policy.h"

namespace larder {
namespace {

// The stored prefix is held while the rest comes in, each missing chunk takes the place of victims
// that are worth less, and at the end all is touched, deepest first. A chunk's parent is the
// nearest chunk before it that is in the sample.
class PolicyShadow final : public ShadowCache {
 public:
  void SetCapacity(uint64_t bytes) override { capacity_bytes_ = bytes; }

  size_t Serve(std::span<const SampledChunk> chunks, MonotonicTime now) override {
    for (const SampledChunk& chunk : chunks) {
      if (chunk.slot >= nodes_.size()) nodes_.resize(chunk.slot + size_t{1});
    }
    MakeRoom(0, nullptr, now);  // it may have shrunk
    size_t hits = 0;
    while (hits < chunks.size() && nodes_[chunks[hits].slot].stored) {
      SetParent(chunks, hits);
      ++hits;
    }
    size_t kept = hits;
    held_ = hits > 0 ? chunks[hits - 1].slot : LruStack::kNone;
    while (kept < chunks.size() && Store(chunks, kept, now)) ++kept;
    held_ = LruStack::kNone;
    for (size_t i = chunks.size(); i-- > 0;) {
      if (nodes_[chunks[i].slot].stored) {
        policy_.Touch(chunks[i].slot, MayGo(chunks[i].slot), now);
      } else {
        policy_.Refuse(TraitsOf(chunks[i]), now);
      }
    }
    return hits;
  }

  void Forget(uint32_t slot) override {
    if (slot < nodes_.size() && nodes_[slot].stored) Evict(slot);
  }

 private:
  static constexpr uint32_t kLooksMax = 256;

  struct Node {
    uint64_t bytes = 0;
    uint32_t depth = 0;
    uint32_t parent = LruStack::kNone;
    uint32_t parent_generation = 0;
    uint32_t children = 0;    // stored ones
    uint32_t generation = 0;  // of the slot: how often it was stored
    bool stored = false;
  };

  static ChunkTraits TraitsOf(const SampledChunk& chunk) {
    // The policy samples by the key too: independent of what this sample is chosen by.
    uint64_t key = chunk.hash * 0xd6e8feb86659fd93u;
    key ^= key >> 32;
    return {.key = key * 0xd6e8feb86659fd93u,
            .depth = chunk.depth,
            .bytes = chunk.bytes,
            .recompute_cost = chunk.recompute_cost,
            .category = chunk.category};
  }

  bool Store(std::span<const SampledChunk> chunks, size_t position, MonotonicTime now) {
    const SampledChunk& chunk = chunks[position];
    Node& node = nodes_[chunk.slot];
    if (!node.stored) {
      if (!MakeRoom(chunk.bytes, &chunk, now)) return false;
      policy_.Insert(chunk.slot, TraitsOf(chunk), now);
      node = {.bytes = chunk.bytes,
              .depth = chunk.depth,
              .parent = LruStack::kNone,
              .parent_generation = 0,
              .children = 0,
              .generation = node.generation + 1,
              .stored = true};
      used_bytes_ += chunk.bytes;
    }
    SetParent(chunks, position);
    return true;
  }

  // Evicts until `bytes` fit. False when nothing more may go, or what would go is worth more than
  // `newcomer`.
  bool MakeRoom(uint64_t bytes, const SampledChunk* newcomer, MonotonicTime now) {
    while (used_bytes_ + bytes > capacity_bytes_) {
      const uint32_t victim =
          policy_.Victim(now, kLooksMax, [this](uint32_t slot) { return MayGo(slot); });
      if (victim == EvictionPolicy::kNone) return false;
      if (newcomer != nullptr && !policy_.Admits(TraitsOf(*newcomer), victim, now)) return false;
      Evict(victim);
    }
    return true;
  }

  void Evict(uint32_t slot) {
    policy_.Remove(slot);
    Unlink(slot);
    nodes_[slot].stored = false;
    used_bytes_ -= nodes_[slot].bytes;
  }

  // The chunk before it in the request becomes its parent. Only a shallower one, so that no
  // request, whatever it names, makes a circle.
  void SetParent(std::span<const SampledChunk> chunks, size_t position) {
    const uint32_t slot = chunks[position].slot;
    Node& node = nodes_[slot];
    const uint32_t parent = position == 0 ? LruStack::kNone : chunks[position - 1].slot;
    if (parent == LruStack::kNone || nodes_[parent].depth >= node.depth) return;
    if (node.parent == parent && node.parent_generation == nodes_[parent].generation) return;
    Unlink(slot);
    node.parent = parent;
    node.parent_generation = nodes_[parent].generation;
    ++nodes_[parent].children;
  }

  void Unlink(uint32_t slot) {
    Node& node = nodes_[slot];
    const uint32_t parent = node.parent;
    node.parent = LruStack::kNone;
    if (parent == LruStack::kNone || !nodes_[parent].stored ||
        nodes_[parent].generation != node.parent_generation) {
      return;
    }
    --nodes_[parent].children;
    if (MayGo(parent)) policy_.Reconsider(parent);
  }

  bool MayGo(uint32_t slot) const { return nodes_[slot].children == 0 && slot != held_; }

  PolicyItems items_;
  EvictionPolicy policy_{&items_};
  uint32_t held_ = LruStack::kNone;  // the last chunk of the prefix that is being served
  std::vector<Node> nodes_;          // by slot
  uint64_t capacity_bytes_ = 0;
  uint64_t used_bytes_ = 0;
};

}  // namespace

std::unique_ptr<ShadowCache> MakePolicyShadow() { return std::make_unique<PolicyShadow>(); }

}  // namespace larder
