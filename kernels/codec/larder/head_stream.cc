#include "kernels/codec/larder/head_stream.h"

#include <algorithm>
#include <cstring>

#include "kernels/codec/larder/inline_parameters.h"
#include "kernels/codec/run_layout.h"

namespace larder {
namespace {

bool AllZero(std::span<const uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

// Takes parts off the front of a stream; a part that is not there makes every later one empty.
class Cutter {
 public:
  explicit Cutter(std::span<const uint8_t> bytes) : rest_(bytes) {}

  std::span<const uint8_t> Cut(uint64_t bytes) {
    if (bytes > rest_.size()) {
      short_ = true;
      rest_ = {};
      return {};
    }
    const std::span<const uint8_t> part = rest_.first(bytes);
    rest_ = rest_.subspan(bytes);
    return part;
  }

  bool ok() const { return !short_; }
  std::span<const uint8_t> rest() const { return rest_; }

 private:
  std::span<const uint8_t> rest_;
  bool short_ = false;
};

uint8_t* Put(std::span<const uint8_t> part, uint8_t* to) {
  if (!part.empty()) {
    std::memcpy(to, part.data(), part.size());
  }
  return to + part.size();
}

}  // namespace

CodecStatus ParseHeadStream(std::span<const uint8_t> stream, const HeadShape& shape,
                            HeadStream* result) {
  LarderHeadHeader header;
  if (stream.size() < sizeof(header)) {
    return CorruptCodecBytes("head: shorter than its header", stream.size());
  }
  std::memcpy(&header, stream.data(), sizeof(header));
  if (header.mode > static_cast<uint8_t>(HeadMode::kRaw) || !AllZero(header.reserved)) {
    return CorruptCodecBytes("head: mode", 0);
  }
  const size_t element_bytes = CodecElementBytes(shape.element);
  result->mode = static_cast<HeadMode>(header.mode);
  const bool raw = result->mode == HeadMode::kRaw;
  if (raw && (header.coded_bytes != 0 || header.patch_count != 0)) {
    return CorruptCodecBytes("head: a raw one with coded bytes or patches",
                             offsetof(LarderHeadHeader, coded_bytes));
  }
  Cutter cutter(stream.subspan(sizeof(header)));
  result->patch_indices = cutter.Cut(uint64_t{header.patch_count} * sizeof(uint32_t));
  result->coded = cutter.Cut(header.coded_bytes);
  result->parameters = cutter.Cut(
      result->mode == HeadMode::kInline ? InlineParameters::StoredBytes(shape.head_dim) : 0);
  result->exact = cutter.Cut((raw ? shape.tokens : shape.exact_tokens) * shape.RowBytes());
  result->patch_elements = cutter.Cut(uint64_t{header.patch_count} * element_bytes);
  if (!cutter.ok()) {
    return CorruptCodecBytes("head: shorter than its parts", stream.size());
  }
  if (cutter.rest().size() >= kStreamAlignment || !AllZero(cutter.rest())) {
    return CorruptCodecBytes("head: bytes after its parts", stream.size() - cutter.rest().size());
  }
  return {};
}

size_t HeadStreamBytes(const HeadStream& parts) {
  return AlignStream(sizeof(LarderHeadHeader) + parts.patch_indices.size() + parts.coded.size() +
                     parts.parameters.size() + parts.exact.size() + parts.patch_elements.size());
}

void WriteHeadStream(const HeadStream& parts, std::span<uint8_t> room) {
  LarderHeadHeader header = {};
  header.mode = static_cast<uint8_t>(parts.mode);
  header.coded_bytes = static_cast<uint32_t>(parts.coded.size());
  header.patch_count = static_cast<uint32_t>(parts.patch_indices.size() / sizeof(uint32_t));
  std::memcpy(room.data(), &header, sizeof(header));
  uint8_t* to = room.data() + sizeof(header);
  to = Put(parts.patch_indices, to);
  to = Put(parts.coded, to);
  to = Put(parts.parameters, to);
  to = Put(parts.exact, to);
  to = Put(parts.patch_elements, to);
  std::fill(to, room.data() + HeadStreamBytes(parts), uint8_t{0});
}

CodecStatus ApplyPatches(const HeadStream& parts, const HeadShape& shape, uint32_t token_begin,
                         uint32_t token_end, uint8_t* elements) {
  const size_t element_bytes = CodecElementBytes(shape.element);
  const size_t count = parts.patch_indices.size() / sizeof(uint32_t);
  const uint32_t end = shape.tokens * shape.head_dim;
  uint32_t lowest = shape.exact_tokens * shape.head_dim;
  for (size_t patch = 0; patch < count; ++patch) {
    const uint32_t index = LoadU32(parts.patch_indices.data() + patch * sizeof(uint32_t));
    if (index < lowest || index >= end) {
      return CorruptCodecBytes("head: patch index", sizeof(LarderHeadHeader) + 4 * patch);
    }
    lowest = index + 1;
    if (index >= token_begin * shape.head_dim && index < token_end * shape.head_dim) {
      std::memcpy(elements + (index - token_begin * shape.head_dim) * element_bytes,
                  parts.patch_elements.data() + patch * element_bytes, element_bytes);
    }
  }
  return {};
}

}  // namespace larder
