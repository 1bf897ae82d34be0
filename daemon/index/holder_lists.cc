#include "daemon/index/holder_lists.h"

#include <algorithm>

namespace larder {

std::span<uint16_t> HolderLists::Of(IndexEntry& entry) {
  if (entry.holder_count == kInList) return lists_[ListOf(entry)];
  return {entry.holders.data(), entry.holder_count};
}

std::span<const uint16_t> HolderLists::Of(const IndexEntry& entry) const {
  if (entry.holder_count == kInList) return lists_[ListOf(entry)];
  return {entry.holders.data(), entry.holder_count};
}

bool HolderLists::Add(IndexEntry* entry, uint16_t holder) {
  if (entry->holder_count < kInlineHolders) {
    entry->holders[entry->holder_count] = holder;
    ++entry->holder_count;
    return true;
  }
  if (entry->holder_count != kInList) {
    if (free_lists_.empty()) {
      if (lists_.size() >= lists_max_) return false;
      free_lists_.push_back(static_cast<uint32_t>(lists_.size()));
      lists_.emplace_back();
    }
    const uint32_t list = free_lists_.back();
    free_lists_.pop_back();
    lists_[list].assign(entry->holders.begin(), entry->holders.end());
    list_holders_ += kInlineHolders;
    entry->holder_count = kInList;
    entry->holders = {static_cast<uint16_t>(list), static_cast<uint16_t>(list >> 16)};
  }
  lists_[ListOf(*entry)].push_back(holder);
  ++list_holders_;
  return true;
}

void HolderLists::Remove(IndexEntry* entry, size_t at) {
  const std::span<uint16_t> holders = Of(*entry);
  holders[at] = holders.back();
  if (entry->holder_count != kInList) {
    --entry->holder_count;
    return;
  }
  const uint32_t number = ListOf(*entry);
  std::vector<uint16_t>& list = lists_[number];
  list.pop_back();
  --list_holders_;
  if (list.size() > kInlineHolders) return;
  entry->holder_count = kInlineHolders;
  std::copy(list.begin(), list.end(), entry->holders.begin());
  list_holders_ -= kInlineHolders;
  std::vector<uint16_t>().swap(list);
  free_lists_.push_back(number);
}

size_t HolderLists::bytes() const {
  return lists_.capacity() * sizeof(lists_[0]) + free_lists_.capacity() * sizeof(uint32_t) +
         list_holders_ * sizeof(uint16_t);
}

}  // namespace larder
