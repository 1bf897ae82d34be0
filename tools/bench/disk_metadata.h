// What the disk tier's index costs: writing it, and reading it at a restart.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "tools/bench/micro.h"

namespace larder {

struct DiskMetadataBenchOptions {
  uint64_t records = 1'000'000;
  // Where the index is made, in a directory of its own that is removed at the end.
  std::string directory;
};

absl::StatusOr<MicroReport> RunDiskMetadataBench(const DiskMetadataBenchOptions& options);

}  // namespace larder
