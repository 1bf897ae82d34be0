#include "tests/e2e/child_process.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace larder {
namespace {

// The exit status of a child that could not become the program.
constexpr int kExecFailed = 127;

std::string DescribeEnd(int status) {
  if (WIFEXITED(status)) return absl::StrCat("exit ", WEXITSTATUS(status));
  return absl::StrCat("signal ", WTERMSIG(status));
}

}  // namespace

SharedDirectory::SharedDirectory() : path_("/dev/shm/larder-e2e-XXXXXX") {
  EXPECT_NE(mkdtemp(path_.data()), nullptr);
}

SharedDirectory::~SharedDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::unique_ptr<ChildProcess> ChildProcess::Start(const std::vector<std::string>& arguments) {
  FileDescriptor output(memfd_create("output", MFD_CLOEXEC));
  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    // Only calls that are safe in the child of a process with threads.
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(kExecFailed);
    dup2(output.get(), STDOUT_FILENO);
    dup2(output.get(), STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(kExecFailed);
  }
  EXPECT_GT(pid, 0) << "fork failed";
  return std::unique_ptr<ChildProcess>(new ChildProcess(pid, std::move(output)));
}

ChildProcess::~ChildProcess() { Kill(); }

void ChildProcess::Signal(int signal_number) {
  if (!end_) kill(pid_, signal_number);
}

void ChildProcess::Freeze() {
  Signal(SIGSTOP);
  int status = 0;
  if (!end_ && waitpid(pid_, &status, WUNTRACED) == pid_ && !WIFSTOPPED(status)) {
    end_ = DescribeEnd(status);
  }
}

void ChildProcess::Thaw() { Signal(SIGCONT); }

void ChildProcess::Kill() {
  Signal(SIGKILL);
  WaitForEnd(absl::InfiniteDuration());
}

std::optional<std::string> ChildProcess::WaitForEnd(absl::Duration patience) {
  Eventually(
      [this] {
        int status = 0;
        if (!end_ && waitpid(pid_, &status, WNOHANG) == pid_) end_ = DescribeEnd(status);
        return end_.has_value();
      },
      patience);
  return end_;
}

std::string ChildProcess::Output() const {
  struct stat file;
  if (fstat(output_.get(), &file) != 0) return "";
  std::string text(static_cast<size_t>(file.st_size), '\0');
  const ssize_t bytes = pread(output_.get(), text.data(), text.size(), 0);
  text.resize(bytes > 0 ? static_cast<size_t>(bytes) : 0);
  return text;
}

bool ChildProcess::WaitForOutput(absl::string_view text, absl::Duration patience) {
  bool found = false;
  Eventually(
      [&] {
        const bool ended = WaitForEnd(absl::ZeroDuration()).has_value();
        found = absl::StrContains(Output(), text);
        return found || ended;
      },
      patience);
  return found;
}

}  // namespace larder
