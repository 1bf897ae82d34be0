#include "tools/workload/line_reader.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

constexpr size_t kReadBufferBytes = 64 << 10;

}  // namespace

LineReader::LineReader(std::unique_ptr<ByteStream> stream)
    : stream_(std::move(stream)), buffer_(kReadBufferBytes) {}

absl::StatusOr<std::optional<absl::string_view>> LineReader::Next() {
  line_.clear();
  ++line_number_;
  while (!TakeUpToNewline()) {
    if (line_.size() > kLineBytesMax) break;
    ASSIGN_OR_RETURN(const size_t size, stream_->Read(buffer_));
    if (size == 0) {
      if (line_.empty()) return std::nullopt;
      break;
    }
    rest_ = std::span<const uint8_t>(buffer_).first(size);
  }
  if (line_.size() > kLineBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("the line is longer than ", kLineBytesMax >> 20, " MiB"));
  }
  return absl::string_view(line_);
}

bool LineReader::TakeUpToNewline() {
  const auto newline = std::find(rest_.begin(), rest_.end(), '\n');
  line_.append(rest_.begin(), newline);
  const bool found = newline != rest_.end();
  rest_ = rest_.subspan(static_cast<size_t>(newline - rest_.begin()) + (found ? 1 : 0));
  return found;
}

}  // namespace larder
