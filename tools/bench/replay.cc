#include "tools/bench/replay.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/hash.h"
#include "common/status.h"
#include "tools/bench/chunk_memory.h"
#include "tools/bench/geometry.h"
#include "tools/bench/value_content.h"
#include "tools/workload/content.h"

namespace larder {
namespace {

// Engine memory of one thread: a longer prefix is fetched and put in several calls.
constexpr uint64_t kBufferBytes = uint64_t{64} << 20;
constexpr auto kProgressInterval = std::chrono::milliseconds(100);

MonotonicTime Now() { return SystemClock::Get().Now(); }

// A daemon that requests go to.
struct Target {
  Client* client;
  ClientSpace space;
};

// Says where each request goes, as a router would that knows nothing of caches. Thread-safe.
class RoundRobin {
 public:
  explicit RoundRobin(std::span<const Target> targets) : targets_(targets) {}

  // The next of those that are there, or the next one when none is.
  size_t Next() {
    const size_t first = next_.fetch_add(1, std::memory_order_relaxed);
    for (size_t i = 0; i < targets_.size(); ++i) {
      const size_t node = (first + i) % targets_.size();
      if (targets_[node].client->connected()) return node;
    }
    return first % targets_.size();
  }

 private:
  const std::span<const Target> targets_;
  std::atomic<size_t> next_{0};
};

// One thread's engine: takes requests until there are none.
class ReplayThread {
 public:
  ReplayThread(std::span<Target> targets, RoundRobin* router, const ReplayOptions& options,
               ChunkMemory memory)
      : targets_(targets),
        router_(router),
        options_(options),
        memory_(std::move(memory)),
        counts_of_node_(targets.size()) {}

  absl::Status Run(RequestDispenser& dispenser, std::atomic<uint64_t>& finished) {
    for (;;) {
      ASSIGN_OR_RETURN(const std::optional<Request> request, dispenser.Next());
      if (!request) return absl::OkStatus();
      const absl::Status checked = CheckBlockCount(*request);
      if (checked.ok()) RunOne(*request);
      dispenser.Finish(*request);
      RETURN_IF_ERROR(checked);
      finished.fetch_add(1, std::memory_order_relaxed);
    }
  }

  const ReplayCounts& counts(size_t node) const { return counts_of_node_[node]; }

 private:
  // More ids than blocks, even with a partial one, mean another block size: with this one the first
  // ids would pass for longer prefixes than they name.
  absl::Status CheckBlockCount(const Request& request) const {
    const uint64_t most = request.input_tokens / options_.tokens_per_block + 1;
    if (request.block_ids.size() <= most) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("a prompt of ", request.input_tokens, " tokens has ", request.block_ids.size(),
                     " block ids; of ", options_.tokens_per_block, " tokens it can have ", most,
                     " at most: the workload's blocks have another size (--tokens-per-block)"));
  }

  void RunOne(const Request& request) {
    node_ = router_->Next();
    ReplayCounts& counts = counts_of_node_[node_];
    // Ids past the last full block stand for a partial one, which is never stored.
    const size_t blocks = std::min<size_t>(request.block_ids.size(),
                                           request.input_tokens / options_.tokens_per_block);
    keys_.clear();
    for (size_t i = 0; i < blocks; ++i) {
      keys_.push_back(KeyBytes(options_.name_space, request.block_ids[i]));
    }
    const MatchResult matched = MatchAll(counts);
    const size_t hits = FetchAll(matched.chunks, counts);
    PutFrom(hits, counts);
    ++counts.requests;
    counts.tokens += request.input_tokens;
    counts.hit_tokens += hits * options_.tokens_per_block;
    counts.blocks += blocks;
    counts.hit_blocks += hits;
    for (size_t i = 0; i < std::min(hits, matched.locations.size()); ++i) {
      ++counts.hit_blocks_at[static_cast<size_t>(matched.locations[i].tier)];
    }
    counts.partial_blocks_skipped += request.block_ids.size() - blocks;
  }

