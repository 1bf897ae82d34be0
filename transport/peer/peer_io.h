// Receives from many sockets and waits for them: io_uring or epoll.
#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/status.h"

namespace larder {

struct PeerIoEvent {
  enum class Kind : uint8_t { kReceived, kReadable, kWritable };
  Kind kind = Kind::kReceived;
  uint64_t id = 0;
  int64_t result = 0;  // kReceived: bytes, 0 at the stream's end, or -errno
};

// One thread calls, which need not be the one that made it; only Wake is thread-safe. Each socket,
// which is non-blocking, has an id of the caller's, at most kPeerIoIdMax and never used again.
class PeerIo {
 public:
  virtual ~PeerIo() = default;

  // One at a time for a socket. The array and the memory are in use until its kReceived comes.
  virtual void Receive(uint64_t id, int fd, std::span<const iovec> into) = 0;
  // Its kReceived comes without waiting for the peer: -ECANCELED unless something arrived.
  virtual void CancelReceive(uint64_t id) = 0;
  // One event follows.
  virtual void AwaitReadable(uint64_t id, int fd) = 0;
  virtual void AwaitWritable(uint64_t id, int fd) = 0;
  // Before a socket is closed: nothing comes of it any more but the kReceived of a receive under
  // way, soon, as of CancelReceive. The descriptor may be closed after that event, or at once when
  // there is none.
  virtual void Forget(uint64_t id, int fd) = 0;
  // Whether a forgotten socket is still in use; Wait brings the end of that.
  virtual bool forgetting() const = 0;

  // Appends events. When there are none, waits for the first, for Wake, or for `timeout`. INTERNAL
  // when it is broken.
  virtual absl::Status Wait(absl::Duration timeout, std::vector<PeerIoEvent>* events) = 0;
  // Ends the current or the next Wait.
  virtual void Wake() = 0;

  virtual absl::string_view name() const = 0;
};

inline constexpr uint64_t kPeerIoIdMax = (uint64_t{1} << 60) - 1;
inline constexpr size_t kPeerIoIovecsMax = 64;

absl::StatusOr<std::unique_ptr<PeerIo>> MakeEpollPeerIo();
// PERMISSION_DENIED or UNIMPLEMENTED where the kernel or a sandbox does not allow it.
absl::StatusOr<std::unique_ptr<PeerIo>> MakeUringPeerIo();

}  // namespace larder
