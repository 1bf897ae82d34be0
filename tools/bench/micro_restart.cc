// A full daemon is killed and started again on the same arena.
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "tools/bench/bench_directory.h"
#include "tools/bench/chunk_memory.h"
#include "tools/bench/geometry.h"
#include "tools/bench/micro_parts.h"
#include "tools/console/units.h"

namespace larder {
namespace {

constexpr uint64_t kQuickBytes = uint64_t{128} << 20;
constexpr uint32_t kLayers = 32;
constexpr size_t kWindowChunks = 64;
constexpr double kRestartGoalSeconds = 2;
// A large arena's memory comes slowly on a machine that has to fetch it from its host.
constexpr absl::Duration kCallTimeout = absl::Seconds(60);

// In shared memory, if that has room.
absl::StatusOr<BenchDirectory> MakeArenaDirectory(uint64_t bytes) {
  const std::filesystem::path parent = "/dev/shm";
  std::error_code error;
  const std::filesystem::space_info space = std::filesystem::space(parent, error);
  if (error) return absl::UnavailableError(absl::StrCat(parent.string(), ": ", error.message()));
  if (space.available < bytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the restart benchmark takes ", FormatBytes(bytes), " in ", parent.string(), ", which has ",
        FormatBytes(space.available), " left; --restart-gib makes it smaller"));
  }
  return BenchDirectory::Create(parent);
}

class RestartBenchmark {
 public:
  RestartBenchmark(const MicroOptions& options, uint64_t chunks)
      : options_(options), keys_(BenchmarkKeys("restart", chunks)) {}

  absl::StatusOr<std::unique_ptr<Client>> StartDaemon(const std::string& arena_directory) const {
    PrivateDaemonOptions daemon_options;
    daemon_options.arena_bytes = ArenaBytesFor(manifest_, keys_.size());
    daemon_options.larderd = options_.larderd;
    daemon_options.flags = {"--arena-directory=" + arena_directory};
    ClientOptions client_options;
    client_options.timeout = kCallTimeout;
    return Client::StartPrivate(daemon_options, client_options);
  }

  absl::Status PutAll(Client& client) const {
    ASSIGN_OR_RETURN(ClientSpace space, client.Open(manifest_));
    ASSIGN_OR_RETURN(const ChunkMemory memory, NewMemory());
    for (size_t first = 0; first < keys_.size(); first += kWindowChunks) {
      for (size_t i = 0; i < kWindowChunks; ++i) FillChunk(keys_[first + i], memory.chunk(i));
      RETURN_IF_ERROR(PutWindow(space, first, memory));
    }
    return absl::OkStatus();
  }

  absl::Status MatchAll(Client& client) const {
    ASSIGN_OR_RETURN(ClientSpace space, client.Open(manifest_));
    const MatchResult matched = space.Match(keys_);
    RETURN_IF_ERROR(matched.status);
    if (matched.chunks == keys_.size()) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat("after the restart the first ", matched.chunks, " of ",
                                            keys_.size(), " chunks are there"));
  }

  // Seconds in Fetch.
  absl::StatusOr<double> FetchAndCheckAll(Client& client) const {
    ASSIGN_OR_RETURN(ClientSpace space, client.Open(manifest_));
    ASSIGN_OR_RETURN(const ChunkMemory memory, NewMemory());
    double seconds = 0;
    for (size_t first = 0; first < keys_.size(); first += kWindowChunks) {
      const MonotonicTime begin = BenchmarkNow();
      const FetchResult result = space.Fetch(KeySpan(keys_).Subspan(first, kWindowChunks),
                                             memory.destinations(0, kWindowChunks));
      seconds += absl::ToDoubleSeconds(BenchmarkNow() - begin);
      RETURN_IF_ERROR(result.status);
      for (size_t i = 0; i < kWindowChunks; ++i) {
        RETURN_IF_ERROR(CheckChunk(keys_[first + i], memory.chunk(i)));
      }
    }
    return seconds;
  }

  double gigabytes() const {
    return static_cast<double>(keys_.size() * manifest_.PayloadBytes(manifest_.WholePart())) / 1e9;
  }

 private:
  absl::StatusOr<ChunkMemory> NewMemory() const {
    return ChunkMemory::Create(kWindowChunks, manifest_.PayloadBytes(manifest_.WholePart()));
  }

  absl::Status PutWindow(ClientSpace& space, size_t first, const ChunkMemory& memory) const {
    PutOptions put_options;
    put_options.first_depth = static_cast<uint32_t>(first);
    if (first > 0) put_options.parent = keys_[first - 1];
    return space
        .Put(KeySpan(keys_).Subspan(first, kWindowChunks), memory.sources(0, kWindowChunks),
             put_options)
        .status;
  }

  const MicroOptions& options_;
  const Manifest manifest_ = ManifestOfLayers(kLayers);
  const std::vector<Sha256Digest> keys_;
};

}  // namespace

absl::Status MeasureRestart(const MicroOptions& options, MicroReport* report) {
  const uint64_t bytes = options.quick ? kQuickBytes : options.restart_gib << 30;
  const uint64_t chunks = bytes >> 20;
  ASSIGN_OR_RETURN(const BenchDirectory directory,
                   MakeArenaDirectory(ArenaBytesFor(ManifestOfLayers(kLayers), chunks)));
  const RestartBenchmark benchmark(options, chunks);
  const std::string arena = directory.path() + "/arena";
  {
    ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, benchmark.StartDaemon(arena));
    RETURN_IF_ERROR(benchmark.PutAll(*client));
    // The last commit was acknowledged a moment ago; nothing is written back or closed.
    if (kill(client->private_daemon_pid(), SIGKILL) != 0) {
      return ErrnoStatus(errno, "killing the daemon");
    }
  }
  const MonotonicTime begin = BenchmarkNow();
  ASSIGN_OR_RETURN(const std::unique_ptr<Client> client, benchmark.StartDaemon(arena));
  const double connected = absl::ToDoubleSeconds(BenchmarkNow() - begin);
  RETURN_IF_ERROR(benchmark.MatchAll(*client));
  const double served = absl::ToDoubleSeconds(BenchmarkNow() - begin);
  ASSIGN_OR_RETURN(const double fetch_seconds, benchmark.FetchAndCheckAll(*client));
  report->AddAtMost("restart_8gib_s", served, kRestartGoalSeconds,
                    "mapping the arena, reading one record a block");
  report->AddRaw("restart_connected_s", connected);
  report->AddRaw("restart_gigabytes", benchmark.gigabytes());
  report->AddRaw("restart_chunks_verified", static_cast<double>(chunks));
  report->AddRaw("restart_first_fetch_gb_per_s", benchmark.gigabytes() / fetch_seconds);
  return absl::OkStatus();
}

}  // namespace larder
