// Chunks that may go, in queues of equal worth.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "common/paged_vector.h"
#include "storage/policy/reuse_age.h"

namespace larder {

// One queue, called a cell, for each class and age bucket; the chunks in it have about the same
// worth, and the one that was used longest ago is at its old end. Cells stand in lists by level, a
// number that rises with their worth, and a bitmap says which levels have any chunk. So the chunk
// of least worth is found in O(1). Pure and not thread-safe. Memory: 12 bytes an item, about 0.3
// MiB for the cells.
class ScoreQueues {
 public:
  static constexpr uint32_t kNone = 0xffffffffu;
  struct Link {
    uint32_t older;
    uint32_t newer;
    uint16_t cell;  // plus one; 0: in no queue
  };
  // One for each item; shared by queues whose items are different ones.
  using Links = PagedVector<Link>;
  static constexpr size_t kLevels = 256;
  using CellIndex = uint16_t;

  // `links` must outlive this.
  ScoreQueues(size_t classes, Links* links);

  static CellIndex CellOf(size_t class_index, uint32_t bucket) {
    return static_cast<CellIndex>(class_index * kAgeBuckets + bucket);
  }
  static size_t ClassOf(CellIndex cell) { return cell / kAgeBuckets; }
  static uint32_t BucketOf(CellIndex cell) { return cell % kAgeBuckets; }

  void SetLevel(CellIndex cell, uint8_t level);
  uint8_t level(CellIndex cell) const { return cells_[cell].level; }

  // The item must be in no queue.
  void PushNewest(uint32_t item, CellIndex cell);
  void PushOldest(uint32_t item, CellIndex cell);
  // No effect on an item that is in no queue.
  void Remove(uint32_t item);

  bool Contains(uint32_t item) const { return item < links_.size() && links_[item].cell != 0; }
  void Prefetch(uint32_t item) const {
    if (item < links_.size()) __builtin_prefetch(&links_[item]);
  }
  // REQUIRES: Contains(item).
  CellIndex CellOfItem(uint32_t item) const {
    return static_cast<CellIndex>(links_[item].cell - 1);
  }
  // kNone if the cell is empty.
  uint32_t oldest(CellIndex cell) const { return cells_[cell].oldest; }

  // The first cell of the lowest level that has an item, and the next of the same level; kNoCell.
  static constexpr CellIndex kNoCell = 0xffff;
  CellIndex LowestCell() const;
  CellIndex NextOfLevel(CellIndex cell) const { return cells_[cell].next; }

  // The first cell after `cell`, going round, that has an item; kNoCell if none has. At most one
  // step for each 4,096 cells.
  CellIndex NextInUse(CellIndex cell) const;

 private:
  struct Cell {
    uint32_t oldest = kNone;
    uint32_t newest = kNone;
    CellIndex next = kNoCell;  // of the same level
    CellIndex previous = kNoCell;
    uint8_t level = 0;
  };

  void Enlist(CellIndex cell);
  void Delist(CellIndex cell);

  Links& links_;
  std::vector<Cell> cells_;
  std::vector<uint64_t> in_use_;        // a bit a cell
  std::vector<uint64_t> words_in_use_;  // a bit a word of in_use_
  std::array<CellIndex, kLevels> first_of_level_;
  std::array<uint64_t, kLevels / 64> level_in_use_{};
};

}  // namespace larder
