// An arena that lives in private memory: the twin of Arena for tests of what is built on one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "common/file_descriptor.h"
#include "common/random.h"
#include "common/status.h"
#include "storage/arena/block_table.h"

namespace larder {

// Owns its memory; all of it is backed from the start. `Reopen` is a death and a restart: the table
// is opened again over the bytes that the old one left. Not thread-safe.
class HeapArena {
  struct Private {
    explicit Private() = default;
  };

 public:
  explicit HeapArena(Private) {}  // for Create

  static absl::StatusOr<std::unique_ptr<HeapArena>> Create(const BlockTableGeometry& geometry,
                                                           Random& random) {
    RETURN_IF_ERROR(BlockTable::CheckGeometry(geometry));
    auto arena = std::make_unique<HeapArena>(Private());
    ASSIGN_OR_RETURN(arena->data_, MemoryMapping::MapAnonymous(geometry.data_bytes));
    ASSIGN_OR_RETURN(
        arena->blocks_memory_,
        MemoryMapping::MapAnonymous(BlockTable::MemoryBytes(geometry.capacity_records)));
    const ArenaUuid uuid{random.Next(), random.Next()};
    ASSIGN_OR_RETURN(BlockTable table,
                     BlockTable::Create(arena->blocks_memory_.bytes(), uuid, geometry));
    arena->blocks_.emplace(std::move(table));
    return arena;
  }

  // FAILED_PRECONDITION, and no change, for another geometry.
  absl::Status Reopen(const BlockTableGeometry& geometry) {
    ASSIGN_OR_RETURN(BlockTable table, BlockTable::Open(blocks_memory_.bytes(), geometry));
    blocks_.emplace(std::move(table));
    recovered_ = true;
    return absl::OkStatus();
  }

  std::span<uint8_t> data() const { return data_.bytes(); }
  BlockTable& blocks() { return *blocks_; }
  ArenaUuid uuid() const { return blocks_->uuid(); }
  bool recovered() const { return recovered_; }
  uint64_t backed_bytes() const { return data_.size(); }

 private:
  MemoryMapping data_;
  MemoryMapping blocks_memory_;
  std::optional<BlockTable> blocks_;
  bool recovered_ = false;
};

}  // namespace larder
