#include <algorithm>
#include <array>
#include <vector>

#include "storage/insight/shadow_cache.h"

namespace larder {
namespace {

// Chunk by chunk, as published: a small queue that newcomers pass through, a main queue for what
// was used there again, and the names of what the small queue let go. Sizes are in bytes.
class S3FifoShadow final : public ShadowCache {
 public:
  void SetCapacity(uint64_t bytes) override { capacity_bytes_ = bytes; }

  size_t Serve(std::span<const SampledChunk> chunks, MonotonicTime) override {
    for (const SampledChunk& chunk : chunks) {
      if (chunk.slot >= nodes_.size()) nodes_.resize(chunk.slot + size_t{1});
    }
    size_t hits = 0;
    while (hits < chunks.size() && IsStored(chunks[hits].slot)) ++hits;
    for (size_t i = chunks.size(); i-- > 0;) Use(chunks[i]);
    return hits;
  }

  void Forget(uint32_t slot) override {
    if (slot < nodes_.size()) TakeOut(slot);
  }

 private:
  enum Queue : uint8_t { kSmall, kMain, kGhost, kQueues, kNowhere = kQueues };
  static constexpr uint32_t kNone = LruStack::kNone;
  static constexpr uint8_t kUsesMax = 3;
  static constexpr uint64_t kSmallShare = 10;

  struct Node {
    uint64_t bytes = 0;
    uint32_t older = kNone;
    uint32_t newer = kNone;
    Queue queue = kNowhere;
    uint8_t uses = 0;  // since it was stored, less those that main spent
  };
  struct Ends {
    uint32_t oldest = kNone;
    uint32_t newest = kNone;
    uint64_t bytes = 0;
  };

  bool IsStored(uint32_t slot) const { return nodes_[slot].queue <= kMain; }
  uint64_t small_max() const { return capacity_bytes_ / kSmallShare; }

  void Use(const SampledChunk& chunk) {
    Node& node = nodes_[chunk.slot];
    if (IsStored(chunk.slot)) {
      node.uses = std::min<uint8_t>(kUsesMax, node.uses + 1);
      return;
    }
    const bool is_ghost = node.queue == kGhost;
    TakeOut(chunk.slot);
    if (chunk.bytes > capacity_bytes_) return;
    while (queues_[kSmall].bytes + queues_[kMain].bytes + chunk.bytes > capacity_bytes_) EvictOne();
    node.bytes = chunk.bytes;
    node.uses = 0;
    PutIn(is_ghost ? kMain : kSmall, chunk.slot);
  }

  // REQUIRES: something is stored.
  void EvictOne() {
    const bool small = queues_[kSmall].oldest != kNone &&
                       (queues_[kSmall].bytes >= small_max() || queues_[kMain].oldest == kNone);
    small ? ShrinkSmall() : ShrinkMain();
  }

  void ShrinkSmall() {
    const uint32_t slot = queues_[kSmall].oldest;
    TakeOut(slot);
    if (nodes_[slot].uses > 1) {
      PutIn(kMain, slot);
      if (queues_[kMain].bytes > capacity_bytes_ - small_max()) ShrinkMain();
      return;
    }
    PutIn(kGhost, slot);
    while (queues_[kGhost].bytes > capacity_bytes_ - small_max()) {
      TakeOut(queues_[kGhost].oldest);
    }
  }

  void ShrinkMain() {
    for (;;) {
      const uint32_t slot = queues_[kMain].oldest;
      TakeOut(slot);
      if (nodes_[slot].uses == 0) return;
      --nodes_[slot].uses;
      PutIn(kMain, slot);
    }
  }

  void PutIn(Queue queue, uint32_t slot) {
    Node& node = nodes_[slot];
    Ends& ends = queues_[queue];
    node.queue = queue;
    node.older = ends.newest;
    node.newer = kNone;
    (ends.newest != kNone ? nodes_[ends.newest].newer : ends.oldest) = slot;
    ends.newest = slot;
    ends.bytes += node.bytes;
  }

  void TakeOut(uint32_t slot) {
    Node& node = nodes_[slot];
    if (node.queue == kNowhere) return;
    Ends& ends = queues_[node.queue];
    (node.older != kNone ? nodes_[node.older].newer : ends.oldest) = node.newer;
    (node.newer != kNone ? nodes_[node.newer].older : ends.newest) = node.older;
    ends.bytes -= node.bytes;
    node.queue = kNowhere;
  }

  std::array<Ends, kQueues> queues_;
  std::vector<Node> nodes_;  // by slot
  uint64_t capacity_bytes_ = 0;
};

}  // namespace

std::unique_ptr<ShadowCache> MakeS3FifoShadow() { return std::make_unique<S3FifoShadow>(); }

}  // namespace larder
