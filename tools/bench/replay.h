// Replays a workload against a daemon, or the daemons of a cluster, and checks every byte that
// comes back.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "tools/bench/request_dispenser.h"
#include "tools/console/latency_histogram.h"
#include "tools/workload/request.h"

namespace larder {

inline constexpr int kReplayThreadsMax = 256;
inline constexpr size_t kReplayErrorsKeptMax = 5;
inline constexpr size_t kReplayNodesMax = 64;

struct ReplayOptions {
  // Names the workload: keys and contents follow from it and the block ids.
  std::string name_space;
  uint32_t tokens_per_block = 512;
  uint64_t bytes_per_token = 512;
  // How blocks are stored. Anything but raw has values for contents rather than random bytes.
  ContainerCodec codec = ContainerCodec::kRaw;
  uint32_t levels = 0;  // 0: all
  // Threads, each with one request at a time; 1 to kReplayThreadsMax.
  int concurrency = 1;
  // So many of several daemons may be gone at the end; what was asked of them is no error then.
  size_t lost_nodes_max = 0;
  DispenserOptions pace;
};

// What came of a replay, or of one thread's share of it.
struct ReplayCounts {
  uint64_t requests = 0;
  uint64_t tokens = 0;      // of all prompts, also those of partial blocks
  uint64_t hit_tokens = 0;  // fetched instead of computed
  uint64_t blocks = 0;      // full ones
  uint64_t hit_blocks = 0;
  // By ChunkLocation::Tier, as Match said; of several daemons only.
  std::array<uint64_t, 4> hit_blocks_at = {};
  uint64_t partial_blocks_skipped = 0;
  uint64_t bytes_fetched = 0;
  uint64_t bytes_put = 0;
  uint64_t container_bytes_put = 0;  // what they take
  uint64_t blocks_put = 0;
  uint64_t blocks_refused = 0;  // not worth storing, by the daemon's policy
  // Blocks that were there when their put began: another thread was faster, or the front of the
  // prefix was evicted and what lies behind it was not.
  uint64_t blocks_already_stored = 0;
  // Blocks that Match had promised and that were evicted before they were fetched.
  uint64_t blocks_evicted_before_fetch = 0;
  // Chunks with a wrong byte, found by the client's checksums or by the comparison with the
  // contents that the key implies.
  uint64_t corrupt = 0;
  // Calls that failed other than by a miss or for want of room.
  uint64_t errors = 0;
  // Calls that failed for want of a daemon, in no other number.
  uint64_t unavailable_calls = 0;
  std::vector<std::string> error_texts;  // the first kReplayErrorsKeptMax
  // Puts that did not store all of their blocks, by the status code's name.
  std::map<std::string, uint64_t> put_failures;
  // Inside the calls alone, summed over the threads.
  absl::Duration fetch_time;
  absl::Duration put_time;
  LatencyHistogram match_latency;
  LatencyHistogram fetch_latency;

  void Add(const ReplayCounts& other);
  void AddError(absl::string_view where, const absl::Status& status);
};

// One daemon's share of a replay.
struct ReplayNode {
  std::string socket_path;
  ReplayCounts counts;
  bool lost = false;            // no longer there at the end
  uint64_t evicted_chunks = 0;  // by the daemon during the replay, for whatever client
  StoreStats stats;             // at the end
};

struct ReplayReport {
  ReplayCounts counts;  // of all nodes
  std::vector<ReplayNode> nodes;
  size_t lost_nodes = 0;
  absl::Duration elapsed;
  uint64_t block_bytes = 0;
  uint64_t evicted_chunks = 0;  // by all daemons
  StoreStats stats;             // their sum

  bool ok() const { return counts.corrupt == 0 && counts.errors == 0; }
};

// For each request: Match its full blocks, Fetch what matched, Put the rest. Several daemons get
// the requests in turns, those that are gone left out. `progress` is called from this thread
// several times a second with the number of finished requests. Fails on bad options and when the
// workload cannot be read; trouble with a daemon is counted in the report.
absl::StatusOr<ReplayReport> Replay(std::span<const std::unique_ptr<Client>> clients,
                                    std::unique_ptr<RequestSource> source,
                                    const ReplayOptions& options,
                                    const std::function<void(uint64_t)>& progress);

}  // namespace larder
