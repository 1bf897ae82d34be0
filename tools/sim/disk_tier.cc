#include "tools/sim/disk_tier.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "tools/sim/simulation.h"

namespace larder {
namespace {

constexpr uint32_t kUseBands = 4;
constexpr uint32_t kDepthBands = 12;

// A kind is written if it yields at least this share of what all kinds yield together.
constexpr double kYieldShareMin = 0.6;
// Until so many of a kind were written, and of one in so many blocks ever after, it is tried.
constexpr double kTrials = 500;
constexpr uint32_t kTryOneIn = 16;
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
      read_(trace.unique_blocks()),
      yields_(2 * kUseBands * kDepthBands) {}

void DiskTier::Use(const TraceRequest& request, absl::FunctionRef<bool(uint32_t)> reads) {
  const auto blocks = trace_.blocks_of(request);
  for (size_t i = blocks.size(); i > 0; --i) {
    const uint32_t block = blocks[i - 1];
    if (uses_[block] < kUsesMax) ++uses_[block];
    partial_[block] = i * trace_.tokens_per_block > request.tokens;
    if (!Contains(block)) continue;
    if (reads(block) && !read_[block]) {
      read_[block] = true;
      yields_[kind_[block]].read += 1;
      all_.read += 1;
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
  yields_[kind_[block]].written += 1;
  all_.written += 1;
  ++written_;
}

uint8_t DiskTier::KindOf(uint32_t block) const {
  const uint32_t uses = std::min<uint32_t>(uses_[block], kUseBands) - (uses_[block] > 0 ? 1 : 0);
  const auto depth = static_cast<uint32_t>(std::bit_width(trace_.depth[block]));
  return static_cast<uint8_t>(((partial_[block] ? 1 : 0) * kUseBands + uses) * kDepthBands +
                              std::min(depth, kDepthBands - 1));
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
  const Yield& yield = yields_[KindOf(block)];
  if (yield.written < kTrials || block % kTryOneIn == 0) return true;
  return yield.read / yield.written >= kYieldShareMin * all_.read / all_.written;
}

}  // namespace larder
