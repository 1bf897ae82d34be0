// What a node that leaves would like to leave to others: the most valued first.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "daemon/cluster/fetch_name.h"

namespace larder {

struct DrainChunk {
  FetchName name;
  uint64_t bytes = 0;
  double value = 0;  // whatever the policy says; only the order counts
};

// Takes chunks in any order, keeps the most valued of them, and gives those out in order. A plain
// value; not thread-safe.
class DrainList {
 public:
  explicit DrainList(size_t capacity) : capacity_(capacity) {}

  // REQUIRES: nothing was taken yet.
  void Add(const DrainChunk& chunk) {
    if (chunks_.size() == capacity_) {
      ++dropped_;
      if (capacity_ == 0 || !MoreValued(chunk, chunks_.front())) return;
      std::pop_heap(chunks_.begin(), chunks_.end(), MoreValued);
      chunks_.pop_back();
    }
    chunks_.push_back(chunk);
    std::push_heap(chunks_.begin(), chunks_.end(), MoreValued);
  }
  // All were added.
  void Seal() {
    // The least valued comes first, so that the next one to take is the last.
    std::sort(chunks_.begin(), chunks_.end(),
              [](const DrainChunk& a, const DrainChunk& b) { return MoreValued(b, a); });
  }
  std::optional<DrainChunk> Take() {
    if (chunks_.empty()) return std::nullopt;
    const DrainChunk chunk = chunks_.back();
    chunks_.pop_back();
    return chunk;
  }

  size_t size() const { return chunks_.size(); }
  // Not kept for want of room.
  uint64_t dropped() const { return dropped_; }

 private:
  static bool MoreValued(const DrainChunk& a, const DrainChunk& b) {
    return a.value != b.value ? a.value > b.value : a.name < b.name;
  }

  size_t capacity_;
  std::vector<DrainChunk> chunks_;  // a heap with the least valued on top, until it is sealed
  uint64_t dropped_ = 0;
};

}  // namespace larder
