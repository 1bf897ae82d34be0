// larder-bench: replays workloads against a daemon, and measures one node and the cluster's parts.
// Exit codes: 0 done, 1 a byte was wrong or something failed, 2 bad usage.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/client.h"
#include "common/status.h"
#include "kernels/format/coded_container.h"
#include "tools/bench/disk.h"
#include "tools/bench/disk_metadata.h"
#include "tools/bench/geometry.h"
#include "tools/bench/index.h"
#include "tools/bench/micro.h"
#include "tools/bench/micro_report.h"
#include "tools/bench/net.h"
#include "tools/bench/replay.h"
#include "tools/bench/replay_report.h"
#include "tools/console/progress_bar.h"
#include "tools/console/units.h"
#include "tools/workload/generator.h"
#include "tools/workload/trace_reader.h"

namespace larder {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
constexpr uint64_t kGeneratedRequests = 1000;
constexpr uint32_t kTimeScaleMax = 1000;
constexpr uint64_t kIndexRecordsMax = 1'000'000'000;
constexpr uint64_t kIndexEntriesMax = 1'000'000'000;

struct ReplayFlags {
  std::string trace, generate;
  uint64_t seed = 1;
  bool private_daemon = false;
  std::vector<std::string> sockets;
  std::string larderd;
  std::string arena_bytes;
  std::string codec = "raw";
  std::optional<uint64_t> limit;
  ReplayOptions options;
  bool json = false;
};

struct MicroFlags {
  MicroOptions options;
  std::string only;
  bool json = false;
};

struct DiskFlags {
  DiskBenchOptions options;
  bool json = false;
};

struct DiskMetadataFlags {
  DiskMetadataBenchOptions options;
  bool json = false;
};

struct IndexFlags {
  IndexBenchOptions options;
  bool json = false;
};

struct NetFlags {
  NetBenchOptions options;
  bool json = false;
};

void DeclareReplay(CLI::App* app, ReplayFlags* flags) {
  auto* trace = app->add_option("trace,--trace", flags->trace,
                                "Trace file: .jsonl, also compressed as .xz or .zst")
                    ->type_name("FILE");
  app->add_option("--generate", flags->generate,
                  absl::StrCat("Generated workload instead: ", kGeneratorKinds))
      ->excludes(trace)
      ->type_name("KIND");
  app->add_option("--seed", flags->seed, "Of the generated workload")->capture_default_str();
  auto* socket =
      app->add_option("--socket", flags->sockets,
                      "Socket of a running daemon; of several, with commas between them, "
                      "which get the requests in turns")
          ->type_name("PATH")
          ->delimiter(',')
          ->allow_extra_args(false);
  app->add_option("--lost-nodes", flags->options.lost_nodes_max,
                  "So many of the daemons may end during the replay")
      ->needs(socket)
      ->type_name("COUNT");
  app->add_flag("--private", flags->private_daemon,
                "Start a daemon for this run (the default without --socket)")
      ->excludes(socket);
  app->add_option("--arena-bytes", flags->arena_bytes,
                  "Memory of the private daemon, as 4GiB (default 256MiB)")
      ->excludes(socket)
      ->type_name("SIZE");
  app->add_option("--larderd", flags->larderd, "The private daemon's program")
      ->excludes(socket)
      ->type_name("PATH");
  app->add_option("--tokens-per-block", flags->options.tokens_per_block,
                  "Tokens of a block; a trace's own number")
      ->capture_default_str();
  app->add_option("--bytes-per-token", flags->options.bytes_per_token,
                  "Bytes that the cache takes for a token, a multiple of 4")
      ->capture_default_str();
  app->add_option("--codec", flags->codec,
                  absl::StrCat("How blocks are stored: ", kContainerCodecNames,
                               "; others than raw take at least 8192 bytes a token"))
      ->capture_default_str();
  app->add_option("--levels", flags->options.levels,
                  "So many levels of codec larder are stored; 0: all")
      ->capture_default_str();
  app->add_option("--concurrency", flags->options.concurrency,
                  "Requests at a time, each on a thread of its own")
      ->capture_default_str();
  app->add_option("--limit", flags->limit,
                  absl::StrCat("Ends after so many requests (a generated workload: ",
                               kGeneratedRequests, ")"))
      ->type_name("COUNT");
  app->add_option("--time-scale", flags->options.pace.time_scale,
                  "Seconds for each second of the workload; 0: as fast as possible")
      ->check(CLI::Range(0.0, double{kTimeScaleMax}))
      ->capture_default_str();
  app->add_flag("--json", flags->json, "Print one JSON object instead of a table");
}

void DeclareMicro(CLI::App* app, MicroFlags* flags) {
  app->add_option("--only", flags->only,
                  absl::StrCat("Parts to run, separated by commas: ", kMicroParts))
      ->type_name("NAMES");
  app->add_flag("--quick", flags->options.quick,
                "Small sizes: shows that it works, the figures mean little");
  app->add_option("--restart-gib", flags->options.restart_gib,
                  "What the restart part stores, in GiB of /dev/shm")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app->add_option("--larderd", flags->options.larderd, "The daemon's program")->type_name("PATH");
  app->add_flag("--json", flags->json, "Print one JSON object instead of a table");
}

void DeclareDisk(CLI::App* app, DiskFlags* flags) {
  app->add_option("--path", flags->options.path, "Directory on the file system to measure")
      ->type_name("DIR")
      ->capture_default_str();
  app->add_option("--gib", flags->options.gib, "Size of each of the two files, in GiB")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  app->add_option("--trace", flags->options.trace,
                  "Workload for the write amplification instead of a generated one")
      ->type_name("FILE");
  app->add_flag("--quick", flags->options.quick,
                "Small sizes: shows that it works, the figures mean little");
  app->add_flag("--json", flags->json, "Print one JSON object instead of a table");
}

void DeclareDiskMetadata(CLI::App* app, DiskMetadataFlags* flags) {
  app->add_option("--directory", flags->options.directory,
                  "Directory on the file system to measure")
      ->required()
      ->type_name("PATH");
  app->add_option("--records", flags->options.records, "Records of the index")
      ->check(CLI::Range(uint64_t{1}, kIndexRecordsMax))
      ->capture_default_str();
  app->add_flag("--json", flags->json, "Print one JSON object instead of a table");
}

void DeclareIndex(CLI::App* app, IndexFlags* flags) {
  app->add_option("--entries", flags->options.entries, "Entries of the index")
      ->check(CLI::Range(uint64_t{1000}, kIndexEntriesMax))
      ->capture_default_str();
  app->add_flag("--json", flags->json, "Print one JSON object instead of a table");
}

void DeclareNet(CLI::App* app, NetFlags* flags) {
  app->add_option("--only", flags->options.only, "Parts to run, separated by commas")
      ->delimiter(',')
      ->check(CLI::IsMember(kNetParts));
  app->add_option("--engine", flags->options.engine,
                  "How the nodes drive their sockets: auto, io_uring, epoll")
      ->capture_default_str();
  app->add_flag("--quick", flags->options.quick,
                "Small sizes: shows that it works, the figures mean little");
  app->add_option("--larderd", flags->options.larderd, "The daemons' program")->type_name("PATH");
  app->add_flag("--json", flags->json, "Print one JSON object instead of a table");
}

absl::StatusOr<std::unique_ptr<RequestSource>> OpenWorkload(ReplayFlags* flags) {
  if (flags->trace.empty() && flags->generate.empty()) {
    return absl::InvalidArgumentError("name a trace file, or --generate a workload");
  }
  if (!flags->trace.empty()) {
    // Two traces number their blocks alike: their names keep them apart in a shared daemon.
    flags->options.name_space = absl::StrCat("trace ", flags->trace);
    return OpenTrace(flags->trace);
  }
  flags->options.name_space = absl::StrCat("generated ", flags->generate, " ", flags->seed);
  GeneratorOptions options;
  options.requests = flags->limit.value_or(kGeneratedRequests);
  options.tokens_per_block = flags->options.tokens_per_block;
  return MakeGenerator(flags->generate, flags->seed, options);
}

absl::StatusOr<std::vector<std::unique_ptr<Client>>> OpenClients(const ReplayFlags& flags) {
  ClientOptions client_options;
  client_options.name = "larder-bench";
  std::vector<std::unique_ptr<Client>> clients;
  for (const std::string& socket : flags.sockets) {
    client_options.socket_path = socket;
    ASSIGN_OR_RETURN(clients.emplace_back(), Client::Connect(client_options));
  }
  if (!clients.empty()) return clients;
  PrivateDaemonOptions daemon_options;
  daemon_options.larderd = flags.larderd;
  if (!flags.arena_bytes.empty()) {
    absl::StatusOr<uint64_t> bytes = ParseBytes(flags.arena_bytes);
    if (!bytes.ok()) return Annotate(bytes.status(), "--arena-bytes");
    daemon_options.arena_bytes = *bytes;
  }
  ASSIGN_OR_RETURN(clients.emplace_back(), Client::StartPrivate(daemon_options, client_options));
  return clients;
}

absl::StatusOr<ReplayReport> RunReplay(ReplayFlags flags) {
  ASSIGN_OR_RETURN(std::unique_ptr<RequestSource> source, OpenWorkload(&flags));
  // Before a daemon is started for nothing.
  RETURN_IF_ERROR(
      ManifestOfSize(flags.options.bytes_per_token, flags.options.tokens_per_block).status());
  ASSIGN_OR_RETURN(const std::vector<std::unique_ptr<Client>> clients, OpenClients(flags));
  ASSIGN_OR_RETURN(flags.options.codec, ParseContainerCodec(flags.codec));
  RETURN_IF_ERROR(CheckLevels(flags.options.codec, flags.options.levels));
  // The same blocks have other contents.
  if (flags.options.codec != ContainerCodec::kRaw) {
    absl::StrAppend(&flags.options.name_space, " values");
  }
  flags.options.pace.limit = flags.limit;
  std::optional<uint64_t> total = source->total_hint();
  if (!total) total = flags.limit;
  ProgressBar bar = ProgressBar::OnTerminal(SystemClock::Get(), "requests", total);
  return Replay(clients, std::move(source), flags.options,
                [&bar](uint64_t done) { bar.Update(done); });
}

int Fail(const absl::Status& status) {
  std::fprintf(stderr, "larder-bench: %s\n", std::string(status.message()).c_str());
  return absl::IsInvalidArgument(status) ? kExitUsage : kExitFailure;
}

int ReplayMain(const ReplayFlags& flags) {
  const absl::StatusOr<ReplayReport> report = RunReplay(flags);
  if (!report.ok()) return Fail(report.status());
  if (flags.json) {
    std::printf("%s\n", ReplayReportJson(*report).c_str());
  } else {
    PrintReplayReport(*report, stdout);
  }
  return report->ok() ? 0 : kExitFailure;
}

int ReportMain(const absl::StatusOr<MicroReport>& report, bool json) {
  if (!report.ok()) return Fail(report.status());
  if (json) {
    std::printf("%s\n", MicroReportJson(*report).c_str());
  } else {
    PrintMicroReport(*report, stdout);
  }
  return 0;
}

// On standard error: standard output is for the result.
void PrintStep(absl::string_view part) {
  std::fprintf(stderr, "measuring %s\n", std::string(part).c_str());
}

int MicroMain(MicroFlags flags) {
  if (!flags.only.empty()) flags.options.only = absl::StrSplit(flags.only, ',');
  flags.options.on_step = PrintStep;
  return ReportMain(RunMicro(flags.options), flags.json);
}

int Main(int argc, char** argv) {
  CLI::App app("Replays workloads against Larder's daemon, and measures one node.", "larder-bench");
  app.footer("Exit codes: 0 done, 1 a byte was wrong or something failed, 2 bad usage.");
  app.require_subcommand(1);
  ReplayFlags replay_flags;
  MicroFlags micro_flags;
  CLI::App* replay = app.add_subcommand(
      "replay", "Runs a trace or a generated workload and checks every byte that comes back");
  DeclareReplay(replay, &replay_flags);
  CLI::App* micro = app.add_subcommand("micro", "Measures the figures of docs/BENCHMARKS.md");
  DeclareMicro(micro, &micro_flags);
  DiskFlags disk_flags;
  disk_flags.options.on_step = PrintStep;
  CLI::App* disk = app.add_subcommand(
      "disk",
      "Measures the disk tier: reads and writes against a plain io_uring loop, restarts, wear");
  DeclareDisk(disk, &disk_flags);
  DiskMetadataFlags disk_metadata_flags;
  CLI::App* disk_metadata = app.add_subcommand(
      "disk-metadata", "Measures the disk tier's index: writing it, and reading it at a restart");
  DeclareDiskMetadata(disk_metadata, &disk_metadata_flags);
  IndexFlags index_flags;
  index_flags.options.on_step = PrintStep;
  CLI::App* index = app.add_subcommand(
      "index", "Measures the global index: memory, lookups, events, a new follower");
  DeclareIndex(index, &index_flags);
  NetFlags net_flags;
  net_flags.options.on_step = PrintStep;
  CLI::App* net = app.add_subcommand("net", "Measures chunks from another node, against plain TCP");
  DeclareNet(net, &net_flags);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  if (disk->parsed()) return ReportMain(RunDiskBench(disk_flags.options), disk_flags.json);
  if (index->parsed()) return ReportMain(RunIndexBench(index_flags.options), index_flags.json);
  if (net->parsed()) return ReportMain(RunNetBench(net_flags.options), net_flags.json);
  if (disk_metadata->parsed()) {
    return ReportMain(RunDiskMetadataBench(disk_metadata_flags.options), disk_metadata_flags.json);
  }
  return replay->parsed() ? ReplayMain(replay_flags) : MicroMain(std::move(micro_flags));
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) { return larder::Main(argc, argv); }