  MatchResult MatchAll(ReplayCounts& counts) {
    if (keys_.empty()) return {};
    MatchOptions match_options;
    match_options.locations = targets_.size() > 1;
    const MonotonicTime begin = Now();
    MatchResult matched = targets_[node_].space.Match(keys_, match_options);
    counts.match_latency.Record(Now() - begin);
    if (!matched.status.ok()) counts.AddError("match", matched.status);
    return matched;
  }

  // Fetches the first `count` blocks and returns how many came whole and right.
  size_t FetchAll(size_t count, ReplayCounts& counts) {
    size_t fetched = 0;
    while (fetched < count) {
      const size_t wanted = std::min(memory_.chunk_count(), count - fetched);
      const size_t right = FetchWindow(fetched, wanted, counts);
      fetched += right;
      if (right < wanted) break;
    }
    return fetched;
  }

  size_t FetchWindow(size_t first, size_t count, ReplayCounts& counts) {
    const KeySpan keys = KeySpan(keys_).Subspan(first, count);
    const MonotonicTime begin = Now();
    FetchOptions fetch_options;
    fetch_options.levels = options_.levels;
    const FetchResult result =
        targets_[node_].space.Fetch(keys, memory_.destinations(0, count), fetch_options);
    const absl::Duration taken = Now() - begin;
    counts.fetch_time += taken;
    counts.fetch_latency.Record(taken);
    counts.bytes_fetched += result.bytes;
    if (absl::IsNotFound(result.status)) {
      counts.blocks_evicted_before_fetch += count - result.chunks;
    } else if (!result.status.ok()) {
      if (absl::IsDataLoss(result.status)) ++counts.corrupt;
      counts.AddError("fetch", result.status);
    }
    size_t right = 0;
    while (right < result.chunks &&
           CheckBlock(first + right, memory_.chunk(right), result.levels, counts)) {
      ++right;
    }
    return right;
  }

  // `levels`: from so many at least it was read; under pressure they may be fewer than were put.
  bool CheckBlock(size_t block, std::span<const uint8_t> bytes, uint32_t levels,
                  ReplayCounts& counts) {
    const KeyHash key = HashKey(keys_[block]);
    const size_t wrong = options_.codec == ContainerCodec::kRaw
                             ? CheckContent(key, 0, bytes)
                             : CheckValues(key, options_.codec, levels, bytes);
    if (wrong == bytes.size()) return true;
    ++counts.corrupt;
    counts.AddError("check", absl::DataLossError(absl::StrCat(
                                 "block ", block, " of a prompt came back with a wrong byte at ",
                                 wrong, " of ", bytes.size())));
    return false;
  }

  // What the model would compute now: every block that was not fetched.
  void PutFrom(size_t first, ReplayCounts& counts) {
    while (first < keys_.size()) {
      const size_t count = std::min(memory_.chunk_count(), keys_.size() - first);
      if (!PutWindow(first, count, counts)) break;  // What follows would not be found without it.
      first += count;
    }
  }

  bool PutWindow(size_t first, size_t count, ReplayCounts& counts) {
    for (size_t i = 0; i < count; ++i) {
      const KeyHash key = HashKey(keys_[first + i]);
      if (options_.codec == ContainerCodec::kRaw) {
        FillContent(key, 0, memory_.chunk(i));
      } else {
        FillValues(key, memory_.chunk(i));
      }
    }
    PutOptions put_options;
    put_options.codec = options_.codec;
    put_options.levels = options_.levels;
    put_options.first_depth = static_cast<uint32_t>(first);
    if (first > 0) put_options.parent = keys_[first - 1];
    const MonotonicTime begin = Now();
    const PutResult result = targets_[node_].space.Put(KeySpan(keys_).Subspan(first, count),
                                                       memory_.sources(0, count), put_options);
    counts.put_time += Now() - begin;
    counts.bytes_put += result.bytes;
    counts.container_bytes_put += result.container_bytes;
    counts.blocks_put += result.stored;
    counts.blocks_refused += result.refused;
    counts.blocks_already_stored += result.already_stored;
    if (result.status.ok()) return result.refused == 0;
    ++counts.put_failures[absl::StatusCodeToString(result.status.code())];
    // A full store is an answer: the engine goes on without storing.
    if (!absl::IsResourceExhausted(result.status)) counts.AddError("put", result.status);
    return false;
  }

