#include "tools/bench/net.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <memory>
#include <sstream>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"
#include "common/status.h"
#include "tools/bench/chunk_memory.h"
#include "tools/bench/geometry.h"
#include "tools/bench/micro_parts.h"
#include "tools/bench/raw_stream.h"

namespace larder {
namespace {

constexpr int kRounds = 7;
constexpr int kQuickRounds = 2;
constexpr absl::Duration kMeetTimeout = absl::Seconds(20);
constexpr absl::Duration kFetchTimeout = absl::Seconds(30);
constexpr auto kPollPause = std::chrono::milliseconds(5);
// A node that asks does not believe any answer for longer, looks for the old ones included.
constexpr auto kAnswersEnd = std::chrono::milliseconds(5500);

constexpr double kLargeGoal = 0.90;
constexpr double kSmallGoal = 0.60;
constexpr double kLatencyGoalUs = 60;
// A stream that, like the daemons, asks for the congestion control that is quickest on loopback.
const RawStreamOptions kTunedStream{.congestion = "cubic"};

// A TCP port of loopback that nobody listens on now.
absl::StatusOr<int> FreePort() {
  const FileDescriptor probe(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  if (bind(probe.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(probe.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return ErrnoStatus(errno, "looking for a free port");
  }
  return ntohs(address.sin_port);
}

// CPU time of another process, user and system.
absl::StatusOr<double> CpuSeconds(int pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string line;
  if (!std::getline(file, line)) return absl::NotFoundError("a daemon's CPU time is not known");
  // After the name in parentheses, which may hold anything: utime and stime are the 12th and 13th.
  std::istringstream rest(line.substr(line.rfind(')') + 1));
  std::string word;
  double ticks = 0;
  for (int i = 1; rest >> word; ++i) {
    if (i == 12 || i == 13) ticks += std::stod(word);
  }
  return ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// Two nodes; the first holds chunks that the second fetches. As a directory node it is asked where
// they are, too.
class TwoNodes {
 public:
  static absl::StatusOr<std::unique_ptr<TwoNodes>> Start(const NetBenchOptions& options,
                                                         const Manifest& manifest, size_t chunks,
                                                         bool directory = false) {
    std::unique_ptr<TwoNodes> nodes(new TwoNodes);
    ASSIGN_OR_RETURN(const int first, FreePort());
    ASSIGN_OR_RETURN(const int second, FreePort());
    const std::string peers = absl::StrCat("127.0.0.1:", first, ",127.0.0.1:", second);
    MicroOptions micro;
    micro.larderd = options.larderd;
    const auto start = [&](const char* name, int port, bool is_directory) {
      return StartWarmDaemon(
          micro, manifest, chunks,
          {"--cluster=bench", absl::StrCat("--node=", name), "--peer-listen=127.0.0.1:0",
           absl::StrCat("--grpc-listen=127.0.0.1:", port), absl::StrCat("--peers=", peers),
           absl::StrCat("--set=cluster.engine=", options.engine),
           absl::StrCat("--set=cluster.directory=", is_directory ? "true" : "false")});
    };
    ASSIGN_OR_RETURN(nodes->holder_, start("holder", first, directory));
    ASSIGN_OR_RETURN(nodes->reader_, start("reader", second, false));
    ASSIGN_OR_RETURN(ClientSpace held, nodes->holder_->Open(manifest));
    ASSIGN_OR_RETURN(ClientSpace read, nodes->reader_->Open(manifest));
    nodes->held_.emplace(std::move(held));
    nodes->read_.emplace(std::move(read));
    nodes->chunk_bytes_ = manifest.PayloadBytes(manifest.WholePart());
    nodes->keys_ = BenchmarkKeys(absl::StrCat("net ", nodes->chunk_bytes_), chunks);
    ASSIGN_OR_RETURN(ChunkMemory memory, ChunkMemory::Create(chunks, nodes->chunk_bytes_));
    nodes->memory_.emplace(std::move(memory));
    RETURN_IF_ERROR(nodes->Fill());
    return nodes;
  }

  // Fetches all chunks, none of which the reader has; bytes a second.
  absl::StatusOr<double> FetchAll() {
    RETURN_IF_ERROR(Forget());
    const MonotonicTime begin = BenchmarkNow();
    const FetchResult result =
        read_->Fetch(keys_, memory_->destinations(0, keys_.size()), Options());
    const absl::Duration took = BenchmarkNow() - begin;
    RETURN_IF_ERROR(result.status);
    return static_cast<double>(result.bytes) / absl::ToDoubleSeconds(took);
  }

  // As FetchAll, and leaves them where they are in the reader's arena: whoever reads them there or
  // copies them to a device wants no other copy.
  absl::StatusOr<double> ViewAll() {
    RETURN_IF_ERROR(Forget());
    const MonotonicTime begin = BenchmarkNow();
    ASSIGN_OR_RETURN(const ChunkView view, read_->View(keys_, Options()));
    const absl::Duration took = BenchmarkNow() - begin;
    if (view.chunks() < keys_.size()) return absl::InternalError("the view lacks chunks");
    ASSIGN_OR_RETURN(const ContainerView last, view.Open(keys_.size() - 1));
    RETURN_IF_ERROR(last.VerifyBodies());
    return static_cast<double>(bytes()) / absl::ToDoubleSeconds(took);
  }

  // Fetches the chunks one after the other; each one's time.
  absl::StatusOr<std::vector<double>> FetchEach() {
    RETURN_IF_ERROR(Forget());
    std::vector<double> microseconds;
    for (size_t i = 0; i < keys_.size(); ++i) {
      const MonotonicTime begin = BenchmarkNow();
      const FetchResult result =
          read_->Fetch(KeySpan(keys_).Subspan(i, 1), memory_->destinations(i, 1), Options());
      microseconds.push_back(absl::ToDoubleMicroseconds(BenchmarkNow() - begin));
      RETURN_IF_ERROR(result.status);
    }
    return microseconds;
  }

  // Matches each chunk on its own; the time of each that is found. Others are misses: the directory
  // node was too slow.
  absl::StatusOr<std::vector<double>> MatchEach(uint64_t* misses) {
    std::vector<double> microseconds;
    for (size_t i = 0; i < keys_.size(); ++i) {
      const MonotonicTime begin = BenchmarkNow();
      const MatchResult result = read_->Match(KeySpan(keys_).Subspan(i, 1));
      RETURN_IF_ERROR(result.status);
      if (result.chunks == 0) {
        ++*misses;
      } else {
        microseconds.push_back(absl::ToDoubleMicroseconds(BenchmarkNow() - begin));
      }
    }
    if (!microseconds.empty()) return microseconds;
    return absl::NotFoundError("the reader finds nothing that the other node holds");
  }

  // What was fetched last is what was put.
  absl::Status Check() const {
    for (size_t i = 0; i < keys_.size(); ++i) {
      RETURN_IF_ERROR(CheckChunk(keys_[i], memory_->chunk(i)));
    }
    return absl::OkStatus();
  }

  absl::StatusOr<double> HolderCpuSeconds() const {
    return CpuSeconds(holder_->private_daemon_pid());
  }
  // The reading daemon and its client.
  absl::StatusOr<double> ReaderCpuSeconds() const {
    ASSIGN_OR_RETURN(const double daemon, CpuSeconds(reader_->private_daemon_pid()));
    return daemon + OwnCpuSeconds();
  }
  uint64_t bytes() const { return keys_.size() * chunk_bytes_; }

 private:
  static FetchOptions Options() {
    FetchOptions options;
    options.timeout = kFetchTimeout;
    return options;
  }

  absl::Status Fill() {
    for (size_t i = 0; i < keys_.size(); ++i) FillChunk(keys_[i], memory_->chunk(i));
    PutOptions put;
    put.timeout = kFetchTimeout;
    RETURN_IF_ERROR(held_->Put(keys_, memory_->sources(0, keys_.size()), put).status);
    MatchOptions look;
    look.touch = false;
    const MonotonicTime deadline = BenchmarkNow() + kMeetTimeout;
    while (read_->Match(keys_, look).chunks < keys_.size()) {
      if (BenchmarkNow() > deadline) {
        return absl::DeadlineExceededError("the two nodes did not come to know of each other");
      }
      std::this_thread::sleep_for(kPollPause);
    }
    return absl::OkStatus();
  }

  absl::Status Forget() {
    MatchOptions look;
    look.touch = false;
    look.local_only = true;
    RETURN_IF_ERROR(read_->Remove(keys_).status());
    if (read_->Match(keys_, look).chunks == 0) return absl::OkStatus();
    return absl::InternalError("the reader still has what was removed");
  }

  std::unique_ptr<Client> holder_, reader_;
  std::optional<ClientSpace> held_, read_;
  std::vector<Sha256Digest> keys_;
  std::optional<ChunkMemory> memory_;
  uint64_t chunk_bytes_ = 0;
};

// The rounds of one stream.
struct StreamRuns {
  const char* name;
  std::vector<double> rates = {};  // bytes a second
  double cpu_seconds = 0;

  absl::Status Add(const absl::StatusOr<RawStreamRun>& run) {
    RETURN_IF_ERROR(run.status());
    rates.push_back(run->bytes_per_second);
    cpu_seconds += run->cpu_seconds;
    return absl::OkStatus();
  }
  // The median over the rounds.
  double RatioOf(const std::vector<double>& others) const {
    std::vector<double> ratios;
    for (size_t i = 0; i < rates.size(); ++i) ratios.push_back(others[i] / rates[i]);
    return Median(ratios);
  }
};

class NetBenchmark {
 public:
  NetBenchmark(const NetBenchOptions& options, MicroReport* report)
      : options_(options), rounds_(options.quick ? kQuickRounds : kRounds), report_(report) {}

  // `size` names the figure.
  absl::Status MeasureRate(const std::string& size, uint32_t layers, uint64_t total_bytes,
                           double goal) {
    Step(absl::StrCat("chunks of ", size));
    const Manifest manifest = ManifestOfLayers(layers);
    const uint64_t chunk_bytes = manifest.PayloadBytes(manifest.WholePart());
    ASSIGN_OR_RETURN(const std::unique_ptr<TwoNodes> nodes,
                     TwoNodes::Start(options_, manifest, total_bytes / chunk_bytes));
    RETURN_IF_ERROR(nodes->FetchAll().status());
    RETURN_IF_ERROR(nodes->Check());
    StreamRuns plain{.name = "stream"}, tuned{.name = "tuned_stream"};
    std::vector<double> rates, view_rates;
    double holder_cpu = 0, reader_cpu = 0;
    for (int round = 0; round < rounds_; ++round) {
      RETURN_IF_ERROR(plain.Add(RunRawStream(chunk_bytes, nodes->bytes())));
      RETURN_IF_ERROR(tuned.Add(RunRawStream(chunk_bytes, nodes->bytes(), kTunedStream)));
      ASSIGN_OR_RETURN(const double holder_begin, nodes->HolderCpuSeconds());
      ASSIGN_OR_RETURN(const double reader_begin, nodes->ReaderCpuSeconds());
      ASSIGN_OR_RETURN(const double rate, nodes->FetchAll());
      ASSIGN_OR_RETURN(const double holder_end, nodes->HolderCpuSeconds());
      ASSIGN_OR_RETURN(const double reader_end, nodes->ReaderCpuSeconds());
      holder_cpu += holder_end - holder_begin;
      reader_cpu += reader_end - reader_begin;
      rates.push_back(rate);
      ASSIGN_OR_RETURN(const double view_rate, nodes->ViewAll());
      view_rates.push_back(view_rate);
    }
    RETURN_IF_ERROR(nodes->Check());
    const double gigabytes = static_cast<double>(nodes->bytes()) * rounds_ * 1e-9;
    report_->AddAtLeast(absl::StrCat("fetch_", size, "_ratio"), plain.RatioOf(rates), goal,
                        "a plain blocking TCP stream");
    report_->AddRaw(absl::StrCat("fetch_", size, "_tuned_ratio"), tuned.RatioOf(rates));
    report_->AddRaw(absl::StrCat("view_", size, "_ratio"), plain.RatioOf(view_rates));
    report_->AddRaw(absl::StrCat("view_", size, "_tuned_ratio"), tuned.RatioOf(view_rates));
    report_->AddRaw(absl::StrCat("fetch_", size, "_gb_per_s"), Median(rates) * 1e-9);
    report_->AddRaw(absl::StrCat("holder_", size, "_cpu_s_per_gb"), holder_cpu / gigabytes);
    report_->AddRaw(absl::StrCat("reader_", size, "_cpu_s_per_gb"), reader_cpu / gigabytes);
    for (const StreamRuns* stream : {&plain, &tuned}) {
      report_->AddRaw(absl::StrCat(stream->name, "_", size, "_gb_per_s"),
                      Median(stream->rates) * 1e-9);
      report_->AddRaw(absl::StrCat(stream->name, "_", size, "_cpu_s_per_gb"),
                      stream->cpu_seconds / gigabytes);
    }
    return absl::OkStatus();
  }

  absl::Status MeasureLatency(size_t fetches) {
    Step("latency");
    const Manifest manifest = ManifestOfLayers(2);
    const uint64_t chunk_bytes = manifest.PayloadBytes(manifest.WholePart());
    ASSIGN_OR_RETURN(const std::unique_ptr<TwoNodes> nodes,
                     TwoNodes::Start(options_, manifest, fetches));
    std::vector<double> added, fetched, pinged;
    for (int round = 0; round < rounds_; ++round) {
      ASSIGN_OR_RETURN(const std::vector<absl::Duration> pings,
                       RawPingPong(chunk_bytes, static_cast<int>(fetches), kTunedStream));
      std::vector<double> ping_us;
      for (absl::Duration ping : pings) ping_us.push_back(absl::ToDoubleMicroseconds(ping));
      ASSIGN_OR_RETURN(std::vector<double> fetch_us, nodes->FetchEach());
      RETURN_IF_ERROR(nodes->Check());
      fetched.push_back(Median(fetch_us));
      pinged.push_back(Median(ping_us));
      added.push_back(fetched.back() - pinged.back());
    }
    report_->AddAtMost("added_latency_64kib_p50_us", Median(added), kLatencyGoalUs,
                       "wake-ups of threads");
    report_->AddRaw("fetch_64kib_p50_us", Median(fetched));
    report_->AddRaw("ping_pong_64kib_p50_us", Median(pinged));
    return absl::OkStatus();
  }

  // What a chunk costs that has to be asked for before the reader knows where it is.
  absl::Status MeasureAsking(size_t chunks) {
    Step("directory");
    ASSIGN_OR_RETURN(const std::unique_ptr<TwoNodes> nodes,
                     TwoNodes::Start(options_, ManifestOfLayers(2), chunks, /*directory=*/true));
    std::vector<double> asking, knowing;
    uint64_t misses = 0;
    for (int round = 0; round < rounds_; ++round) {
      std::this_thread::sleep_for(kAnswersEnd);
      ASSIGN_OR_RETURN(std::vector<double> asking_us, nodes->MatchEach(&misses));
      ASSIGN_OR_RETURN(std::vector<double> knowing_us, nodes->MatchEach(&misses));
      asking.push_back(Median(asking_us));
      knowing.push_back(Median(knowing_us));
    }
    report_->AddRaw("match_asking_p50_us", Median(asking));
    report_->AddRaw("match_knowing_p50_us", Median(knowing));
    report_->AddRaw("match_misses", static_cast<double>(misses));
    return absl::OkStatus();
  }

 private:
  void Step(const std::string& what) {
    if (options_.on_step) options_.on_step(what);
  }

  const NetBenchOptions& options_;
  const int rounds_;
  MicroReport* const report_;
};

}  // namespace

absl::StatusOr<MicroReport> RunNetBench(const NetBenchOptions& options) {
  MicroReport report;
  NetBenchmark benchmark(options, &report);
  const uint64_t mib = uint64_t{1} << 20;
  const auto wanted = [&](const std::string& part) {
    return options.only.empty() ||
           std::find(options.only.begin(), options.only.end(), part) != options.only.end();
  };
  if (wanted("4mib")) {
    RETURN_IF_ERROR(
        benchmark.MeasureRate("4mib", 128, (options.quick ? 32 : 512) * mib, kLargeGoal));
  }
  if (wanted("64kib")) {
    RETURN_IF_ERROR(benchmark.MeasureRate("64kib", 2, (options.quick ? 8 : 128) * mib, kSmallGoal));
  }
  if (wanted("latency")) {
    RETURN_IF_ERROR(benchmark.MeasureLatency(options.quick ? 64 : 500));
  }
  if (wanted("directory")) {
    RETURN_IF_ERROR(benchmark.MeasureAsking(options.quick ? 64 : 500));
  }
  report.AddSetting("engine", options.engine);
  return report;
}

}  // namespace larder
