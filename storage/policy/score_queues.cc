#include "storage/policy/score_queues.h"

#include <bit>

namespace larder {
namespace {

constexpr size_t kNoneSet = ~size_t{0};

// The first bit from `start` on, going round, that is set.
size_t NextSet(const std::vector<uint64_t>& words, size_t start) {
  uint64_t bits = words[start / 64] & (~uint64_t{0} << (start % 64));
  for (size_t step = 0; step <= words.size(); ++step) {
    const size_t word = (start / 64 + step) % words.size();
    if (step > 0) bits = words[word];
    if (bits != 0) return word * 64 + static_cast<size_t>(std::countr_zero(bits));
  }
  return kNoneSet;
}

}  // namespace

ScoreQueues::ScoreQueues(size_t classes, Links* links)
    : links_(*links),
      cells_(classes * kAgeBuckets),
      in_use_((cells_.size() + 63) / 64),
      words_in_use_((in_use_.size() + 63) / 64) {
  first_of_level_.fill(kNoCell);
}

void ScoreQueues::SetLevel(CellIndex cell, uint8_t level) {
  if (cells_[cell].level == level) return;
  const bool listed = cells_[cell].oldest != kNone;
  if (listed) Delist(cell);
  cells_[cell].level = level;
  if (listed) Enlist(cell);
}

void ScoreQueues::PushNewest(uint32_t item, CellIndex cell_index) {
  links_.GrowTo(item + size_t{1});
  Cell& cell = cells_[cell_index];
  links_[item] = {
      .older = cell.newest, .newer = kNone, .cell = static_cast<uint16_t>(cell_index + 1)};
  if (cell.newest != kNone) {
    links_[cell.newest].newer = item;
  } else {
    cell.oldest = item;
    Enlist(cell_index);
  }
  cell.newest = item;
}

void ScoreQueues::PushOldest(uint32_t item, CellIndex cell_index) {
  Cell& cell = cells_[cell_index];
  if (cell.oldest == kNone) return PushNewest(item, cell_index);
  links_.GrowTo(item + size_t{1});
  links_[item] = {
      .older = kNone, .newer = cell.oldest, .cell = static_cast<uint16_t>(cell_index + 1)};
  links_[cell.oldest].older = item;
  cell.oldest = item;
}

void ScoreQueues::Remove(uint32_t item) {
  if (!Contains(item)) return;
  const CellIndex cell_index = CellOfItem(item);
  Cell& cell = cells_[cell_index];
  const Link link = links_[item];
  (link.older != kNone ? links_[link.older].newer : cell.oldest) = link.newer;
  (link.newer != kNone ? links_[link.newer].older : cell.newest) = link.older;
  links_[item].cell = 0;
  if (cell.oldest == kNone) Delist(cell_index);
}

ScoreQueues::CellIndex ScoreQueues::LowestCell() const {
  for (size_t word = 0; word < level_in_use_.size(); ++word) {
    if (level_in_use_[word] == 0) continue;
    return first_of_level_[word * 64 + static_cast<size_t>(std::countr_zero(level_in_use_[word]))];
  }
  return kNoCell;
}

ScoreQueues::CellIndex ScoreQueues::NextInUse(CellIndex cell) const {
  const size_t start = (cell + size_t{1}) % cells_.size();
  size_t word = start / 64;
  uint64_t bits = in_use_[word] & (~uint64_t{0} << (start % 64));
  if (bits == 0) {
    word = NextSet(words_in_use_, (word + 1) % in_use_.size());
    if (word == kNoneSet) return kNoCell;
    bits = in_use_[word];
  }
  return static_cast<CellIndex>(word * 64 + static_cast<size_t>(std::countr_zero(bits)));
}

void ScoreQueues::Enlist(CellIndex cell_index) {
  Cell& cell = cells_[cell_index];
  CellIndex& first = first_of_level_[cell.level];
  cell.previous = kNoCell;
  cell.next = first;
  if (first != kNoCell) cells_[first].previous = cell_index;
  first = cell_index;
  level_in_use_[cell.level / 64] |= uint64_t{1} << (cell.level % 64);
  in_use_[cell_index / 64] |= uint64_t{1} << (cell_index % 64);
  words_in_use_[cell_index / 64 / 64] |= uint64_t{1} << (cell_index / 64 % 64);
}

void ScoreQueues::Delist(CellIndex cell_index) {
  const Cell& cell = cells_[cell_index];
  (cell.previous != kNoCell ? cells_[cell.previous].next : first_of_level_[cell.level]) = cell.next;
  if (cell.next != kNoCell) cells_[cell.next].previous = cell.previous;
  if (first_of_level_[cell.level] == kNoCell) {
    level_in_use_[cell.level / 64] &= ~(uint64_t{1} << (cell.level % 64));
  }
  in_use_[cell_index / 64] &= ~(uint64_t{1} << (cell_index % 64));
  if (in_use_[cell_index / 64] == 0) {
    words_in_use_[cell_index / 64 / 64] &= ~(uint64_t{1} << (cell_index / 64 % 64));
  }
}

}  // namespace larder
