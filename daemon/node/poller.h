// epoll, with numbers instead of pointers.
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "common/file_descriptor.h"
#include "common/status.h"

namespace larder {

// Not thread-safe. Does not own what it watches; a closed descriptor is forgotten by the kernel.
class Poller {
 public:
  struct Event {
    uint64_t token;
    bool readable;
    bool hung_up;
  };

  static absl::StatusOr<Poller> Create();

  // Watches `fd`; hang-ups are always reported, readability only if asked.
  absl::Status Watch(int fd, uint64_t token, bool readable);
  void StopReading(int fd, uint64_t token);
  void Forget(int fd);

  // Waits up to `timeout` and returns what happened, a bounded number at a time. The result is
  // valid until the next call.
  const std::vector<Event>& Wait(absl::Duration timeout);

 private:
  explicit Poller(FileDescriptor epoll) : epoll_(std::move(epoll)) {}

  FileDescriptor epoll_;
  std::vector<Event> events_;
};

}  // namespace larder
