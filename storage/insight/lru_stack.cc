#include "storage/insight/lru_stack.h"

namespace larder {
namespace {

// Positions last for so many uses of each key before they are numbered anew.
constexpr size_t kPositionsPerKey = 2;

}  // namespace

uint32_t LruStack::Find(uint64_t key) const {
  const auto found = slot_of_.find(key);
  return found == slot_of_.end() ? kNone : found->second;
}

uint64_t LruStack::BytesSince(uint32_t slot) const {
  uint64_t until = 0;  // the bytes at positions up to the slot's own
  for (uint32_t end = slots_[slot].position + 1; end > 0; end &= end - 1) until += sums_[end - 1];
  return bytes_ - until;
}

uint32_t LruStack::Insert(uint64_t key, uint64_t bytes, PolicyTicks now) {
  uint32_t slot;
  if (free_.empty()) {
    slot = static_cast<uint32_t>(slots_.size());
    slots_.emplace_back();
  } else {
    slot = free_.back();
    free_.pop_back();
  }
  slots_[slot].key = key;
  slot_of_[key] = slot;
  PutLast(slot, bytes, now);
  return slot;
}

void LruStack::Touch(uint32_t slot, uint64_t bytes, PolicyTicks now) {
  TakeOut(slot);
  PutLast(slot, bytes, now);
}

void LruStack::Remove(uint32_t slot) {
  TakeOut(slot);
  slot_of_.erase(slots_[slot].key);
  slots_[slot] = {};
  free_.push_back(slot);
}

uint32_t LruStack::oldest() {
  while (slot_at_[oldest_position_] == kNone) ++oldest_position_;
  return slot_at_[oldest_position_];
}

void LruStack::PutLast(uint32_t slot, uint64_t bytes, PolicyTicks now) {
  if (slot_at_.empty()) {
    slot_at_.resize(keys_max_ * kPositionsPerKey, kNone);
    sums_.resize(slot_at_.size());
  }
  if (next_position_ == slot_at_.size()) Renumber();
  slots_[slot].bytes = bytes;
  slots_[slot].position = next_position_;
  slots_[slot].last_use = now;
  slot_at_[next_position_] = slot;
  AddAt(next_position_++, bytes);
  bytes_ += bytes;
}

void LruStack::TakeOut(uint32_t slot) {
  Slot& taken = slots_[slot];
  AddAt(taken.position, 0 - taken.bytes);
  bytes_ -= taken.bytes;
  slot_at_[taken.position] = kNone;
  taken.position = kNone;
}

// Modulo 2^64, so that taking away is adding too.
void LruStack::AddAt(uint32_t position, uint64_t bytes) {
  for (size_t i = position; i < sums_.size(); i |= i + 1) sums_[i] += bytes;
}

void LruStack::Renumber() {
  uint32_t next = 0;
  for (uint32_t position = oldest_position_; position < next_position_; ++position) {
    const uint32_t slot = slot_at_[position];
    if (slot == kNone) continue;
    slot_at_[position] = kNone;
    slot_at_[next] = slot;
    slots_[slot].position = next++;
  }
  next_position_ = next;
  oldest_position_ = 0;
  // Each node gets its own bytes, then hands its sum up.
  sums_.assign(sums_.size(), 0);
  for (size_t i = 0; i < sums_.size(); ++i) {
    if (i < next) sums_[i] += slots_[slot_at_[i]].bytes;
    if ((i | (i + 1)) < sums_.size()) sums_[i | (i + 1)] += sums_[i];
  }
}

}  // namespace larder
