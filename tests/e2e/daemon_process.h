// larderd as a process that a test starts, stops, kills and waits for.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/client.h"
#include "tests/e2e/child_process.h"

namespace larder {

struct DaemonOptions {
  uint64_t arena_bytes = uint64_t{64} << 20;
  // Further flags, such as "--set", "local.session_timeout=1s".
  std::vector<std::string> flags = {};
  // What comes before larderd on the command line, such as the way into a namespace.
  std::vector<std::string> launcher = {};
};

// larderd with its arena and socket in `directory`. It can be killed and started again there. Not
// thread-safe, like ChildProcess.
class DaemonProcess {
 public:
  DaemonProcess(const std::string& directory, DaemonOptions options);

  // Returns when it answers; a test failure otherwise.
  void Start();
  // Returns at once.
  void Launch() { process_ = ChildProcess::Start(CommandLine()); }
  // The command line that Start uses.
  std::vector<std::string> CommandLine() const;
  ChildProcess& process() { return *process_; }
  bool running() const {
    return process_ != nullptr && !process_->WaitForEnd(absl::ZeroDuration());
  }
  // Drops the killed or ended process; `process()` is invalid until the next Start.
  void Kill();
  const std::string& socket_path() const { return socket_path_; }

 private:
  const std::string directory_;
  const std::string socket_path_;
  const DaemonOptions options_;
  std::unique_ptr<ChildProcess> process_;
};

// Number of a setting of the environment, or `otherwise`.
int NumberFromEnvironment(const char* name, int otherwise);

// A client that is connected, or a test failure.
std::unique_ptr<Client> ConnectClient(const std::string& socket_path,
                                      absl::Duration timeout = absl::Seconds(10));

}  // namespace larder
