// The daemon. Exit codes: 0 ended as asked, 1 could not start or go on, 2 bad usage or settings.
#include <sys/stat.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/status.h"
#include "daemon/config/command_line.h"
#include "daemon/config/reference.h"
#include "daemon/metrics/metrics_server.h"
#include "daemon/node/log.h"
#include "daemon/node/node.h"
#include "daemon/rpc/cluster_link.h"
#include "daemon/rpc/profiles.h"
#include "daemon/rpc/rpc_server.h"

namespace larder {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;

// Tells systemd, if that started us, how we are.
void Notify(const std::string& state) { sd_notify(/*unset_environment=*/0, state.c_str()); }

sigset_t EndingSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

// Waits for SIGTERM and SIGINT on a thread of its own: the first drains the node, the next ones
// stop it. They must be blocked in every thread. `node` outlives it.
class SignalWatch {
 public:
  explicit SignalWatch(Node* node) : node_(node), thread_([this] { Run(); }) {}
  ~SignalWatch() {
    ended_.store(true);
    // Ends no thread: the signal is blocked in every one and taken with sigwait.
    // NOLINTNEXTLINE(bugprone-bad-signal-to-kill-thread)
    pthread_kill(thread_.native_handle(), SIGTERM);
    thread_.join();
  }

 private:
  void Run() {
    const sigset_t signals = EndingSignals();
    for (bool first = true;; first = false) {
      int signal_number = 0;
      sigwait(&signals, &signal_number);
      if (ended_.load()) return;
      LogInfo("signal", {{"name", sigabbrev_np(signal_number)}});
      if (first) {
        Notify("STOPPING=1\nSTATUS=draining");
        node_->Drain();
      } else {
        node_->Stop();
      }
    }
  }

  Node* const node_;
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

// Makes the directory of the socket when only that is missing.
absl::Status MakeSocketDirectory(const std::string& socket_path) {
  const std::filesystem::path directory = std::filesystem::path(socket_path).parent_path();
  if (mkdir(directory.c_str(), 0755) == 0) return absl::OkStatus();
  if (errno != EEXIST) return ErrnoStatus(errno, absl::StrCat("making ", directory.string()));
  struct stat own, parent;
  if (lstat(directory.c_str(), &own) != 0) {
    return ErrnoStatus(errno, absl::StrCat("looking at ", directory.string()));
  }
  // Where everybody may make directories, somebody else may have made ours, to pass for us.
  const std::string parent_path = directory.parent_path().string();
  if (stat(parent_path.c_str(), &parent) == 0 && (parent.st_mode & S_IWOTH) != 0 &&
      directory.has_relative_path() && own.st_uid != 0 && own.st_uid != geteuid()) {
    return absl::PermissionDeniedError(absl::StrCat(
        directory.string(), " belongs to user ", own.st_uid, ", this process runs as ", geteuid()));
  }
  return absl::OkStatus();
}

// The files of an arena that nobody will open again.
class PrivateArena {
 public:
  explicit PrivateArena(Node& node, const std::string& directory) : directory_(directory) {
    // The data may be on a mount of huge pages; the kernel knows.
    std::error_code error;
    const std::string link = absl::StrCat("/proc/self/fd/", node.arena().data_fd().get());
    const std::filesystem::path data = std::filesystem::read_symlink(link, error);
    if (!error) files_.push_back(data);
    for (const char* name : {"blocks", "spaces", "lock"}) files_.push_back(directory_ / name);
  }

  // Leaves the directory alone when something else is in it.
  void Remove() const {
    std::error_code ignored;
    for (const std::filesystem::path& file : files_) std::filesystem::remove(file, ignored);
    std::filesystem::remove(directory_, ignored);
  }

