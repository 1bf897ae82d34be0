#include "tools/bench/disk_node.h"

#include <signal.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "common/status.h"
#include "tools/bench/chunk_memory.h"
#include "tools/bench/geometry.h"
#include "tools/bench/micro_parts.h"
#include "tools/bench/replay.h"
#include "tools/workload/generator.h"
#include "tools/workload/trace_reader.h"

namespace larder {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint32_t kLayers = 32;  // chunks of 1 MiB
constexpr absl::Duration kCallTimeout = absl::Seconds(60);
// A restart with many records takes a while.
constexpr absl::Duration kStartTimeout = absl::Seconds(60);
constexpr auto kPause = std::chrono::milliseconds(2);

constexpr double kRestartGoalSeconds = 5;
constexpr double kCpuGoalUs = 5;
constexpr double kAmplificationGoal = 1.15;

struct DaemonSettings {
  uint64_t arena_bytes = 256 * kMiB;
  std::string disk = "";  // empty: none
  uint64_t disk_bytes = 0;
  uint64_t segment_bytes = 64 * kMiB;
  std::string mode = "write-back";
  bool polls = true;
};

absl::StatusOr<std::unique_ptr<Client>> StartDaemon(const DaemonSettings& settings) {
  PrivateDaemonOptions options;
  options.arena_bytes = settings.arena_bytes;
  options.start_timeout = kStartTimeout;
  if (!settings.disk.empty()) {
    options.flags = {"--disk=" + settings.disk,
                     absl::StrCat("--disk-capacity=", settings.disk_bytes),
                     absl::StrCat("--set=disk.segment=", settings.segment_bytes),
                     "--set=disk.mode=" + settings.mode, "--set=disk.owner=larder-bench"};
  }
  if (!settings.polls) options.flags.emplace_back("--set=local.spin=0");
  ClientOptions client_options;
  client_options.timeout = kCallTimeout;
  return Client::StartPrivate(options, client_options);
}

// A space of a daemon and the chunks of a benchmark in it.
class DiskSpace {
 public:
  static absl::StatusOr<DiskSpace> Open(Client& client, const Manifest& manifest,
                                        absl::string_view name, uint64_t chunks) {
    ASSIGN_OR_RETURN(ClientSpace space, client.Open(manifest));
    ASSIGN_OR_RETURN(ChunkMemory memory,
                     ChunkMemory::Create(kWindow, manifest.PayloadBytes(manifest.WholePart())));
    return DiskSpace(&client, std::move(space), std::move(memory), BenchmarkKeys(name, chunks));
  }

  // Puts the chunks of [first, first + count), never more than a little ahead of the disk.
  absl::Status PutPaced(size_t first, size_t count) {
    ASSIGN_OR_RETURN(const StoreStats begin, client_->Stats());
    uint64_t put = 0;
    for (const size_t end = first + count; first < end;) {
      const size_t window = std::min(kWindow, end - first);
      for (size_t i = 0; i < window; ++i) FillChunk(keys_[first + i], memory_.chunk(i));
      PutOptions options;
      options.first_depth = static_cast<uint32_t>(first % kPrefixChunks);
      if (first % kPrefixChunks != 0) options.parent = keys_[first - 1];
      RETURN_IF_ERROR(
          space_.Put(KeySpan(keys_).Subspan(first, window), memory_.sources(0, window), options)
              .status);
      first += window;
      put += window;
      RETURN_IF_ERROR(WaitForDemotions(begin.disk_demotions + put - std::min(put, ahead_max_)));
    }
    return WaitForDemotions(begin.disk_demotions + put);
  }

  // Fetches a prefix; calls `on_first` when its first chunk is in place.
  absl::Status Fetch(size_t first, size_t count, const std::function<void()>& on_first) {
    FetchOptions options;
    bool seen = false;
    options.on_layer = [&](size_t, uint16_t layer) {
      if (layer + 1 == kLayers && !std::exchange(seen, true)) on_first();
    };
    RETURN_IF_ERROR(
        space_.Fetch(KeySpan(keys_).Subspan(first, count), memory_.destinations(0, count), options)
            .status);
    for (size_t i = 0; i < count; ++i) {
      RETURN_IF_ERROR(CheckChunk(keys_[first + i], memory_.chunk(i)));
    }
    return absl::OkStatus();
  }

  uint64_t CountMatched() {
    uint64_t matched = 0;
    for (size_t first = 0; first < keys_.size(); first += kMatchWindow) {
      const size_t count = std::min(kMatchWindow, keys_.size() - first);
      matched += space_.Match(KeySpan(keys_).Subspan(first, count)).chunks;
    }
    return matched;
  }

  static constexpr size_t kWindow = 64;

 private:
  // A multiple of the window.
  static constexpr size_t kPrefixChunks = 1024;
  static constexpr uint64_t kAheadBytesMax = kMiB;
  static constexpr uint64_t kChunkOverheadBytes = 2048;
  static constexpr size_t kMatchWindow = 1000;

