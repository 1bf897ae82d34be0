#include <liburing.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"
#include "storage/disk/io_engine.h"

namespace larder {
namespace {

constexpr uint32_t kDepthMax = 4096;
// The kernel takes at most this much in one registered buffer, and so many buffers.
constexpr uint64_t kRegisteredBufferBytesMax = uint64_t{1} << 30;
constexpr size_t kRegisteredBuffersMax = 1024;
// The kernel moves at most 2 GiB less a page in one operation.
constexpr uint64_t kOperationBytesMax = uint64_t{1} << 30;
constexpr int kRegisteredFile = 0;
constexpr size_t kCompletionBatch = 64;
constexpr uint64_t kWakeToken = ~uint64_t{0};

// From the best for one thread that submits and waits (Linux 6.1) to what every kernel has. A ring
// made for one thread is switched on by that thread, which is not the one that makes it.
constexpr unsigned kOneThread =
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED;
constexpr std::array<unsigned, 3> kSetups = {kOneThread, IORING_SETUP_COOP_TASKRUN, 0};

absl::Status SetupError(int error) {
  if (error == ENOSYS) {
    return absl::UnimplementedError("this kernel has no io_uring, or a sandbox hides it");
  }
  if (error == EPERM || error == EACCES) {
    return absl::PermissionDeniedError(
        "io_uring is not permitted: set the sysctl kernel.io_uring_disabled to 0 (or put this user "
        "into kernel.io_uring_group), and allow io_uring_setup, io_uring_enter and "
        "io_uring_register in the container's seccomp profile");
  }
  if (error == ENOMEM) {
    return absl::ResourceExhaustedError(
        "io_uring has no memory for its rings: raise RLIMIT_MEMLOCK (ulimit -l)");
  }
  return ErrnoStatus(error, "making an io_uring");
}

class IoUringEngine final : public IoEngine {
 public:
  IoUringEngine(int file, uint32_t depth) : file_(file), depth_(depth) {}

  // Only what was set up is torn down, so that a failed Start can be followed by the destructor.
  ~IoUringEngine() override {
    if (!ring_made_) return;
    DrainAll();
    io_uring_queue_exit(&ring_);
  }

  absl::Status Start(const std::vector<std::span<uint8_t>>& memory) {
    wake_ = FileDescriptor(eventfd(0, EFD_CLOEXEC));
    if (!wake_) return ErrnoStatus(errno, "making an eventfd");
    // One entry more for the wait for Wake.
    int error = 0;
    for (const unsigned flags : kSetups) {
      error = -io_uring_queue_init(static_cast<unsigned>(depth_) + 1, &ring_, flags);
      if (error == 0) {
        disabled_ = (flags & IORING_SETUP_R_DISABLED) != 0;
        break;
      }
      if (error != EINVAL) break;
    }
    if (error != 0) return SetupError(error);
    ring_made_ = true;
    file_registered_ = io_uring_register_files(&ring_, &file_, 1) == 0;
    RegisterMemory(memory);
    return absl::OkStatus();
  }

  size_t Submit(std::span<const IoOperation> operations) override {
    if (!Enable().ok()) return 0;
    const size_t taken = std::min(operations.size(), depth_ - in_flight_);
    for (const IoOperation& operation : operations.first(taken)) Prepare(operation);
    in_flight_ += taken;
    // What it does not take now, a later Wait hands over.
    if (taken > 0) io_uring_submit(&ring_);
    return taken;
  }

  absl::Status Wait(absl::Duration timeout, std::vector<IoCompletion>* completions) override {
    RETURN_IF_ERROR(Enable());
    if (Collect(completions)) return absl::OkStatus();
    ArmWake();
    __kernel_timespec limit = {};
    const timespec spec = absl::ToTimespec(std::max(timeout, absl::ZeroDuration()));
    limit.tv_sec = spec.tv_sec;
    limit.tv_nsec = spec.tv_nsec;
    io_uring_cqe* first = nullptr;
    const int result = io_uring_submit_and_wait_timeout(&ring_, &first, 1, &limit, nullptr);
    if (result < 0 && result != -ETIME && result != -EINTR && result != -EAGAIN &&
        result != -EBUSY) {
      return absl::InternalError(
          absl::StrCat("io_uring: ", ErrnoStatus(-result, "waiting").message()));
    }
    Collect(completions);
    return absl::OkStatus();
  }

  void Wake() override {
    const uint64_t one = 1;
    // It cannot be full: the counter holds 2^64 - 2 wakes.
    [[maybe_unused]] const ssize_t written = write(wake_.get(), &one, sizeof one);
  }

  size_t in_flight() const override { return in_flight_; }
  size_t depth() const override { return depth_; }
  absl::string_view name() const override { return "io_uring"; }

 private:
  // The first thread that submits or waits is the ring's own.
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

