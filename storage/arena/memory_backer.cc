#include "storage/arena/memory_backer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

// Small enough to stop promptly: mapping it takes about 60 ms where memory is slowest.
constexpr uint64_t kPieceBytes = 16ull << 20;
// A signal that arrives during fallocate makes it undo its work; give up when they never stop.
constexpr int kInterruptedTriesMax = 100;
constexpr uint64_t kTouchStepBytes = 4096;  // the smallest page

// Where the headers are older than the kernel (Linux 5.14).
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

absl::Status MapPages(std::span<uint8_t> memory) {
  if (madvise(memory.data(), memory.size(), MADV_POPULATE_WRITE) == 0) return absl::OkStatus();
  if (errno != EINVAL) return ErrnoStatus(errno, "mapping pages of the arena in advance");
  // An older kernel: a load makes it map a page of reserved space, and changes nothing.
  for (size_t at = 0; at < memory.size(); at += kTouchStepBytes) {
    [[maybe_unused]] const uint8_t byte = *static_cast<volatile uint8_t*>(memory.data() + at);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReserveFileSpace(int file, uint64_t offset, uint64_t bytes) {
  int error = EINTR;
  for (int tries = 0; error == EINTR && tries < kInterruptedTriesMax; ++tries) {
    error =
        fallocate(file, 0, static_cast<off_t>(offset), static_cast<off_t>(bytes)) == 0 ? 0 : errno;
  }
  if (error == 0) return absl::OkStatus();
  const std::string what = absl::StrCat("reserving ", bytes, " bytes at ", offset);
  // ENOMEM: the limit of a control group; ENOSPC: the file system's own.
  if (error == ENOSPC || error == ENOMEM) {
    return absl::ResourceExhaustedError(absl::StrCat(what, ": the file system is full"));
  }
  return ErrnoStatus(error, what);
}

MemoryBacker::MemoryBacker(int file, std::span<uint8_t> memory, Options options)
    : file_(file),
      memory_(memory),
      options_(std::move(options)),
      piece_bytes_(std::max(kPieceBytes, options_.page_bytes)),
      backed_bytes_(options_.backed_bytes) {
  // Signals are for the threads that know what to do with them, and would interrupt fallocate.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

MemoryBacker::~MemoryBacker() {
  stop_.store(true, std::memory_order_relaxed);
  thread_.join();
}

absl::Status MemoryBacker::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

void MemoryBacker::Fail(absl::Status status) {
  std::lock_guard lock(mutex_);
  status_ = std::move(status);
}

void MemoryBacker::Run() {
  // What is reserved is worth mapping even where not all could be reserved.
  BackAll();
  if (options_.prefault) PrefaultAll();
  finished_.store(true, std::memory_order_release);
}

void MemoryBacker::BackAll() {
  uint64_t backed_bytes = backed_bytes_.load(std::memory_order_relaxed);
  while (backed_bytes < memory_.size() && !stop_.load(std::memory_order_relaxed)) {
    const uint64_t piece_bytes = std::min(piece_bytes_, memory_.size() - backed_bytes);
    if (absl::Status status = ReserveFileSpace(file_, backed_bytes, piece_bytes); !status.ok()) {
      Fail(std::move(status));
      return;
    }
    backed_bytes += piece_bytes;
    backed_bytes_.store(backed_bytes, std::memory_order_release);
    if (options_.on_backed) options_.on_backed(backed_bytes);
  }
}

void MemoryBacker::PrefaultAll() {
  const uint64_t backed_bytes = backed_bytes_.load(std::memory_order_relaxed);
  uint64_t prefaulted_bytes = 0;
  while (prefaulted_bytes < backed_bytes && !stop_.load(std::memory_order_relaxed)) {
    const uint64_t piece_bytes = std::min(piece_bytes_, backed_bytes - prefaulted_bytes);
    if (absl::Status status = MapPages(memory_.subspan(prefaulted_bytes, piece_bytes));
        !status.ok()) {
      Fail(std::move(status));
      return;
    }
    prefaulted_bytes += piece_bytes;
    prefaulted_bytes_.store(prefaulted_bytes, std::memory_order_relaxed);
  }
}

}  // namespace larder
