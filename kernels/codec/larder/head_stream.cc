#include "kernels/codec/larder/head_stream.h"

#include <algorithm>
#include <cstring>

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
    case HeadFault::kSplit:
      return "head: split points";
  }
  return "unknown fault";
}

CodecStatus FindHead(std::span<const uint8_t> run, uint32_t heads, uint32_t head,
                     const HeadSizes& sizes, std::span<const uint8_t>* stream, HeadLayout* layout) {
  LARDER_RETURN_IF_CODEC_ERROR(
      RunView::FindHead(run, sizeof(LarderRunHeader), heads, head, *stream));
  if (static_cast<size_t>(stream->data() - run.data()) % kStreamAlignment != 0) {
    return CorruptCodecBytes(HeadFaultText(HeadFault::kDirectory), head);
  }
  const HeadFault fault =
      FindHeadLayout(stream->data(), static_cast<uint32_t>(stream->size()), sizes, layout);
  if (fault != HeadFault::kNone) return CorruptCodecBytes(HeadFaultText(fault), head);
  return {};
}

size_t HeadStreamBytes(const HeadStream& parts) {
  return AlignStream(sizeof(LarderHeadHeader) + parts.splits.size() + parts.patch_indices.size() +
                     parts.coded.size() + parts.parameters.size() + parts.exact.size() +
                     parts.patch_elements.size());
}

void WriteHeadStream(const HeadStream& parts, std::span<uint8_t> room) {
  LarderHeadHeader header = {};
  header.mode = static_cast<uint8_t>(parts.mode);
  header.coded_bytes = static_cast<uint32_t>(parts.coded.size());
  header.patch_count = static_cast<uint32_t>(parts.patch_indices.size() / sizeof(uint32_t));
  std::memcpy(room.data(), &header, sizeof(header));
  uint8_t* to = room.data() + sizeof(header);
  to = Put(parts.splits, to);
  to = Put(parts.patch_indices, to);
  to = Put(parts.coded, to);
  to = Put(parts.parameters, to);
  to = Put(parts.exact, to);
  to = Put(parts.patch_elements, to);
  std::fill(to, room.data() + HeadStreamBytes(parts), uint8_t{0});
}

CodecStatus ApplyPatches(const uint8_t* stream, const HeadLayout& layout, const HeadShape& shape,
                         const HeadPoint& from, const HeadPoint& to, uint32_t token_begin,
                         uint32_t token_end, uint8_t* elements) {
  const size_t element_bytes = CodecElementBytes(shape.element);
  uint32_t lowest = std::max(from.token, shape.exact_tokens) * shape.head_dim;
  for (size_t patch = from.patch; patch < to.patch; ++patch) {
    const size_t at = layout.patch_indices + patch * sizeof(uint32_t);
    const uint32_t index = LoadU32(stream + at);
    if (index < lowest || index >= to.token * shape.head_dim) {
      return CorruptCodecBytes(HeadFaultText(HeadFault::kPatch), at);
    }
    lowest = index + 1;
    if (index >= token_begin * shape.head_dim && index < token_end * shape.head_dim) {
      std::memcpy(elements + (index - token_begin * shape.head_dim) * element_bytes,
                  stream + layout.patch_elements + patch * element_bytes, element_bytes);
    }
  }
  return {};
}

}  // namespace larder