  void RegisterMemory(const std::vector<std::span<uint8_t>>& memory) {
    for (const std::span<uint8_t> region : memory) {
      for (uint64_t at = 0; at < region.size(); at += kRegisteredBufferBytesMax) {
        const uint64_t bytes = std::min(kRegisteredBufferBytesMax, region.size() - at);
        buffers_.push_back({region.data() + at, bytes});
      }
    }
    if (buffers_.size() > kRegisteredBuffersMax) buffers_.resize(kRegisteredBuffersMax);
    std::sort(buffers_.begin(), buffers_.end(),
              [](const iovec& a, const iovec& b) { return a.iov_base < b.iov_base; });
    if (!buffers_.empty() &&
        io_uring_register_buffers(&ring_, buffers_.data(),
                                  static_cast<unsigned>(buffers_.size())) != 0) {
      buffers_.clear();  // RLIMIT_MEMLOCK: the kernel looks up the pages of each operation instead
    }
  }

  // The registered buffer that holds all of `memory`, or -1.
  int BufferOf(std::span<const uint8_t> memory) const {
    auto next = std::upper_bound(
        buffers_.begin(), buffers_.end(), memory.data(),
        [](const uint8_t* begin, const iovec& buffer) { return begin < buffer.iov_base; });
    if (next == buffers_.begin()) return -1;
    const iovec& buffer = *--next;
    const uint64_t skipped =
        static_cast<uint64_t>(memory.data() - static_cast<uint8_t*>(buffer.iov_base));
    if (skipped > buffer.iov_len || memory.size() > buffer.iov_len - skipped) return -1;
    return static_cast<int>(next - buffers_.begin());
  }

  void Prepare(const IoOperation& operation) {
    // There is always one: entries are handed over at each Submit and at most depth_ are open.
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    const int file = file_registered_ ? kRegisteredFile : file_;
    uint8_t* data = operation.memory.data();
    const unsigned bytes =
        static_cast<unsigned>(std::min<uint64_t>(operation.memory.size(), kOperationBytesMax));
    const int buffer = BufferOf(operation.memory.first(bytes));
    switch (operation.kind) {
      case IoOperation::Kind::kRead:
        if (buffer >= 0) {
          io_uring_prep_read_fixed(entry, file, data, bytes, operation.offset, buffer);
        } else {
          io_uring_prep_read(entry, file, data, bytes, operation.offset);
        }
        break;
      case IoOperation::Kind::kWrite:
        if (buffer >= 0) {
          io_uring_prep_write_fixed(entry, file, data, bytes, operation.offset, buffer);
        } else {
          io_uring_prep_write(entry, file, data, bytes, operation.offset);
        }
        break;
      case IoOperation::Kind::kSync:
        io_uring_prep_fsync(entry, file, IORING_FSYNC_DATASYNC);
        break;
    }
    if (file_registered_) entry->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data64(entry, operation.token);
  }

  // A read of the eventfd that is always open while the engine waits.
  void ArmWake() {
    if (wake_armed_) return;
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    if (entry == nullptr) return;  // then the wait is for an operation, or ends by its timeout
    io_uring_prep_read(entry, wake_.get(), &wake_count_, sizeof wake_count_, 0);
    io_uring_sqe_set_data64(entry, kWakeToken);
    wake_armed_ = true;
  }

  // True when there was anything, a wake included.
  bool Collect(std::vector<IoCompletion>* completions) {
    std::array<io_uring_cqe*, kCompletionBatch> batch;
    bool any = false;
    while (true) {
      const unsigned count = io_uring_peek_batch_cqe(&ring_, batch.data(), batch.size());
      for (unsigned i = 0; i < count; ++i) {
        const uint64_t token = io_uring_cqe_get_data64(batch[i]);
        const int result = batch[i]->res;
        if (token == kWakeToken) {
          wake_armed_ = false;
          continue;
        }
        --in_flight_;
        completions->push_back(result < 0 ? IoCompletion{token, -result, 0}
                                          : IoCompletion{token, 0, static_cast<uint64_t>(result)});
      }
      io_uring_cq_advance(&ring_, count);
      any |= count > 0;
      if (count < batch.size()) return any;
    }
  }

  void DrainAll() {
    std::vector<IoCompletion> ignored;
    if (!Enable().ok()) return;  // then nothing was ever started
    Wake();                      // ends the read of the eventfd too
    while (in_flight_ > 0 || wake_armed_) {
      const int result = io_uring_submit_and_wait(&ring_, 1);
      if (result < 0 && result != -EINTR && result != -EAGAIN && result != -EBUSY) return;
      Collect(&ignored);
    }
  }

  const int file_;
  const size_t depth_;
  io_uring ring_ = {};
  bool ring_made_ = false;
  bool disabled_ = false;
  bool file_registered_ = false;
  std::vector<iovec> buffers_;  // registered, sorted by address
  FileDescriptor wake_;
  uint64_t wake_count_ = 0;  // written by the kernel
  bool wake_armed_ = false;
  size_t in_flight_ = 0;
};

}  // namespace

absl::StatusOr<std::unique_ptr<IoEngine>> MakeIoUringEngine(int file,
                                                            const IoEngineOptions& options) {
  if (options.depth == 0 || options.depth > kDepthMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("depth ", options.depth, ", possible are 1 to ", kDepthMax));
  }
  auto engine = std::make_unique<IoUringEngine>(file, options.depth);
  RETURN_IF_ERROR(engine->Start(options.registered_memory));
  return engine;
}

}  // namespace larder
