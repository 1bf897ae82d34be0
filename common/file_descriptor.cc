#include "common/file_descriptor.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"

namespace larder {

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    Reset();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void FileDescriptor::Reset() {
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

absl::StatusOr<FileDescriptor> FileDescriptor::Duplicate() const {
  const int copy = fcntl(fd_, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return ErrnoStatus(errno, "duplicating a descriptor");
  return FileDescriptor(copy);
}

MemoryMapping& MemoryMapping::operator=(MemoryMapping&& other) noexcept {
  if (this != &other) {
    Reset();
    data_ = std::exchange(other.data_, nullptr);
    size_ = std::exchange(other.size_, 0);
  }
  return *this;
}

void MemoryMapping::Reset() {
  if (data_ != nullptr) munmap(std::exchange(data_, nullptr), std::exchange(size_, 0));
}

absl::StatusOr<MemoryMapping> MemoryMapping::MapShared(const FileDescriptor& fd, size_t size,
                                                       bool writable) {
  const int protection = PROT_READ | (writable ? PROT_WRITE : 0);
  void* data = mmap(nullptr, size, protection, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) {
    return ErrnoStatus(errno, absl::StrCat("mapping ", size, " shared bytes"));
  }
  return MemoryMapping(static_cast<uint8_t*>(data), size);
}

absl::StatusOr<MemoryMapping> MemoryMapping::MapAnonymous(size_t size) {
  void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (data == MAP_FAILED) {
    return ErrnoStatus(errno, absl::StrCat("mapping ", size, " anonymous bytes"));
  }
  madvise(data, size, MADV_HUGEPAGE);  // A hint: without it the memory merely has small pages.
  return MemoryMapping(static_cast<uint8_t*>(data), size);
}

}  // namespace larder
