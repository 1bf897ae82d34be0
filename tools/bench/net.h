// Chunks from another node over loopback, next to plain TCP.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/bench/micro.h"

namespace larder {

struct NetBenchOptions {
  // Parts to run, of kNetParts; empty: all.
  std::vector<std::string> only;
  // Small sizes and few rounds: shows that it works, the figures mean little.
  bool quick = false;
  // Path of larderd; empty: as PrivateDaemonOptions.
  std::string larderd;
  // How the nodes drive their sockets: auto, io_uring, epoll.
  std::string engine = "auto";
  // Told what is being measured now.
  std::function<void(absl::string_view)> on_step;
};

inline const std::vector<std::string> kNetParts = {"4mib", "64kib", "latency", "directory"};

// DATA_LOSS when a byte came wrong; else the first failure.
absl::StatusOr<MicroReport> RunNetBench(const NetBenchOptions& options);

}  // namespace larder
