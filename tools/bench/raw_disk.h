// The ceiling that a disk tier is compared with: a plain io_uring loop on a preallocated file.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/file_descriptor.h"
#include "common/status.h"

namespace larder {

// O_DIRECT, registered file and buffers. One thread, which also makes it.
class RawDisk {
 public:
  // Makes the file, `bytes` long. `memory` outlives it.
  static absl::StatusOr<RawDisk> Create(const std::string& path, uint64_t bytes,
                                        std::span<uint8_t> memory);
  RawDisk(RawDisk&&) = default;

  enum class Direction { kRead, kWrite };
  // Moves `block_bytes` at each of the offsets, `depth` at a time, and gives the seconds it took.
  // The operation in place i of `depth` uses the memory from i * block_bytes on.
  absl::StatusOr<double> Run(Direction direction, const std::vector<uint64_t>& offsets,
                             uint64_t block_bytes, uint32_t depth);

 private:
  RawDisk(FileDescriptor file, std::span<uint8_t> memory)
      : file_(std::move(file)), memory_(memory) {}

  FileDescriptor file_;
  std::span<uint8_t> memory_;
};

}  // namespace larder
