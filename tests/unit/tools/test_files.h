// Files that the tests make and throw away.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace larder {

// A file in the temporary directory with the given bytes; deleted with the object.
class TemporaryFile {
 public:
  explicit TemporaryFile(absl::string_view bytes);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

enum class Compression { kNone, kXz, kZstd };

// `text` as one complete compressed stream.
std::string Compress(absl::string_view text, Compression compression);

}  // namespace larder
