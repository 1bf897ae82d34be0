#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <unordered_map>

#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"
#include "transport/peer/peer_io.h"

namespace larder {
namespace {

// Handed over whenever it is full; completions beyond twice as many wait in the kernel.
constexpr unsigned kEntries = 256;
constexpr size_t kCompletionBatch = 64;

// From the best for one thread that submits and waits (Linux 6.1) to what every kernel has. A ring
// made for one thread is switched on by that thread, which is not the one that makes it.
constexpr unsigned kOneThread =
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED;
constexpr std::array<unsigned, 3> kSetups = {kOneThread, IORING_SETUP_COOP_TASKRUN, 0};

// What a completion is of, in the low bits of its user data.
enum class Operation : uint64_t { kReceive, kReadable, kWritable, kWake, kCancel };
constexpr unsigned kOperationBits = 3;

uint64_t UserData(uint64_t id, Operation operation) {
  return id << kOperationBits | static_cast<uint64_t>(operation);
}

absl::Status SetupError(int error) {
  if (error == ENOSYS) {
    return absl::UnimplementedError("this kernel has no io_uring, or a sandbox hides it");
  }
  if (error == EPERM || error == EACCES) {
    return absl::PermissionDeniedError(
        "io_uring is not permitted: set the sysctl kernel.io_uring_disabled to 0, and allow "
        "io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp profile");
  }
  return ErrnoStatus(error, "making an io_uring");
}

class UringPeerIo final : public PeerIo {
 public:
  ~UringPeerIo() override {
    if (ring_made_) io_uring_queue_exit(&ring_);
  }

  absl::Status Start() {
    wake_ = FileDescriptor(eventfd(0, EFD_CLOEXEC));
    if (!wake_) return ErrnoStatus(errno, "making an eventfd");
    int error = 0;
    for (const unsigned flags : kSetups) {
      error = -io_uring_queue_init(kEntries, &ring_, flags);
      if (error == 0) {
        disabled_ = (flags & IORING_SETUP_R_DISABLED) != 0;
        break;
      }
      if (error != EINVAL) break;
    }
    if (error != 0) return SetupError(error);
    ring_made_ = true;
    return absl::OkStatus();
  }

  void Receive(uint64_t id, int fd, std::span<const iovec> into) override {
    Socket& socket = sockets_[id];
    socket.receiving = true;
    socket.message = {};
    socket.message.msg_iov = const_cast<iovec*>(into.data());
    socket.message.msg_iovlen = into.size();
    io_uring_sqe* const entry = Entry();
    io_uring_prep_recvmsg(entry, fd, &socket.message, 0);
    io_uring_sqe_set_data64(entry, UserData(id, Operation::kReceive));
  }

  void CancelReceive(uint64_t id) override {
    const auto found = sockets_.find(id);
    if (found != sockets_.end() && found->second.receiving) Cancel(id, Operation::kReceive);
  }

  void AwaitReadable(uint64_t id, int fd) override {
    sockets_[id].polls |= 1;
    Poll(id, fd, POLLIN, Operation::kReadable);
  }

  void AwaitWritable(uint64_t id, int fd) override {
    sockets_[id].polls |= 2;
    Poll(id, fd, POLLOUT, Operation::kWritable);
  }

  void Forget(uint64_t id, int /*fd*/) override {
    const auto found = sockets_.find(id);
    if (found == sockets_.end()) return;
    Socket& socket = found->second;
    if ((socket.polls & 1) != 0) Cancel(id, Operation::kReadable);
    if ((socket.polls & 2) != 0) Cancel(id, Operation::kWritable);
    if (socket.receiving) Cancel(id, Operation::kReceive);
    socket.forgotten = true;
    ++forgotten_;
    EraseIfOver(found);
    // The caller may close the descriptor now; what is in the ring but not yet handed over names
    // it.
    io_uring_submit(&ring_);
  }

  bool forgetting() const override { return forgotten_ > 0; }

  absl::Status Wait(absl::Duration timeout, std::vector<PeerIoEvent>* events) override {
    RETURN_IF_ERROR(Enable());
    ArmWake();
    const int result = timeout > absl::ZeroDuration() ? SubmitAndWait(timeout)
                                                      : io_uring_submit_and_get_events(&ring_);
    if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN &&
        result != -EBUSY) {
      return absl::InternalError(
          absl::StrCat("io_uring: ", ErrnoStatus(-result, "waiting").message()));
    }
    Collect(events);
    return absl::OkStatus();
  }

  void Wake() override {
    const uint64_t one = 1;
    // It cannot be full: the counter holds 2^64 - 2 wakes.
    [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof one);
  }

