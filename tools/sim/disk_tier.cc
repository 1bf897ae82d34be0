#include "tools/sim/disk_tier.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "tools/sim/simulation.h"

namespace larder {
namespace {

constexpr uint8_t kUsesMax = 255;

}  // namespace

absl::StatusOr<DiskAdmission> ParseDiskAdmission(absl::string_view name) {
  if (name == "all") return DiskAdmission::kAll;
  if (name == "second-sight") return DiskAdmission::kSecondSight;
  if (name == "score") return DiskAdmission::kScore;
  return absl::InvalidArgumentError(
      absl::StrCat("there is no disk admission '", name, "', only ", kDiskAdmissionNames));
}

DiskTier::DiskTier(const BlockTrace& trace, size_t capacity_blocks, DiskAdmission admission)
    : trace_(trace),
      capacity_(capacity_blocks),
      admission_(admission),
      lists_(trace.unique_blocks(), 1),
      uses_(trace.unique_blocks()),
      partial_(trace.unique_blocks()),
      kind_(trace.unique_blocks()),
      read_(trace.unique_blocks()) {}

void DiskTier::Use(const TraceRequest& request, absl::FunctionRef<bool(uint32_t)> reads) {
  const auto blocks = trace_.blocks_of(request);
  for (size_t i = blocks.size(); i > 0; --i) {
    const uint32_t block = blocks[i - 1];
    if (uses_[block] < kUsesMax) ++uses_[block];
    partial_[block] = i * trace_.tokens_per_block > request.tokens;
    if (!Contains(block)) continue;
    if (reads(block) && !read_[block]) {
      read_[block] = true;
      yield_.ReadBack(kind_[block]);
    }
    lists_.MoveToNewest(0, block);
  }
}

void DiskTier::Offer(uint32_t block) {
  if (Contains(block) || !Admits(block)) return;
  if (lists_.size(0) >= capacity_) lists_.Remove(lists_.oldest(0));
  lists_.PushNewest(0, block);
  kind_[block] = KindOf(block);
  read_[block] = false;
  yield_.Wrote(kind_[block]);
  ++written_;
}

DiskYield::Kind DiskTier::KindOf(uint32_t block) const {
  return DiskYield::KindOf(uses_[block], trace_.depth[block], partial_[block] ? 1 : 0);
}

bool DiskTier::Admits(uint32_t block) const {
  switch (admission_) {
    case DiskAdmission::kAll:
      return true;
    case DiskAdmission::kSecondSight:
      return uses_[block] > 1;
    case DiskAdmission::kScore:
      break;
  }
  return yield_.Admits(KindOf(block), block);
}

}  // namespace larder
