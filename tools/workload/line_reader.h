// Splits a byte stream into lines of bounded length.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/status.h"
#include "tools/workload/byte_stream.h"

namespace larder {

inline constexpr size_t kLineBytesMax = 16 << 20;

// Owns its stream. Holds one line and one read buffer, never the file. Not thread-safe.
class LineReader {
 public:
  explicit LineReader(std::unique_ptr<ByteStream> stream);

  // The next line without its newline, valid until the next call; nothing at the end. The last line
  // needs no newline. A line longer than kLineBytesMax is INVALID_ARGUMENT.
  absl::StatusOr<std::optional<absl::string_view>> Next();

  // The number, from 1, of the line that the last call returned or failed on.
  uint64_t line_number() const { return line_number_; }

 private:
  // Moves bytes up to the next newline from `rest_` to `line_`; true when the newline was there.
  bool TakeUpToNewline();

  std::unique_ptr<ByteStream> stream_;
  std::vector<uint8_t> buffer_;
  std::span<const uint8_t> rest_;
  std::string line_;
  uint64_t line_number_ = 0;
};

}  // namespace larder
