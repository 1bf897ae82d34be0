#include "storage/catalog/hash_index.h"

#include "common/check.h"

namespace larder {
namespace {

constexpr int kInitialBits = 10;

}  // namespace

HashIndex::HashIndex(uint64_t seed)
    : seed_(seed), shift_(32 - kInitialBits), slots_(size_t{1} << kInitialBits) {}

uint32_t HashIndex::TagOf(uint32_t space, const KeyHash& key) const {
  // One 64x64 -> 128 bit multiplication folded, as in wyhash: both inputs are masked by the seed.
  const uint64_t left = key.low ^ seed_;
  const uint64_t right = key.high ^ (seed_ * 0x9e3779b97f4a7c15u) ^ (space * 0xd6e8feb86659fd93u);
  const unsigned __int128 product = static_cast<unsigned __int128>(left) * (right | 1);
  return static_cast<uint32_t>(
      (static_cast<uint64_t>(product >> 64) ^ static_cast<uint64_t>(product)) >> 32);
}

void HashIndex::Insert(uint32_t tag, uint32_t value) {
  if ((size_ + 1) * 10 > slots_.size() * 7) Grow();
  size_t at = Home(tag);
  while (slots_[at].value_plus_one != 0) at = Next(at);
  slots_[at] = {.tag = tag, .value_plus_one = value + 1};
  ++size_;
}

void HashIndex::Erase(uint32_t tag, uint32_t value) {
  size_t at = Home(tag);
  while (slots_[at].tag != tag || slots_[at].value_plus_one != value + 1) {
    LARDER_CHECK(slots_[at].value_plus_one != 0);
    at = Next(at);
  }
  // Backward shift: pull later slots of the same run into the hole, so that no tombstone is needed.
  size_t hole = at;
  for (size_t next = Next(hole); slots_[next].value_plus_one != 0; next = Next(next)) {
    const size_t mask = slots_.size() - 1;
    const size_t distance_from_home = (next - Home(slots_[next].tag)) & mask;
    if (distance_from_home >= ((next - hole) & mask)) {
      slots_[hole] = slots_[next];
      hole = next;
    }
  }
  slots_[hole] = Slot{};
  --size_;
}

void HashIndex::Grow() {
  LARDER_CHECK(shift_ > 0);
  std::vector<Slot> previous(slots_.size() * 2);
  previous.swap(slots_);
  --shift_;
  size_ = 0;
  for (const Slot& slot : previous) {
    if (slot.value_plus_one == 0) continue;
    size_t at = Home(slot.tag);
    while (slots_[at].value_plus_one != 0) at = Next(at);
    slots_[at] = slot;
    ++size_;
  }
}

}  // namespace larder