  const std::span<Target> targets_;
  RoundRobin* const router_;
  const ReplayOptions& options_;
  const ChunkMemory memory_;
  std::vector<ReplayCounts> counts_of_node_;
  // Of the current request:
  size_t node_ = 0;
  std::vector<Sha256Digest> keys_;  // of its full blocks
};

// Runs the threads of a replay and gathers what they say.
class ReplayRun {
 public:
  ReplayRun(std::vector<Target> targets, const ReplayOptions& options, RequestDispenser& dispenser)
      : targets_(std::move(targets)), router_(targets_), options_(options), dispenser_(dispenser) {}

  absl::Status Prepare() {
    const uint64_t block_bytes = options_.bytes_per_token * options_.tokens_per_block;
    const size_t chunks = std::max<uint64_t>(1, kBufferBytes / block_bytes);
    for (int i = 0; i < options_.concurrency; ++i) {
      ASSIGN_OR_RETURN(ChunkMemory memory, ChunkMemory::Create(chunks, block_bytes));
      workers_.push_back(
          std::make_unique<ReplayThread>(targets_, &router_, options_, std::move(memory)));
    }
    return absl::OkStatus();
  }

  absl::Status Run(const std::function<void(uint64_t)>& progress) {
    running_ = workers_.size();
    std::vector<std::thread> threads;
    for (const auto& worker : workers_) {
      threads.emplace_back([this, &worker] { RunWorker(*worker); });
    }
    {
      std::unique_lock lock(mutex_);
      while (running_ > 0) {
        changed_.wait_for(lock, kProgressInterval);
        progress(finished_.load(std::memory_order_relaxed));
      }
    }
    for (std::thread& thread : threads) thread.join();
    return status_;
  }

  ReplayCounts Sum(size_t node) const {
    ReplayCounts sum;
    for (const auto& worker : workers_) sum.Add(worker->counts(node));
    return sum;
  }

 private:
  void RunWorker(ReplayThread& worker) {
    const absl::Status status = worker.Run(dispenser_, finished_);
    if (!status.ok()) dispenser_.Stop();
    std::lock_guard lock(mutex_);
    if (status_.ok()) status_ = status;
    --running_;
    changed_.notify_all();
  }

  std::vector<Target> targets_;
  RoundRobin router_;
  const ReplayOptions& options_;
  RequestDispenser& dispenser_;
  std::vector<std::unique_ptr<ReplayThread>> workers_;
  std::atomic<uint64_t> finished_{0};

  std::mutex mutex_;  // guards the following
  std::condition_variable changed_;
  size_t running_ = 0;
  absl::Status status_;
};

ReplayNode NodeReport(Client& client, ReplayCounts counts, const StoreStats& before) {
  ReplayNode node{.socket_path = client.socket_path(), .counts = std::move(counts), .stats = {}};
  // Errors of the replay are in the report; a daemon that died during it must not hide them.
  if (const absl::StatusOr<StoreStats> after = client.Stats(); after.ok()) {
    node.stats = *after;
    // A daemon that was started again counts from zero.
    node.evicted_chunks =
        after->evicted_chunks - std::min(before.evicted_chunks, after->evicted_chunks);
  } else {
    node.lost = true;
    node.counts.AddError("stats", after.status());
  }
  return node;
}

// Of what a report shows.
void AddStats(const StoreStats& from, StoreStats* to) {
  to->data_bytes += from.data_bytes;
  to->chunks += from.chunks;
  to->disk_payload_bytes_written += from.disk_payload_bytes_written;
  to->disk_device_bytes_written += from.disk_device_bytes_written;
  to->disk_loads += from.disk_loads;
}

void SumUp(size_t lost_nodes_max, ReplayReport* report) {
  for (const ReplayNode& node : report->nodes) report->lost_nodes += node.lost;
  const bool forgiven = report->lost_nodes <= lost_nodes_max;
  for (ReplayNode& node : report->nodes) {
    if (!node.lost || !forgiven) node.counts.errors += node.counts.unavailable_calls;
    report->counts.Add(node.counts);
    report->evicted_chunks += node.evicted_chunks;
    AddStats(node.stats, &report->stats);
  }
}

}  // namespace

