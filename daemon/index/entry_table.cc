#include "daemon/index/entry_table.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "common/check.h"

namespace larder {
namespace {

constexpr size_t kFirstCapacity = 8192;
// The table grows by a sixth when this share of it is full: 49 to 58 bytes an entry. Fuller, more
// entries lie lines behind their homes.
constexpr size_t kFullPercent = 65;
constexpr size_t kGrowthShare = 6;
// Slots that each insertion looks at while the table grows. Growth is over after capacity/16
// insertions, before the next one is due after some capacity/9.
constexpr size_t kMovesPerInsertion = 16;
// In the cache line after that of an entry's home.
constexpr size_t kSlotsAhead = 2;
// More would not fit the numbers of chunks that anything else here counts in.
constexpr size_t kEntriesMax = size_t{1} << 36;

}  // namespace

absl::StatusOr<std::unique_ptr<EntryTable>> EntryTable::Create(size_t entries_max) {
  if (entries_max == 0 || entries_max > kEntriesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("an index of ", entries_max, " entries: it has 1 to ", kEntriesMax));
  }
  const size_t capacity_max = std::max(kFirstCapacity, entries_max * 100 / kFullPercent + 1);
  ASSIGN_OR_RETURN(MemoryMapping memory,
                   MemoryMapping::MapAnonymous((capacity_max + kTailSlots) * sizeof(IndexEntry)));
  return std::unique_ptr<EntryTable>(new EntryTable(std::move(memory), entries_max, capacity_max));
}

EntryTable::EntryTable(MemoryMapping memory, size_t entries_max, size_t capacity_max)
    : memory_(std::move(memory)),
      slots_(reinterpret_cast<IndexEntry*>(memory_.data())),
      entries_max_(entries_max),
      capacity_max_(capacity_max),
      capacity_(std::min(kFirstCapacity, capacity_max)),
      previous_capacity_(capacity_) {}

void EntryTable::Prefetch(uint64_t hash) const {
  const IndexEntry* home = &slots_[Home(hash)];
  __builtin_prefetch(home);
  __builtin_prefetch(home + kSlotsAhead);
}

void EntryTable::PrefetchMore(uint64_t hash) const {
  const IndexEntry* last = &slots_[Home(hash) + kSlotsAhead];
  // Without a branch, which nobody could foresee.
  __builtin_prefetch(last + (last->hash < hash ? kSlotsAhead : 0));
}

size_t EntryTable::Find(const EntryName& name) const {
  for (size_t slot = Home(name.hash); slot < end(); ++slot) {
    const IndexEntry& entry = slots_[slot];
    if (entry.empty() || entry.hash > name.hash) break;
    if (entry.Is(name)) return slot;
  }
  return kNone;
}

size_t EntryTable::Insert(const EntryName& name) {
  if (size_ >= entries_max_) return kNone;
  if (growing()) {
    MoveSome(kMovesPerInsertion);
  } else if (size_ * 100 >= capacity_ * kFullPercent && capacity_ < capacity_max_) {
    BeginGrowth();
  }
  IndexEntry entry;
  entry.hash = name.hash;
  entry.rest = name.rest;
  entry.space = name.space;
  const size_t slot = Place(entry);
  if (slot != kNone) ++size_;
  return slot;
}

size_t EntryTable::Place(const IndexEntry& entry) {
  size_t slot = Home(entry.hash);
  while (slot < end() && !slots_[slot].empty() && slots_[slot].hash <= entry.hash) ++slot;
  size_t gap = slot;
  while (gap < end() && !slots_[gap].empty()) ++gap;
  if (gap >= end()) return kNone;
  std::move_backward(slots_ + slot, slots_ + gap, slots_ + gap + 1);
  slots_[slot] = entry;
  if (growing() && entry.hash <= unmoved_through_) move_end_ = std::max(move_end_, gap + 1);
  return slot;
}

void EntryTable::Erase(size_t slot) {
  size_t hole = slot;
  for (size_t next = hole + 1;
       next < end() && !slots_[next].empty() && Home(slots_[next].hash) < next; ++next) {
    slots_[hole] = slots_[next];
    hole = next;
  }
  slots_[hole] = IndexEntry{};
  --size_;
}

size_t EntryTable::LowerBound(uint64_t hash) const {
  size_t slot = Home(hash);
  while (slot < end() && (slots_[slot].empty() || slots_[slot].hash < hash)) ++slot;
  return slot;
}

void EntryTable::BeginGrowth() {
  move_end_ = end();
  unmoved_through_ = std::numeric_limits<uint64_t>::max();
  capacity_ = std::min(capacity_max_, capacity_ + capacity_ / kGrowthShare);
}

void EntryTable::MoveSome(size_t slots) {
  for (; slots > 0 && move_end_ > 0; --slots) {
    const IndexEntry& entry = slots_[move_end_ - 1];
    if (entry.empty() || entry.hash > unmoved_through_) {
      --move_end_;
    } else {
      MoveLast();
    }
  }
  if (move_end_ == 0) previous_capacity_ = capacity_;
}

// The entries of the largest hash that has not moved yet, nearly always one, move together: the
// hash decides which of the two capacities counts.
void EntryTable::MoveLast() {
  const uint64_t hash = slots_[move_end_ - 1].hash;
  absl::InlinedVector<IndexEntry, 1> moving;
  while (move_end_ > 0 && !slots_[move_end_ - 1].empty() && slots_[move_end_ - 1].hash == hash) {
    --move_end_;
    moving.push_back(slots_[move_end_]);
    Erase(move_end_);
  }
  if (hash == 0) {
    previous_capacity_ = capacity_;  // that was the last of all
  } else {
    unmoved_through_ = hash - 1;
  }
  for (const IndexEntry& entry : moving) {
    LARDER_CHECK(Place(entry) != kNone);  // there are more slots behind it than before
    ++size_;
  }
}

}  // namespace larder
