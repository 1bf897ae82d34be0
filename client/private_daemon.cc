#include "client/private_daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "transport/local/socket.h"

namespace larder {
namespace {

constexpr absl::Duration kExitTimeout = absl::Seconds(5);
constexpr auto kPollPause = std::chrono::milliseconds(2);
constexpr off_t kLogTailBytesMax = 2000;

std::string FindLarderd(const std::string& asked) {
  if (!asked.empty()) return asked;
  if (const char* variable = std::getenv("LARDERD"); variable != nullptr && *variable != '\0') {
    return variable;
  }
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  if (!error) {
    const std::filesystem::path beside = self.parent_path() / "larderd";
    if (std::filesystem::exists(beside, error)) return beside.string();
  }
  return "larderd";  // posix_spawnp looks in $PATH.
}

absl::StatusOr<std::string> MakeDirectory() {
  // Shared memory holds the arena anyway, and its names are short enough for a socket.
  for (const char* parent : {"/dev/shm", "/tmp"}) {
    std::string pattern = absl::StrCat(parent, "/larder-private-XXXXXX");
    if (mkdtemp(pattern.data()) != nullptr) return pattern;
  }
  return ErrnoStatus(errno, "making a directory for a private daemon");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client::PrivateDaemon>> Client::PrivateDaemon::Start(
    const PrivateDaemonOptions& options) {
  auto daemon = std::unique_ptr<PrivateDaemon>(new PrivateDaemon());
  ASSIGN_OR_RETURN(daemon->directory_, MakeDirectory());
  daemon->socket_path_ = daemon->directory_ + "/larder.sock";
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "making a pipe");
  FileDescriptor watched(ends[0]);
  daemon->owner_ = FileDescriptor(ends[1]);

  const std::string larderd = FindLarderd(options.larderd);
  // Without a name: a daemon that outlives this process leaves nothing behind.
  daemon->log_ = FileDescriptor(memfd_create("larderd-log", MFD_CLOEXEC));
  if (!daemon->log_) return ErrnoStatus(errno, "making a private daemon's log");
  constexpr int kInheritedFd = 3;
  std::vector<std::string> arguments = {
      larderd,
      "--socket=" + daemon->socket_path_,
      "--arena-directory=" + daemon->directory_,
      absl::StrCat("--arena-bytes=", options.arena_bytes),
      "--grpc-listen=unix:" + daemon->directory_ + "/grpc.sock",
      "--metrics-listen=",
      absl::StrCat("--owner-fd=", kInheritedFd),
  };
  arguments.insert(arguments.end(), options.flags.begin(), options.flags.end());
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);

  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, daemon->log_.get(), 1);
  posix_spawn_file_actions_adddup2(&actions, 1, 2);
  posix_spawn_file_actions_adddup2(&actions, watched.get(), kInheritedFd);
  // Whatever else this process has open is not the daemon's to keep open.
  posix_spawn_file_actions_addclosefrom_np(&actions, kInheritedFd + 1);
  const int spawned =
      posix_spawnp(&daemon->process_, larderd.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (spawned != 0) {
    daemon->process_ = -1;
    return ErrnoStatus(spawned, absl::StrCat("starting ", larderd));
  }
  RETURN_IF_ERROR(daemon->WaitUntilReady(options.start_timeout));
  return daemon;
}

absl::Status Client::PrivateDaemon::WaitUntilReady(absl::Duration timeout) {
  const MonotonicTime deadline = SystemClock::Get().Now() + timeout;
  for (;;) {
    if (UnixConnect(socket_path_, deadline).ok()) return absl::OkStatus();
    int exit_status;
    if (waitpid(process_, &exit_status, WNOHANG) == process_) {
      process_ = -1;
      return absl::UnavailableError(absl::StrCat("the private daemon ended at once: ", LogTail()));
    }
    if (SystemClock::Get().Now() >= deadline) {
      return absl::UnavailableError(absl::StrCat("the private daemon did not answer within ",
                                                 absl::FormatDuration(timeout), ": ", LogTail()));
    }
    std::this_thread::sleep_for(kPollPause);
  }
}

std::string Client::PrivateDaemon::LogTail() const {
  struct stat file;
  if (fstat(log_.get(), &file) != 0) return "";
  const off_t begin = std::max<off_t>(0, file.st_size - kLogTailBytesMax);
  std::string log(static_cast<size_t>(file.st_size - begin), '\0');
  const ssize_t bytes = pread(log_.get(), log.data(), log.size(), begin);
  log.resize(bytes > 0 ? static_cast<size_t>(bytes) : 0);
  return log;
}

Client::PrivateDaemon::~PrivateDaemon() {
  owner_.Reset();  // The daemon notices and exits.
  const MonotonicTime deadline = SystemClock::Get().Now() + kExitTimeout;
  while (process_ > 0) {
    int exit_status;
    if (waitpid(process_, &exit_status, WNOHANG) != 0) break;
    if (SystemClock::Get().Now() >= deadline) {
      kill(process_, SIGKILL);
      waitpid(process_, &exit_status, 0);
      break;
    }
    std::this_thread::sleep_for(kPollPause);
  }
  if (!directory_.empty()) {
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }
}

}  // namespace larder
