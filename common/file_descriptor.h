// RAII for file descriptors and memory mappings.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "common/status.h"

namespace larder {

// Owns one descriptor and closes it. Movable, not thread-safe.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor() { Reset(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset();

  // A second descriptor of the same open file, close-on-exec.
  absl::StatusOr<FileDescriptor> Duplicate() const;

 private:
  int fd_ = -1;
};

// Owns one mmap of `size` bytes and unmaps it. Movable; the bytes are shared with whoever maps
// them.
class MemoryMapping {
 public:
  MemoryMapping() = default;
  MemoryMapping(MemoryMapping&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  MemoryMapping& operator=(MemoryMapping&& other) noexcept;
  ~MemoryMapping() { Reset(); }

  // Maps [0, size) of `fd` shared, readable and, when asked, writable.
  static absl::StatusOr<MemoryMapping> MapShared(const FileDescriptor& fd, size_t size,
                                                 bool writable);
  // Private zeroed memory, on transparent huge pages where the system grants them.
  static absl::StatusOr<MemoryMapping> MapAnonymous(size_t size);

  uint8_t* data() const { return data_; }
  size_t size() const { return size_; }
  std::span<uint8_t> bytes() const { return {data_, size_}; }
  explicit operator bool() const { return data_ != nullptr; }
  void Reset();

 private:
  MemoryMapping(uint8_t* data, size_t size) : data_(data), size_(size) {}

  uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace larder
