// The memory of the global index: a hash table in one stretch, kept in the order of the hashes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>

#include "common/file_descriptor.h"
#include "common/status.h"

namespace larder {

// Names an entry. The 128 bits of a key are kept in a permutation of them that depends on a secret
// seed (global_index.cc), so that `hash` is spread evenly whoever chooses the keys, and no bit of
// the key has to be kept beside it.
struct EntryName {
  uint64_t hash = 0;
  uint64_t rest = 0;
  uint32_t space = 0;  // not 0, less than 2^24
};

// How many holders an entry has room for itself; of more, they are in a list elsewhere.
inline constexpr size_t kInlineHolders = 4;

// Two of them fill a cache line, and none lies across two.
struct IndexEntry {
  uint64_t hash = 0;
  uint64_t rest = 0;
  uint32_t pages = 0;
  uint32_t space : 24 = 0;  // 0: an empty slot
  uint32_t holder_count : 8 = 0;
  std::array<uint16_t, kInlineHolders> holders{};

  bool empty() const { return space == 0; }
  bool Is(const EntryName& name) const {
    return hash == name.hash && rest == name.rest && space == name.space;
  }
};
static_assert(sizeof(IndexEntry) == 32);

// Linear probing in the order of the hashes: an entry lies at its home, which grows with the hash,
// or behind it with no empty slot between. So a search ends at the first larger hash, a walk in the
// order of hashes can be left and taken up again whatever happened meanwhile, and the table grows
// in place: entries of the largest hashes move first, a few with each insertion, to where they
// belong in a table a quarter larger. There is never a second table or a pause; the address space
// for all of it is reserved at the start. Pure, not thread-safe.
class EntryTable {
 public:
  static constexpr size_t kNone = std::numeric_limits<size_t>::max();

  // For up to `entries_max` entries. RESOURCE_EXHAUSTED or the system's error when there is no
  // address space for so many; memory is taken as it fills.
  static absl::StatusOr<std::unique_ptr<EntryTable>> Create(size_t entries_max);

  // Starts loading what Find will nearly always read.
  void Prefetch(uint64_t hash) const;
  // Some time later: starts loading the rest, if there is any.
  void PrefetchMore(uint64_t hash) const;
  // Slots are named by numbers, which hold until the next Insert or Erase.
  size_t Find(const EntryName& name) const;
  // A new entry without pages and holders; kNone when the table is full. REQUIRES: Find(name) ==
  // kNone.
  size_t Insert(const EntryName& name);
  void Erase(size_t slot);

  // The first slot from which on all entries of hash `hash` or larger lie.
  size_t LowerBound(uint64_t hash) const;
  // Slots that entries may lie in are [0, end()).
  size_t end() const { return capacity_ + kTailSlots; }

  IndexEntry& operator[](size_t slot) { return slots_[slot]; }
  const IndexEntry& operator[](size_t slot) const { return slots_[slot]; }
  size_t size() const { return size_; }
  // Memory that the slots in use lie in.
  size_t bytes() const { return end() * sizeof(IndexEntry); }

 private:
  // Behind the last home, for entries of the largest hashes.
  static constexpr size_t kTailSlots = 1024;

  EntryTable(MemoryMapping memory, size_t entries_max, size_t capacity_max);

  size_t Home(uint64_t hash) const {
    const size_t capacity = hash <= unmoved_through_ ? previous_capacity_ : capacity_;
    return static_cast<size_t>((static_cast<unsigned __int128>(hash) * capacity) >> 64);
  }
  bool growing() const { return previous_capacity_ != capacity_; }
  // Puts an entry behind all of no larger hash; kNone when there is no slot left at the end.
  size_t Place(const IndexEntry& entry);
  void BeginGrowth();
  // Looks at so many slots, from the end of the table, and moves what lies there.
  void MoveSome(size_t slots);
  void MoveLast();

  MemoryMapping memory_;
  IndexEntry* const slots_;  // in memory_
  const size_t entries_max_;
  const size_t capacity_max_;
  size_t size_ = 0;
  size_t capacity_;           // homes
  size_t previous_capacity_;  // those of hashes up to unmoved_through_
  uint64_t unmoved_through_ = 0;
  size_t move_end_ = 0;  // the entries of those hashes lie below this slot
};

}  // namespace larder
