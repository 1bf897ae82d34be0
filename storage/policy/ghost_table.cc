#include "storage/policy/ghost_table.h"

#include <algorithm>
#include <bit>

namespace larder {
namespace {

// 512 KiB: a small cache remembers many times what it holds.
constexpr size_t kSetsMin = 1 << 14;
constexpr uint32_t kUsesMax = 255;
constexpr uint32_t kTimeMask = 0xffffff00u;

}  // namespace

void GhostTable::Reserve(size_t records) {
  const size_t sets = std::bit_ceil(std::max(kSetsMin, records / std::tuple_size_v<Set>));
  if (sets > sets_.size()) sets_.assign(sets, Set{});
}

void GhostTable::Remember(uint64_t key, Record record, PolicyTicks now) {
  if (sets_.empty() || record.uses == 0) return;
  const auto tag = static_cast<uint32_t>(key);
  Slot* chosen = nullptr;
  uint32_t chosen_age = 0;
  for (Slot& slot : sets_[SetOf(key)]) {
    const bool free = slot.time_and_uses == 0;
    if (slot.tag == tag || free) {
      chosen = &slot;
      break;
    }
    const uint32_t age = now - (slot.time_and_uses & kTimeMask);
    if (chosen == nullptr || age > chosen_age) {
      chosen = &slot;
      chosen_age = age;
    }
  }
  *chosen = {.tag = tag,
             .time_and_uses = (record.last_use & kTimeMask) | std::min(record.uses, kUsesMax)};
}

GhostTable::Record GhostTable::Find(uint64_t key) const {
  if (sets_.empty()) return {};
  for (const Slot& slot : sets_[SetOf(key)]) {
    if (slot.tag != static_cast<uint32_t>(key) || slot.time_and_uses == 0) continue;
    return {.uses = slot.time_and_uses & ~kTimeMask, .last_use = slot.time_and_uses & kTimeMask};
  }
  return {};
}

GhostTable::Record GhostTable::Take(uint64_t key) {
  const Record record = Find(key);
  if (record.uses == 0) return record;
  for (Slot& slot : sets_[SetOf(key)]) {
    if (slot.tag == static_cast<uint32_t>(key)) slot = {};
  }
  return record;
}

}  // namespace larder