void ReplayCounts::Add(const ReplayCounts& other) {
  requests += other.requests;
  tokens += other.tokens;
  hit_tokens += other.hit_tokens;
  blocks += other.blocks;
  hit_blocks += other.hit_blocks;
  for (size_t i = 0; i < hit_blocks_at.size(); ++i) hit_blocks_at[i] += other.hit_blocks_at[i];
  partial_blocks_skipped += other.partial_blocks_skipped;
  bytes_fetched += other.bytes_fetched;
  bytes_put += other.bytes_put;
  container_bytes_put += other.container_bytes_put;
  blocks_put += other.blocks_put;
  blocks_refused += other.blocks_refused;
  blocks_already_stored += other.blocks_already_stored;
  blocks_evicted_before_fetch += other.blocks_evicted_before_fetch;
  corrupt += other.corrupt;
  errors += other.errors;
  unavailable_calls += other.unavailable_calls;
  for (const std::string& text : other.error_texts) {
    if (error_texts.size() < kReplayErrorsKeptMax) error_texts.push_back(text);
  }
  for (const auto& [cause, count] : other.put_failures) put_failures[cause] += count;
  fetch_time += other.fetch_time;
  put_time += other.put_time;
  match_latency.Merge(other.match_latency);
  fetch_latency.Merge(other.fetch_latency);
}

void ReplayCounts::AddError(absl::string_view where, const absl::Status& status) {
  ++(absl::IsUnavailable(status) ? unavailable_calls : errors);
  if (error_texts.size() < kReplayErrorsKeptMax) {
    error_texts.push_back(absl::StrCat(where, ": ", status.ToString()));
  }
}

absl::StatusOr<ReplayReport> Replay(std::span<const std::unique_ptr<Client>> clients,
                                    std::unique_ptr<RequestSource> source,
                                    const ReplayOptions& options,
                                    const std::function<void(uint64_t)>& progress) {
  if (options.concurrency < 1 || options.concurrency > kReplayThreadsMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("concurrency is ", options.concurrency, ", must be 1 to ", kReplayThreadsMax));
  }
  if (clients.empty() || clients.size() > kReplayNodesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("a replay takes 1 to ", kReplayNodesMax, " daemons, not ", clients.size()));
  }
  ASSIGN_OR_RETURN(const Manifest manifest,
                   ManifestOfSize(options.bytes_per_token, options.tokens_per_block));
  std::vector<Target> targets;
  std::vector<StoreStats> before;
  for (const std::unique_ptr<Client>& client : clients) {
    ASSIGN_OR_RETURN(ClientSpace space, client->Open(manifest));
    targets.push_back({.client = client.get(), .space = std::move(space)});
    ASSIGN_OR_RETURN(before.emplace_back(), client->Stats());
  }
  RequestDispenser dispenser(std::move(source), options.pace, SystemClock::Get());
  ReplayRun run(std::move(targets), options, dispenser);
  RETURN_IF_ERROR(run.Prepare());
  const MonotonicTime begin = Now();
  RETURN_IF_ERROR(run.Run(progress));
  ReplayReport report;
  report.elapsed = Now() - begin;
  report.block_bytes = manifest.PayloadBytes(manifest.WholePart());
  for (size_t i = 0; i < clients.size(); ++i) {
    report.nodes.push_back(NodeReport(*clients[i], run.Sum(i), before[i]));
  }
  SumUp(options.lost_nodes_max, &report);
  return report;
}

}  // namespace larder