 private:
  std::filesystem::path directory_;
  std::vector<std::filesystem::path> files_;
};

absl::StatusOr<std::unique_ptr<Node>> StartNode(const Config& config) {
  RETURN_IF_ERROR(MakeSocketDirectory(config.node.local.listen.path));
  NodeOptions options = config.node;
  options.version = LARDER_VERSION;
  return Node::Start(options);
}

// What is served over the network; null where it is off.
struct Servers {
  std::unique_ptr<RpcServer> rpc;
  std::unique_ptr<MetricsServer> metrics;
  std::unique_ptr<ClusterLink> cluster;  // null for a node that is alone
};

absl::StatusOr<Servers> StartServers(const Config& config, Node* node) {
  Servers servers;
  if (!config.grpc_listen.empty()) {
    auto profiles = LoadProfiles(config.grpc_profiles);
    if (!profiles.ok()) return Annotate(profiles.status(), "grpc.profiles");
    absl::StatusOr<std::unique_ptr<RpcServer>> rpc =
        RpcServer::Start({.listen = config.grpc_listen, .profiles = *std::move(profiles)}, node);
    if (!rpc.ok()) return Annotate(rpc.status(), "grpc.listen");
    servers.rpc = *std::move(rpc);
  }
  if (!config.metrics_listen.empty()) {
    absl::StatusOr<std::unique_ptr<MetricsServer>> metrics =
        MetricsServer::Start({.listen = config.metrics_listen}, node);
    if (!metrics.ok()) return Annotate(metrics.status(), "metrics.listen");
    servers.metrics = *std::move(metrics);
  }
  if (node->cluster() != nullptr) {
    ASSIGN_OR_RETURN(
        servers.cluster,
        ClusterLink::Start(node->cluster(), servers.rpc == nullptr ? "" : servers.rpc->address()));
  }
  return servers;
}

absl::Status Run(const Config& config) {
  const MonotonicTime start = SystemClock::Get().Now();
  RETURN_IF_ERROR(SetLogLevel(config.log_level));
  Notify("STATUS=opening the arena");
  ASSIGN_OR_RETURN(std::unique_ptr<Node> node, StartNode(config));
  const PrivateArena files(*node, config.node.arena.directory);
  {
    ASSIGN_OR_RETURN(const Servers servers, StartServers(config, node.get()));
    const SignalWatch watch(node.get());
    const absl::Duration start_time = SystemClock::Get().Now() - start;
    LogInfo("ready", {{"socket", config.node.local.listen.path},
                      {"start_ms", absl::StrCat(absl::ToInt64Milliseconds(start_time))}});
    Notify(absl::StrCat("READY=1\nSTATUS=serving ", config.node.local.listen.path, ", recovered ",
                        node->recovery().chunks, " chunks"));
    node->Run();
    Notify("STOPPING=1\nSTATUS=stopping");
  }
  node = nullptr;
  if (config.node.owner_fd >= 0) files.Remove();
  LogInfo("ended");
  return absl::OkStatus();
}

int PrintProblems(const CommandLine& line, int exit_code) {
  for (const std::string& problem : line.problems) {
    std::fprintf(stderr, "larderd: %s\n", problem.c_str());
  }
  return exit_code;
}

int CheckConfig(const CommandLine& line) {
  if (!line.problems.empty()) return PrintProblems(line, kExitFailure);
  const char* file = line.config_file.empty() ? "the defaults" : line.config_file.c_str();
  std::printf("larderd: %s: no problems\n", file);
  return 0;
}

int Main(const std::vector<std::string>& arguments) {
  // Every thread inherits this: only the watch sees these signals, and a closed pipe is an error.
  const sigset_t signals = EndingSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  const absl::StatusOr<CommandLine> line = ParseCommandLine(arguments, LARDER_VERSION);
  if (!line.ok()) {
    std::fprintf(stderr, "larderd: %s\n", std::string(line.status().message()).c_str());
    return kExitUsage;
  }
  if (line->action == CommandLine::Action::kPrintText) {
    std::fputs(line->text.c_str(), stdout);
    return 0;
  }
  if (line->action == CommandLine::Action::kCheckConfig) return CheckConfig(*line);
  if (!line->problems.empty()) return PrintProblems(*line, kExitUsage);
  if (line->action == CommandLine::Action::kPrintConfig) {
    std::fputs(ReferenceFile(line->config).c_str(), stdout);
    return 0;
  }
  if (const absl::Status status = Run(line->config); !status.ok()) {
    LogError("cannot go on", {{"why", std::string(status.message())}});
    return kExitFailure;
  }
  return 0;
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) { return larder::Main({argv + 1, argv + argc}); }
