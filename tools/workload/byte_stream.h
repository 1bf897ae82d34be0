// Files as streams of bytes, decompressed on the way.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "common/status.h"

namespace larder {

// A sequence of bytes, read once. Implementations own what they read from and are not thread-safe.
class ByteStream {
 public:
  virtual ~ByteStream() = default;

  // Fills the front of `out` (not empty) and returns how many bytes it wrote; 0 is the end.
  // A compressed stream that ends early or is corrupt is DATA_LOSS, never a silent end.
  virtual absl::StatusOr<size_t> Read(std::span<uint8_t> out) = 0;
};

// Opens `path`, which may be a pipe, and sees by its first bytes whether it is xz, zstd or plain.
// Memory is bounded, whatever the file claims to need. Errors do not repeat the path, an empty file
// is INVALID_ARGUMENT.
absl::StatusOr<std::unique_ptr<ByteStream>> OpenDecompressed(const std::string& path);

}  // namespace larder
