// A disk device's reads and writes against a plain io_uring loop on the same file system.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/bench/micro.h"

namespace larder {

struct DiskBenchOptions {
  // On the file system to measure. Two files of `gib` each are made in a directory of their own,
  // which is removed at the end.
  std::string path = ".";
  uint64_t gib = 4;
  // Small sizes and few rounds: shows that the benchmark works, its figures mean little.
  bool quick = false;
  // Told what is being measured now.
  std::function<void(absl::string_view)> on_step;
};

absl::StatusOr<MicroReport> RunDiskBench(const DiskBenchOptions& options);

}  // namespace larder
