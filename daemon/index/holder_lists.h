// Who holds an entry of the global index: in the entry itself, or in a list when there are many.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "daemon/index/chunk_event.h"
#include "daemon/index/entry_table.h"

namespace larder {

// One holder in 16 bits. The generation tells what a node has announced anew from what it has not.
struct PackedHolder {
  static uint16_t Pack(NodeSlot node, uint8_t tiers, uint8_t generation) {
    return static_cast<uint16_t>(node | (tiers << kTiersShift) | (generation << kGenerationShift));
  }
  static NodeSlot NodeOf(uint16_t packed) { return packed & (kNodesMax - 1); }
  static uint8_t TiersOf(uint16_t packed) { return (packed >> kTiersShift) & kTiersAll; }
  static uint8_t GenerationOf(uint16_t packed) { return (packed >> kGenerationShift) & 1; }

 private:
  static constexpr int kTiersShift = 10;
  static constexpr int kGenerationShift = 12;
  static_assert(kNodesMax == size_t{1} << kTiersShift);
};

// Owns the lists of entries with more holders than fit in; an entry then holds its list's number.
// An entry must have no holders before it is erased. Pure, not thread-safe.
class HolderLists {
 public:
  // At most `lists_max` entries have more holders than fit into an entry.
  explicit HolderLists(size_t lists_max) : lists_max_(lists_max) {}

  std::span<uint16_t> Of(IndexEntry& entry);
  std::span<const uint16_t> Of(const IndexEntry& entry) const;
  // False when there is no room.
  [[nodiscard]] bool Add(IndexEntry* entry, uint16_t holder);
  // `at` is the place in Of(entry).
  void Remove(IndexEntry* entry, size_t at);

  // Memory, but for the entries.
  size_t bytes() const;

 private:
  // Instead of a number of holders: they are in a list.
  static constexpr uint8_t kInList = 0xff;

  static uint32_t ListOf(const IndexEntry& entry) {
    return entry.holders[0] | (uint32_t{entry.holders[1]} << 16);
  }

  const size_t lists_max_;
  size_t list_holders_ = 0;
  std::vector<std::vector<uint16_t>> lists_;
  std::vector<uint32_t> free_lists_;
};

}  // namespace larder
