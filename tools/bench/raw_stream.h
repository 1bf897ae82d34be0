// The ceiling that transfers between nodes are compared with: plain blocking TCP on loopback, one
// connection between two threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/status.h"

namespace larder {

struct RawStreamOptions {
  std::string congestion;  // TCP's congestion control; empty: the system's
  // Blocks are sent from, and received into, regions of this size one after the other, so that they
  // are not in the caches.
  uint64_t region_bytes = 256 << 20;
};

struct RawStreamRun {
  double bytes_per_second = 0;  // at which the blocks arrived
  double cpu_seconds = 0;       // of both ends
};

// Sends blocks of `block_bytes`, `total_bytes` in all.
absl::StatusOr<RawStreamRun> RunRawStream(uint64_t block_bytes, uint64_t total_bytes,
                                          const RawStreamOptions& options = {});

// CPU time of this process, user and system.
double OwnCpuSeconds();

// Asks with a small message and is answered with `bytes` bytes, `rounds` times; gives each round's
// time.
absl::StatusOr<std::vector<absl::Duration>> RawPingPong(uint64_t bytes, int rounds,
                                                        const RawStreamOptions& options = {});

}  // namespace larder
