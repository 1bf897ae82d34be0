#include "kernels/codec/larder/head_stream.h"

#include <algorithm>
#include <cstring>

#include "kernels/codec/larder/head_layout.h"
#include "kernels/codec/run_layout.h"

namespace larder {
namespace {

uint8_t* Put(std::span<const uint8_t> part, uint8_t* to) {
  if (!part.empty()) {
    std::memcpy(to, part.data(), part.size());
  }
  return to + part.size();
}

}  // namespace

const char* HeadFaultText(HeadFault fault) {
  switch (fault) {
    case HeadFault::kNone:
      return "";
    case HeadFault::kRun:
      return "run: header";
    case HeadFault::kDirectory:
      return "directory: a head's stream is outside the run";
    case HeadFault::kMode:
      return "head: mode";
    case HeadFault::kParts:
      return "head: shorter than its parts";
    case HeadFault::kTrailing:
      return "head: bytes after its parts";
    case HeadFault::kTable:
      return "head: a channel's table or step does not exist";
    case HeadFault::kCoded:
      return "head: entropy-coded stream";
    case HeadFault::kPatch:
      return "head: patch index";
    case HeadFault::kDigits:
      return "digits: size of a head's stream";
  }
  return "unknown fault";
}

CodecStatus ParseHeadStream(std::span<const uint8_t> stream, const HeadShape& shape,
                            HeadStream* result) {
  HeadLayout layout;
  const HeadFault fault =
      FindHeadLayout(stream.data(), static_cast<uint32_t>(stream.size()), shape.Sizes(), &layout);
  if (fault != HeadFault::kNone) {
    return CorruptCodecBytes(HeadFaultText(fault), 0);
  }
  result->mode = layout.mode;
  result->patch_indices = stream.subspan(layout.patch_indices, layout.patch_count * 4);
  result->coded = stream.subspan(layout.coded, layout.coded_bytes);
  result->parameters = stream.subspan(layout.parameters, layout.exact - layout.parameters);
  result->exact = stream.subspan(layout.exact, layout.exact_bytes);
  result->patch_elements =
      stream.subspan(layout.patch_elements, layout.end - layout.patch_elements);
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
      return CorruptCodecBytes(HeadFaultText(HeadFault::kPatch),
                               sizeof(LarderHeadHeader) + 4 * patch);
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
