// A daemon that belongs to one client.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "client/client.h"
#include "common/file_descriptor.h"
#include "common/status.h"

namespace larder {

// Owns the daemon's process and its directory. The daemon holds the other end of `owner_` and exits
// when it closes, which the kernel does however this process ends. The destructor waits for it.
class Client::PrivateDaemon {
 public:
  // UNAVAILABLE with what the daemon said when it does not answer within start_timeout.
  static absl::StatusOr<std::unique_ptr<PrivateDaemon>> Start(const PrivateDaemonOptions& options);

  ~PrivateDaemon();

  const std::string& socket_path() const { return socket_path_; }
  pid_t process() const { return process_; }

 private:
  PrivateDaemon() = default;
  absl::Status WaitUntilReady(absl::Duration timeout);
  // What the daemon wrote to its log, for an error message.
  std::string LogTail() const;

  std::string directory_;
  std::string socket_path_;
  pid_t process_ = -1;
  FileDescriptor owner_;
  FileDescriptor log_;
};

}  // namespace larder