  absl::string_view name() const override { return "io_uring"; }

 private:
  struct Socket {
    msghdr message = {};  // read by the kernel when the receive is handed over
    bool receiving = false;
    bool forgotten = false;
    unsigned polls = 0;  // bit 0 readable, bit 1 writable
  };

  // The first thread that waits is the ring's own.
  absl::Status Enable() {
    if (!disabled_) return absl::OkStatus();
    // liburing 2.3 declares io_uring_enable_rings and does not export it.
    if (syscall(SYS_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) <
        0) {
      return absl::InternalError("io_uring cannot be switched on");
    }
    disabled_ = false;
    return absl::OkStatus();
  }

  int SubmitAndWait(absl::Duration timeout) {
    const timespec spec = absl::ToTimespec(timeout);
    __kernel_timespec limit = {};
    limit.tv_sec = spec.tv_sec;
    limit.tv_nsec = spec.tv_nsec;
    io_uring_cqe* first = nullptr;
    return io_uring_submit_and_wait_timeout(&ring_, &first, 1, &limit, nullptr);
  }

  io_uring_sqe* Entry() {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    while (entry == nullptr) {
      [[maybe_unused]] const absl::Status enabled = Enable();
      io_uring_submit(&ring_);
      entry = io_uring_get_sqe(&ring_);
    }
    return entry;
  }

  void Poll(uint64_t id, int fd, unsigned events, Operation operation) {
    io_uring_sqe* const entry = Entry();
    io_uring_prep_poll_add(entry, fd, events);
    io_uring_sqe_set_data64(entry, UserData(id, operation));
  }

  void Cancel(uint64_t id, Operation operation) {
    io_uring_sqe* const entry = Entry();
    io_uring_prep_cancel64(entry, UserData(id, operation), 0);
    io_uring_sqe_set_data64(entry, UserData(0, Operation::kCancel));
  }

  void ArmWake() {
    if (wake_armed_) return;
    io_uring_sqe* const entry = Entry();
    io_uring_prep_read(entry, wake_.get(), &wake_count_, sizeof wake_count_, 0);
    io_uring_sqe_set_data64(entry, UserData(0, Operation::kWake));
    wake_armed_ = true;
  }

  void Collect(std::vector<PeerIoEvent>* events) {
    std::array<io_uring_cqe*, kCompletionBatch> batch;
    unsigned count = 0;
    do {
      count = io_uring_peek_batch_cqe(&ring_, batch.data(), batch.size());
      for (unsigned i = 0; i < count; ++i) {
        Note(io_uring_cqe_get_data64(batch[i]), batch[i]->res, events);
      }
      io_uring_cq_advance(&ring_, count);
    } while (count == batch.size());
  }

  void Note(uint64_t user_data, int result, std::vector<PeerIoEvent>* events) {
    const auto operation = static_cast<Operation>(user_data & ((1u << kOperationBits) - 1));
    const uint64_t id = user_data >> kOperationBits;
    if (operation == Operation::kWake) wake_armed_ = false;
    const auto found = sockets_.find(id);
    if (operation == Operation::kWake || operation == Operation::kCancel ||
        found == sockets_.end()) {
      return;
    }
    Socket& socket = found->second;
    switch (operation) {
      case Operation::kReceive:
        socket.receiving = false;
        events->push_back(
            {PeerIoEvent::Kind::kReceived, id, result == -EINTR ? -ECANCELED : result});
        break;
      case Operation::kReadable:
        socket.polls &= ~1u;
        if (!socket.forgotten) events->push_back({PeerIoEvent::Kind::kReadable, id, 0});
        break;
      default:
        socket.polls &= ~2u;
        if (!socket.forgotten) events->push_back({PeerIoEvent::Kind::kWritable, id, 0});
    }
    EraseIfOver(found);
  }

  void EraseIfOver(std::unordered_map<uint64_t, Socket>::iterator socket) {
    if (!socket->second.forgotten || socket->second.receiving || socket->second.polls != 0) return;
    sockets_.erase(socket);
    --forgotten_;
  }

  io_uring ring_ = {};
  bool ring_made_ = false;
  bool disabled_ = false;
  FileDescriptor wake_;
  uint64_t wake_count_ = 0;  // written by the kernel
  bool wake_armed_ = false;
  std::unordered_map<uint64_t, Socket> sockets_;
  size_t forgotten_ = 0;  // of them
};

}  // namespace

absl::StatusOr<std::unique_ptr<PeerIo>> MakeUringPeerIo() {
  auto io = std::make_unique<UringPeerIo>();
  RETURN_IF_ERROR(io->Start());
  return io;
}

}  // namespace larder
