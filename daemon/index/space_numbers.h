// Small numbers for the spaces whose chunks the global index knows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/ids.h"

namespace larder {

// A space has a number as long as it has entries. Pure, not thread-safe.
class SpaceNumbers {
 public:
  static constexpr uint32_t kNone = 0;
  static constexpr size_t kSpacesMax = 65536;

  // kNone when nothing is known of the space.
  uint32_t Find(const SpaceId& id) const {
    if (last_ != kNone && spaces_[last_ - 1].id == id) return last_;
    const auto found = numbers_.find(id);
    return found == numbers_.end() ? kNone : found->second;
  }
  // Gives it a number if it has none; kNone when there are too many spaces.
  uint32_t FindOrAdd(const SpaceId& id);
  void AddEntry(uint32_t number) { ++spaces_[number - 1].entries; }
  void DropEntry(uint32_t number);
  // Forgets a space that has no entries.
  void DropIfEmpty(uint32_t number);

  size_t size() const { return numbers_.size(); }

 private:
  struct Space {
    SpaceId id;
    uint64_t entries = 0;
  };

  absl::flat_hash_map<SpaceId, uint32_t> numbers_;
  std::vector<Space> spaces_;
  std::vector<uint32_t> free_;
  uint32_t last_ = kNone;  // the one that was last asked for: the next event is often of the same
};

}  // namespace larder
