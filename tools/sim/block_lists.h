// Doubly linked lists over block numbers.
#pragma once

#include <cstdint>
#include <vector>

#include "tools/sim/block_trace.h"

namespace larder {

// A fixed number of lists; each block is in at most one. All operations are O(1). Not thread-safe.
class BlockLists {
 public:
  BlockLists(size_t blocks, size_t lists)
      : links_(blocks + lists), list_of_(blocks, kNoList), sizes_(lists), blocks_(blocks) {
    for (size_t i = blocks; i < links_.size(); ++i) {
      links_[i] = {static_cast<uint32_t>(i), static_cast<uint32_t>(i)};
    }
  }

  static constexpr uint8_t kNoList = 0xff;

  // The list that the block is in, or kNoList.
  uint8_t list_of(uint32_t block) const { return list_of_[block]; }
  size_t size(uint8_t list) const { return sizes_[list]; }
  // kNoBlockNumber if the list is empty.
  uint32_t oldest(uint8_t list) const { return BlockOrNone(links_[End(list)].newer); }
  // The block after `block` in direction of the newest, kNoBlockNumber behind the last.
  uint32_t newer(uint32_t block) const { return BlockOrNone(links_[block].newer); }

  // The block must be in no list.
  void PushNewest(uint8_t list, uint32_t block) {
    const uint32_t end = End(list);
    const uint32_t newest = links_[end].older;
    links_[block] = {.older = newest, .newer = end};
    links_[newest].newer = block;
    links_[end].older = block;
    list_of_[block] = list;
    ++sizes_[list];
  }
  // No effect on a block in no list.
  void Remove(uint32_t block) {
    if (list_of_[block] == kNoList) return;
    links_[links_[block].older].newer = links_[block].newer;
    links_[links_[block].newer].older = links_[block].older;
    --sizes_[list_of_[block]];
    list_of_[block] = kNoList;
  }
  void MoveToNewest(uint8_t list, uint32_t block) {
    Remove(block);
    PushNewest(list, block);
  }

 private:
  struct Link {
    uint32_t older;
    uint32_t newer;
  };
  uint32_t End(uint8_t list) const { return static_cast<uint32_t>(blocks_ + list); }
  uint32_t BlockOrNone(uint32_t link) const { return link < blocks_ ? link : kNoBlockNumber; }

  std::vector<Link> links_;  // the blocks, then an end for each list
  std::vector<uint8_t> list_of_;
  std::vector<size_t> sizes_;
  size_t blocks_;
};

}  // namespace larder
