// A whole daemon with a disk tier: what its core pays for it, how a prefix comes back, restarts.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "tools/bench/disk.h"

namespace larder {

// Each starts private daemons whose disk is below `directory`.

// The daemon's CPU time for each chunk that goes to disk or comes from it, over that of a daemon
// without a disk tier that is given the same work. Neither polls.
absl::Status MeasureDiskCpu(const DiskBenchOptions& options, const std::string& directory,
                            MicroReport* report);

// Prefixes of 64 chunks of 1 MiB that are on disk alone: until the first chunk is usable and until
// all are. `raw_gb_per_s` is what the plain loop reads in blocks of 1 MiB.
absl::Status MeasureDiskPrefix(const DiskBenchOptions& options, const std::string& directory,
                               double raw_gb_per_s, MicroReport* report);

// A daemon with a million tiny records is killed; until another one that finds only the disk, as
// after a reboot, has matched all of them.
absl::Status MeasureDiskRestart(const DiskBenchOptions& options, const std::string& directory,
                                MicroReport* report);

// Bytes written over bytes of chunks written, for a workload whose unique blocks are five times as
// many as the disk holds: options.trace, or a generated conversation.
absl::Status MeasureWriteAmplification(const DiskBenchOptions& options,
                                       const std::string& directory, MicroReport* report);

}  // namespace larder
