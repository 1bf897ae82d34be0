// The simulated second tier.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/policy/disk_yield.h"
#include "tools/sim/block_lists.h"
#include "tools/sim/block_trace.h"

namespace larder {

enum class DiskAdmission {
  kAll,          // what memory evicts is written
  kSecondSight,  // only what was asked for at least twice
  kScore,        // only kinds of blocks that gave enough hits for what was written of them
};
absl::StatusOr<DiskAdmission> ParseDiskAdmission(absl::string_view name);

// Takes what memory evicts, goes in least-recently-used order, and keeps what is read back into
// memory, so that no block is written twice while it stays. Not thread-safe.
class DiskTier {
 public:
  DiskTier(const BlockTrace& trace, size_t capacity_blocks, DiskAdmission admission);

  bool Contains(uint32_t block) const { return lists_.list_of(block) == 0; }

  // A request uses its blocks; `reads` says of each whether memory lacks it.
  void Use(const TraceRequest& request, absl::FunctionRef<bool(uint32_t)> reads);
  // Memory evicted the block.
  void Offer(uint32_t block);

  uint64_t written() const { return written_; }

 private:
  DiskYield::Kind KindOf(uint32_t block) const;
  bool Admits(uint32_t block) const;

  const BlockTrace& trace_;
  const size_t capacity_;
  const DiskAdmission admission_;
  BlockLists lists_;
  std::vector<uint8_t> uses_;
  std::vector<bool> partial_;          // the request that used it last filled it only in part
  std::vector<DiskYield::Kind> kind_;  // when it was written
  std::vector<bool> read_;             // since it was written
  DiskYield yield_;
  uint64_t written_ = 0;
};

}  // namespace larder
