// The exact least-recently-used order over chunks that may go.
#pragma once

#include "storage/policy/chunk_order.h"
#include "storage/policy/recency_order.h"

namespace larder {

// Admits everything and learns nothing. 8 bytes an item. See ChunkOrder for the rest.
class LruOrder final : public ChunkOrder {
 public:
  // `links` must outlive this.
  explicit LruOrder(RecencyOrder::Links* links) : links_(*links), order_(links) {}

  void Insert(uint32_t, const ChunkTraits&, MonotonicTime) override {}
  void Touch(uint32_t item, bool, MonotonicTime) override { order_.Touch(item); }
  void Remove(uint32_t item) override { order_.Remove(item); }
  void Reconsider(uint32_t item) override { order_.Unpark(item); }
  void SetAside(uint32_t item) override { order_.Park(item); }
  void LetGoFirst(uint32_t item) override {
    order_.Park(item);
    order_.Unpark(item);
  }
  void Prefetch(uint32_t item) const override {
    if (item < links_.size()) __builtin_prefetch(&links_[item]);
  }
  uint32_t Victim(MonotonicTime, uint32_t looks_max,
                  absl::FunctionRef<bool(uint32_t)> may_go) override {
    for (uint32_t looks = 0; looks < looks_max; ++looks) {
      const uint32_t oldest = order_.oldest();
      if (oldest == kNone || may_go(oldest)) return oldest;
      order_.Park(oldest);
    }
    return kNone;
  }
  Standing StandingOf(uint32_t) const override { return {}; }
  bool Admits(const ChunkTraits&, uint32_t, MonotonicTime) override { return true; }
  void Refuse(const ChunkTraits&, MonotonicTime) override {}

 private:
  RecencyOrder::Links& links_;
  RecencyOrder order_;
};

}  // namespace larder