  DiskSpace(Client* client, ClientSpace space, ChunkMemory memory, std::vector<Sha256Digest> keys)
      : client_(client),
        space_(std::move(space)),
        memory_(std::move(memory)),
        keys_(std::move(keys)),
        ahead_max_(kAheadBytesMax / (memory_.chunk(0).size() + kChunkOverheadBytes)) {}

  // Until so many chunks are written or nothing is on its way any more.
  absl::Status WaitForDemotions(uint64_t demotions) {
    const MonotonicTime deadline = BenchmarkNow() + kCallTimeout;
    while (BenchmarkNow() < deadline) {
      ASSIGN_OR_RETURN(const StoreStats stats, client_->Stats());
      if (stats.disk_demotions >= demotions || stats.disk_demoting_bytes == 0) {
        return absl::OkStatus();
      }
      std::this_thread::sleep_for(kPause);
    }
    return absl::DeadlineExceededError("the disk does not get on");
  }

  Client* client_;
  ClientSpace space_;
  ChunkMemory memory_;
  std::vector<Sha256Digest> keys_;
  uint64_t ahead_max_;
};

// CPU time of a process's first thread, which is a daemon's event loop.
absl::StatusOr<double> LoopCpuSeconds(int pid) {
  const std::string path = absl::StrCat("/proc/", pid, "/task/", pid, "/schedstat");
  std::ifstream file(path);
  double nanoseconds = 0;
  if (!(file >> nanoseconds)) return absl::UnavailableError(absl::StrCat("cannot read ", path));
  return nanoseconds / 1e9;
}

struct CpuRun {
  double seconds = 0;
  uint64_t operations = 0;
};

// Stores chunks of 64 KiB in twice the memory there is, in the order of a prefix.
absl::StatusOr<CpuRun> RunPuts(const DaemonSettings& settings, uint64_t chunks) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, StartDaemon(settings));
  ASSIGN_OR_RETURN(DiskSpace space,
                   DiskSpace::Open(*client, ManifestOfLayers(2), "disk cpu", chunks));
  RETURN_IF_ERROR(space.PutPaced(0, chunks / 8));  // The first segment, warm code.
  ASSIGN_OR_RETURN(StoreStats before, client->Stats());
  // A busy disk takes its time to open it.
  const MonotonicTime deadline = BenchmarkNow() + kCallTimeout;
  while (!settings.disk.empty() && before.disk_demotions == 0 && BenchmarkNow() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ASSIGN_OR_RETURN(before, client->Stats());
  }
  ASSIGN_OR_RETURN(const double begin, LoopCpuSeconds(client->private_daemon_pid()));
  RETURN_IF_ERROR(space.PutPaced(chunks / 8, chunks - chunks / 8));
  ASSIGN_OR_RETURN(const double end, LoopCpuSeconds(client->private_daemon_pid()));
  ASSIGN_OR_RETURN(const StoreStats after, client->Stats());
  return CpuRun{.seconds = end - begin, .operations = after.disk_demotions - before.disk_demotions};
}

}  // namespace

absl::Status MeasureDiskCpu(const DiskBenchOptions& options, const std::string& directory,
                            MicroReport* report) {
  const uint64_t chunks = options.quick ? 2048 : 16384;
  DaemonSettings settings;
  settings.arena_bytes = chunks * kMiB / 32;
  settings.polls = false;
  ASSIGN_OR_RETURN(const CpuRun plain, RunPuts(settings, chunks));
  settings.disk = directory + "/cpu";
  settings.disk_bytes = chunks * kMiB / 4;
  settings.mode = "write-through";
  ASSIGN_OR_RETURN(const CpuRun disk, RunPuts(settings, chunks));
  if (disk.operations == 0) return absl::InternalError("nothing was written to disk");
  report->AddAtMost("core_us_per_op",
                    (disk.seconds - plain.seconds) * 1e6 / static_cast<double>(disk.operations),
                    kCpuGoalUs, "system calls that wake the device's thread and the loop");
  report->AddRaw("core_disk_operations", static_cast<double>(disk.operations));
  report->AddRaw("core_cpu_s_without_disk", plain.seconds);
  report->AddRaw("core_cpu_s_with_disk", disk.seconds);
  return absl::OkStatus();
}

absl::Status MeasureDiskPrefix(const DiskBenchOptions& options, const std::string& directory,
                               double raw_gb_per_s, MicroReport* report) {
  const size_t prefixes = options.quick ? 4 : 12;
  const size_t chunks = prefixes * DiskSpace::kWindow;
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client,
                   StartDaemon({.arena_bytes = 96 * kMiB,
                                .disk = directory + "/prefix",
                                .disk_bytes = 2 * chunks * kMiB + 512 * kMiB,
                                .mode = "write-through"}));
  ASSIGN_OR_RETURN(DiskSpace space,
                   DiskSpace::Open(*client, ManifestOfLayers(kLayers), "disk prefix", chunks));
  RETURN_IF_ERROR(space.PutPaced(0, chunks));
  std::vector<double> firsts, totals;
  // The last prefixes are still in memory; the first ones have left it.
  for (size_t prefix = 0; prefix + 1 < prefixes; ++prefix) {
    const MonotonicTime begin = BenchmarkNow();
    absl::Duration first;
    RETURN_IF_ERROR(space.Fetch(prefix * DiskSpace::kWindow, DiskSpace::kWindow,
                                [&] { first = BenchmarkNow() - begin; }));
    totals.push_back(absl::ToDoubleMilliseconds(BenchmarkNow() - begin));
    firsts.push_back(absl::ToDoubleMilliseconds(first));
  }
  const double raw_ms = DiskSpace::kWindow * kMiB / (raw_gb_per_s * 1e6);
  report->AddRaw("fetch64_first_chunk_ms", Median(firsts));
  report->AddRaw("fetch64_total_ms", Median(totals));
  report->AddRaw("fetch64_raw_ms", raw_ms);
  return absl::OkStatus();
}

