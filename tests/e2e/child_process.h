// Programs that a test starts, stops, kills and waits for.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/file_descriptor.h"

namespace larder {

// How long tests wait for what should come at once: generous, because machines are busy.
inline constexpr absl::Duration kPatience = absl::Seconds(20);

// A fresh directory in shared memory, removed with all that is in it. Not thread-safe.
class SharedDirectory {
 public:
  SharedDirectory();
  ~SharedDirectory();
  SharedDirectory(const SharedDirectory&) = delete;
  SharedDirectory& operator=(const SharedDirectory&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// One child, killed and reaped at the end; it also dies with the thread that started it, so start
// it from the test's main thread. What it prints goes to a file in memory. Not thread-safe.
class ChildProcess {
 public:
  // `arguments[0]` is the program's path.
  static std::unique_ptr<ChildProcess> Start(const std::vector<std::string>& arguments);
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  void Signal(int signal_number);
  // SIGSTOP, and waits until the kernel says that it has stopped.
  void Freeze();
  void Thaw();
  // SIGKILL, and waits for the end.
  void Kill();
  // "exit 0", "signal 9", or nothing while it runs; waits up to `patience` for the end.
  std::optional<std::string> WaitForEnd(absl::Duration patience = kPatience);
  // Standard output and standard error so far.
  std::string Output() const;
  // True when `text` appears in the output within `patience`; false also when the process ends.
  bool WaitForOutput(absl::string_view text, absl::Duration patience = kPatience);

 private:
  ChildProcess(pid_t pid, FileDescriptor output) : pid_(pid), output_(std::move(output)) {}

  pid_t pid_;
  FileDescriptor output_;
  std::optional<std::string> end_;
};

// True when `condition` becomes true within `patience`; asks every millisecond.
template <typename Condition>
bool Eventually(const Condition& condition, absl::Duration patience = kPatience) {
  const absl::Time end = absl::Now() + patience;
  while (!condition()) {
    if (absl::Now() >= end) return false;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

}  // namespace larder
