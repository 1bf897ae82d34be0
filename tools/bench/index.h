// The global index: memory, lookups, events, and a new follower's way to all of it.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/bench/micro.h"

namespace larder {

struct IndexBenchOptions {
  // Of the large index, and of the node that is followed. The small index has a hundredth.
  uint64_t entries = 10'000'000;
  // Told what is being measured now.
  std::function<void(absl::string_view)> on_step;
};

absl::StatusOr<MicroReport> RunIndexBench(const IndexBenchOptions& options);

}  // namespace larder
