// Replays a workload against a daemon and checks every byte that comes back.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
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
  DispenserOptions pace;
};

// What came of a replay, or of one thread's share of it.
struct ReplayCounts {
  uint64_t requests = 0;
  uint64_t tokens = 0;      // of all prompts, also those of partial blocks
  uint64_t hit_tokens = 0;  // fetched instead of computed
  uint64_t blocks = 0;      // full ones
  uint64_t hit_blocks = 0;
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
  std::vector<std::string> error_texts;  // the first kReplayErrorsKeptMax
  // Puts that did not store all of their blocks, by the status code's name.
  std::map<std::string, uint64_t> put_failures;
  // Inside the calls alone, summed over the threads.
  absl::Duration fetch_time;
  absl::Duration put_time;
  LatencyHistogram match_latency;

  void Add(const ReplayCounts& other);
  void AddError(absl::string_view where, const absl::Status& status);
};

struct ReplayReport {
  ReplayCounts counts;
  absl::Duration elapsed;
  uint64_t block_bytes = 0;
  uint64_t evicted_chunks = 0;  // by the daemon during the replay, for whatever client
  StoreStats stats;             // at the end

  bool ok() const { return counts.corrupt == 0 && counts.errors == 0; }
};

// For each request: Match its full blocks, Fetch what matched, Put the rest. `progress` is called
// from this thread several times a second with the number of finished requests. Fails on bad
// options and when the workload cannot be read; trouble with the daemon is counted in the report.
absl::StatusOr<ReplayReport> Replay(Client& client, std::unique_ptr<RequestSource> source,
                                    const ReplayOptions& options,
                                    const std::function<void(uint64_t)>& progress);

}  // namespace larder