absl::Status MeasureDiskRestart(const DiskBenchOptions& options, const std::string& directory,
                                MicroReport* report) {
  const uint64_t chunks = options.quick ? 5'000 : 1'000'000;
  const DaemonSettings settings = {.arena_bytes = 512 * kMiB,
                                   .disk = directory + "/restart",
                                   .disk_bytes = chunks * 12 * 1024 + 1024 * kMiB,
                                   .mode = "write-through"};
  uint64_t stored = 0;
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, StartDaemon(settings));
    ASSIGN_OR_RETURN(DiskSpace space,
                     DiskSpace::Open(*client, TinyManifest(), "disk restart", chunks));
    RETURN_IF_ERROR(space.PutPaced(0, chunks));
    ASSIGN_OR_RETURN(const StoreStats stats, client->Stats());
    stored = stats.disk_chunks;
    if (kill(client->private_daemon_pid(), SIGKILL) != 0) {
      return ErrnoStatus(errno, "killing the daemon");
    }
  }
  const MonotonicTime begin = BenchmarkNow();
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, StartDaemon(settings));
  const double connected = absl::ToDoubleSeconds(BenchmarkNow() - begin);
  ASSIGN_OR_RETURN(DiskSpace space,
                   DiskSpace::Open(*client, TinyManifest(), "disk restart", chunks));
  const uint64_t matched = space.CountMatched();
  report->AddAtMost("restart_1m_s", absl::ToDoubleSeconds(BenchmarkNow() - begin),
                    kRestartGoalSeconds, "reading the index, one entry a record");
  report->AddRaw("restart_connected_s", connected);
  report->AddRaw("restart_records_stored", static_cast<double>(stored));
  report->AddRaw("restart_records_matched", static_cast<double>(matched));
  return absl::OkStatus();
}

absl::Status MeasureWriteAmplification(const DiskBenchOptions& options,
                                       const std::string& directory, MicroReport* report) {
  // Blocks of 128 KiB: few enough bytes for a bench, and still less than what models have.
  ReplayOptions replay;
  replay.name_space = "disk write amplification";
  replay.tokens_per_block = 512;
  replay.bytes_per_token = 256;
  // About as many as in a trace of an hour.
  const uint64_t unique_blocks = options.quick ? 16'000 : 180'000;
  const uint64_t unique_bytes = unique_blocks * replay.tokens_per_block * replay.bytes_per_token;
  if (options.quick) replay.pace.limit = 600;
  std::unique_ptr<RequestSource> source;
  if (options.trace.empty()) {
    GeneratorOptions generator;
    generator.tokens_per_block = replay.tokens_per_block;
    if (!replay.pace.limit) replay.pace.limit = 6'000;
    ASSIGN_OR_RETURN(source, MakeGenerator("conversation", 1, generator));
  } else {
    ASSIGN_OR_RETURN(source, OpenTrace(options.trace));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client,
                   StartDaemon({.arena_bytes = unique_bytes / 50 / kMiB * kMiB,
                                .disk = directory + "/trace",
                                .disk_bytes = unique_bytes / 5,
                                .segment_bytes = 16 * kMiB}));
  ASSIGN_OR_RETURN(const ReplayReport replayed,
                   Replay(std::span(&client, 1), std::move(source), replay, [](uint64_t) {}));
  if (!replayed.ok()) return absl::DataLossError("the replay met wrong bytes or errors");
  const StoreStats& stats = replayed.stats;
  if (stats.disk_payload_bytes_written == 0) {
    return absl::InternalError("nothing was written to disk");
  }
  report->AddAtMost("write_amplification",
                    static_cast<double>(stats.disk_device_bytes_written) /
                        static_cast<double>(stats.disk_payload_bytes_written),
                    kAmplificationGoal, "a header block a record, and what reclaiming keeps");
  report->AddRaw("trace_payload_bytes_written",
                 static_cast<double>(stats.disk_payload_bytes_written));
  report->AddRaw("trace_disk_loads", static_cast<double>(stats.disk_loads));
  report->AddRaw("trace_block_hit_ratio", static_cast<double>(replayed.counts.hit_blocks) /
                                              static_cast<double>(replayed.counts.blocks));
  return absl::OkStatus();
}

}  // namespace larder
