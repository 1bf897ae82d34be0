#include "tools/bench/raw_disk.h"

#include <fcntl.h>
#include <liburing.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tools/bench/micro_parts.h"

namespace larder {
namespace {

// A ring with one registered file and one registered buffer, for the length of a run.
class RawRing {
 public:
  RawRing(RawDisk::Direction direction, int file, std::span<uint8_t> memory, uint64_t block_bytes)
      : direction_(direction), file_(file), memory_(memory), block_bytes_(block_bytes) {}
  ~RawRing() {
    if (made_) io_uring_queue_exit(&ring_);
  }
  RawRing(const RawRing&) = delete;
  RawRing& operator=(const RawRing&) = delete;

  absl::Status Make(uint32_t depth) {
    int error = -io_uring_queue_init(depth, &ring_, IORING_SETUP_COOP_TASKRUN);
    if (error == EINVAL) error = -io_uring_queue_init(depth, &ring_, 0);
    if (error != 0) return ErrnoStatus(error, "making the raw loop's io_uring");
    made_ = true;
    const iovec buffer = {memory_.data(), memory_.size()};
    error = -io_uring_register_files(&ring_, &file_, 1);
    if (error == 0) error = -io_uring_register_buffers(&ring_, &buffer, 1);
    return error == 0 ? absl::OkStatus() : ErrnoStatus(error, "registering the raw loop's memory");
  }

  absl::Status MoveAll(const std::vector<uint64_t>& offsets, uint32_t depth) {
    size_t next = 0, done = 0;
    for (uint32_t place = 0; place < depth && next < offsets.size(); ++place) {
      Prepare(place, offsets[next++]);
    }
    while (done < offsets.size()) {
      const int submitted = io_uring_submit_and_wait(&ring_, 1);
      if (submitted < 0 && submitted != -EINTR) return ErrnoStatus(-submitted, "the raw loop");
      io_uring_cqe* completion = nullptr;
      while (io_uring_peek_cqe(&ring_, &completion) == 0) {
        const uint64_t place = io_uring_cqe_get_data64(completion);
        const int moved = completion->res;
        io_uring_cqe_seen(&ring_, completion);
        if (moved < 0) return ErrnoStatus(-moved, "the raw loop");
        if (static_cast<uint64_t>(moved) != block_bytes_) {
          return absl::UnavailableError("the raw loop met a short read or write");
        }
        ++done;
        if (next < offsets.size()) Prepare(place, offsets[next++]);
      }
    }
    return absl::OkStatus();
  }

 private:
  void Prepare(uint64_t place, uint64_t offset) {
    io_uring_sqe* entry = io_uring_get_sqe(&ring_);
    uint8_t* data = memory_.data() + place * block_bytes_;
    if (direction_ == RawDisk::Direction::kRead) {
      io_uring_prep_read_fixed(entry, 0, data, static_cast<unsigned>(block_bytes_), offset, 0);
    } else {
      io_uring_prep_write_fixed(entry, 0, data, static_cast<unsigned>(block_bytes_), offset, 0);
    }
    entry->flags |= IOSQE_FIXED_FILE;
    io_uring_sqe_set_data64(entry, place);
  }

  const RawDisk::Direction direction_;
  const int file_;
  const std::span<uint8_t> memory_;
  const uint64_t block_bytes_;
  io_uring ring_ = {};
  bool made_ = false;
};

}  // namespace

absl::StatusOr<RawDisk> RawDisk::Create(const std::string& path, uint64_t bytes,
                                        std::span<uint8_t> memory) {
  FileDescriptor file(open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_DIRECT | O_CLOEXEC, 0600));
  if (!file) return ErrnoStatus(errno, absl::StrCat("making ", path, " with O_DIRECT"));
  if (fallocate(file.get(), 0, 0, static_cast<off_t>(bytes)) != 0) {
    return ErrnoStatus(errno, absl::StrCat("reserving ", bytes, " bytes for ", path));
  }
  return RawDisk(std::move(file), memory);
}

absl::StatusOr<double> RawDisk::Run(Direction direction, const std::vector<uint64_t>& offsets,
                                    uint64_t block_bytes, uint32_t depth) {
  RawRing ring(direction, file_.get(), memory_, block_bytes);
  RETURN_IF_ERROR(ring.Make(depth));
  const MonotonicTime begin = BenchmarkNow();
  RETURN_IF_ERROR(ring.MoveAll(offsets, depth));
  return absl::ToDoubleSeconds(BenchmarkNow() - begin);
}

}  // namespace larder
