#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/hash.h"
#include "common/status.h"
#include "kernels/format/container.h"
#include "tools/bench/micro_parts.h"
#include "tools/bench/process_memory.h"
#include "tools/workload/content.h"

namespace larder {
namespace {

constexpr uint64_t kGranuleBytes = 4096;
constexpr uint64_t kArenaSlackBytes = uint64_t{32} << 20;
constexpr auto kMemoryPollPause = std::chrono::milliseconds(200);
// The daemon maps its memory in the background; when it has stopped for so long, it is done.
constexpr int kPollsWithoutGrowthMax = 15;

uint64_t RoundUp(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

absl::Status WaitForMemory(Client& client) {
  ASSIGN_OR_RETURN(const StoreStats stats, client.Stats());
  uint64_t largest = 0;
  for (int still = 0; still < kPollsWithoutGrowthMax; ++still) {
    ASSIGN_OR_RETURN(const ProcessMemory memory, ReadDaemonMemory(client));
    // On huge pages reserving the memory is giving it.
    const uint64_t mapped = memory.file_bytes.value_or(stats.data_bytes);
    if (mapped >= stats.data_bytes) break;
    if (mapped > largest) still = 0;
    largest = std::max(largest, mapped);
    std::this_thread::sleep_for(kMemoryPollPause);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ProcessMemory> ReadDaemonMemory(const Client& client) {
  const std::string data = std::filesystem::path(client.socket_path()).parent_path() / "data";
  ASSIGN_OR_RETURN(const ProcessMemory memory,
                   ReadProcessMemory(client.private_daemon_pid(), data));
  if (!memory.file_bytes && std::filesystem::exists(data)) {
    return absl::InternalError(absl::StrCat("the daemon has not mapped ", data));
  }
  return memory;
}

uint64_t ArenaBytesFor(const Manifest& manifest, uint64_t chunk_count) {
  const uint64_t container = RawContainerBytes(manifest, manifest.WholePart());
  return chunk_count * RoundUp(container, kGranuleBytes) + kArenaSlackBytes;
}

absl::StatusOr<std::unique_ptr<Client>> StartWarmDaemon(const MicroOptions& options,
                                                        const Manifest& manifest,
                                                        uint64_t chunk_count,
                                                        std::vector<std::string> flags) {
  PrivateDaemonOptions daemon_options;
  daemon_options.flags = std::move(flags);
  daemon_options.arena_bytes = ArenaBytesFor(manifest, chunk_count);
  daemon_options.larderd = options.larderd;
  ASSIGN_OR_RETURN(std::unique_ptr<Client> client, Client::StartPrivate(daemon_options));
  RETURN_IF_ERROR(WaitForMemory(*client));
  return client;
}

std::vector<Sha256Digest> BenchmarkKeys(absl::string_view part, uint64_t count) {
  std::vector<Sha256Digest> keys;
  keys.reserve(count);
  const std::string name_space = absl::StrCat("larder-bench micro ", part);
  for (uint64_t i = 0; i < count; ++i) keys.push_back(KeyBytes(name_space, i));
  return keys;
}

void FillChunk(const Sha256Digest& key, std::span<uint8_t> chunk) {
  FillContent(HashKey(key), 0, chunk);
}

absl::Status CheckChunk(const Sha256Digest& key, std::span<const uint8_t> chunk) {
  const size_t wrong = CheckContent(HashKey(key), 0, chunk);
  if (wrong == chunk.size()) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat("a chunk came back with a wrong byte at ", wrong, " of ", chunk.size()));
}

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

MonotonicTime BenchmarkNow() { return SystemClock::Get().Now(); }

}  // namespace larder
