// Where the block of a container may be cut short: at the end of each level but the last.
#pragma once

#include <cstdint>
#include <limits>
#include <tuple>

#include "kernels/format/container.h"
#include "storage/arena/block_table.h"

namespace larder {

static_assert(kPlaneAlignment == kBlockCutUnitBytes);
static_assert(std::tuple_size_v<BlockCuts> + 1 == LevelsMax(ContainerCodec::kLarder));

inline BlockCuts CutsOf(const ContainerView& view) {
  BlockCuts cuts = {};
  for (uint32_t level = 0; level + 1 < view.level_count(); ++level) {
    const uint64_t units = view.LevelEnd(level) / kBlockCutUnitBytes;
    if (units > std::numeric_limits<uint32_t>::max()) break;  // Such a block leaves whole.
    cuts[level] = static_cast<uint32_t>(units);
  }
  return cuts;
}

}  // namespace larder
