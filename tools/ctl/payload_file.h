// Files with the payload of chunks, for put and get.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/file_descriptor.h"

namespace larder {

// Reads a file with the payload of so many chunks and nothing else. Not thread-safe.
class PayloadReader {
 public:
  // INVALID_ARGUMENT when a plain file has another size; other kinds of files show it later.
  static absl::StatusOr<PayloadReader> Open(const std::string& path, uint64_t chunk_bytes,
                                            size_t chunks);

  // Fills `payload` with the next bytes; INVALID_ARGUMENT when there are fewer.
  absl::Status Read(std::span<uint8_t> payload);

  // INVALID_ARGUMENT when there are more bytes.
  absl::Status CheckEnd();

 private:
  std::string path_;
  FileDescriptor file_;
};

// Writes the whole file, in place of what it held; "-" is standard output. After an error there is
// no such file, unless it is no plain one.
absl::Status WritePayload(const std::string& path, std::span<const uint8_t> payload);

// The whole of a small text file.
absl::StatusOr<std::string> ReadTextFile(const std::string& path);

}  // namespace larder
