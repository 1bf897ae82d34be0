#include "daemon/index/space_numbers.h"

namespace larder {

uint32_t SpaceNumbers::FindOrAdd(const SpaceId& id) {
  uint32_t number = Find(id);
  if (number == kNone) {
    if (numbers_.size() >= kSpacesMax) return kNone;
    if (free_.empty()) {
      spaces_.emplace_back();
      free_.push_back(static_cast<uint32_t>(spaces_.size()));
    }
    number = free_.back();
    free_.pop_back();
    spaces_[number - 1] = {.id = id, .entries = 0};
    numbers_.emplace(id, number);
  }
  last_ = number;
  return number;
}

void SpaceNumbers::DropEntry(uint32_t number) {
  --spaces_[number - 1].entries;
  DropIfEmpty(number);
}

void SpaceNumbers::DropIfEmpty(uint32_t number) {
  Space& space = spaces_[number - 1];
  if (space.entries > 0) return;
  numbers_.erase(space.id);
  free_.push_back(number);
  if (last_ == number) last_ = kNone;
}

}  // namespace larder
