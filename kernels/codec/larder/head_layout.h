// Where the parts of a head's stream are, found and checked the same way on CPU and GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/codec/geometry.h"
#include "kernels/codec/host_device.h"
#include "kernels/codec/larder/larder_format.h"
#include "kernels/codec/rans/rans_format.h"

namespace larder {

// What is wrong with a head, and 0 for nothing. What the GPU reports.
enum class HeadFault : uint32_t {
  kNone = 0,
  kRun = 1,        // version, exact tokens, filled tokens or profile of the run
  kDirectory = 2,  // the head's stream is not inside the run
  kMode = 3,       // unknown, reserved bytes not zero, or parts that the mode does not have
  kParts = 4,      // longer than the stream
  kTrailing = 5,   // bytes after the parts
  kTable = 6,      // a channel's table or step does not exist
  kCoded = 7,      // the entropy-coded stream ends early, late or in another state
  kPatch = 8,      // indices do not ascend, or leave the coded tokens
  kDigits = 9,     // a refinement stream has another size
  kSplit = 10,     // points do not ascend, or leave the stream
};

// The text of a fault for a CodecStatus.
const char* HeadFaultText(HeadFault fault);

// Sizes that every head of a plane has.
struct HeadSizes {
  uint32_t head_dim = 0;
  uint32_t element_bytes = 0;
  uint32_t tokens = 0;  // filled
  uint32_t exact_tokens = 0;
  uint32_t split_tokens = 0;  // between split points; 0: there are none

  // Split points of a head that is not raw.
  LARDER_HD uint32_t Splits() const { return split_tokens == 0 ? 0 : (tokens - 1) / split_tokens; }
  LARDER_HD uint32_t RowBytes() const { return head_dim * element_bytes; }
  LARDER_HD uint32_t Groups() const { return head_dim / kLanes; }
  LARDER_HD uint32_t DigitStreamBytes() const {
    return static_cast<uint32_t>(DigitBlocks(size_t{tokens} * Groups()) * kLanes);
  }
};

// Bytes of the parameters of a head that has its own: steps padded to an even number, tables,
// means.
LARDER_HD constexpr uint32_t InlineParameterBytes(uint32_t head_dim) {
  return (head_dim / kLanes + 1) / 2 * 2 + head_dim * 3;
}

// How many tokens of a plane that begins at `first_token` are stored exactly.
LARDER_HD constexpr uint32_t ExactTokens(uint64_t first_token, uint32_t filled_tokens) {
  if (first_token >= kExactTokens) return 0;
  const uint32_t exact = static_cast<uint32_t>(kExactTokens - first_token);
  return exact < filled_tokens ? exact : filled_tokens;
}

// What an encoder that is asked for `split_tokens` puts between split points; 0: it has none to
// put.
constexpr uint32_t SplitTokens(uint32_t split_tokens, uint32_t filled_tokens) {
  return split_tokens < filled_tokens ? split_tokens : 0;
}

// The tokens between split points that a run's header names; false when version and fields do not
// belong together.
LARDER_HD inline bool FindSplitTokens(const LarderRunHeader& header, HeadSizes* sizes) {
  sizes->split_tokens = header.split_units * kSplitUnit;
  const uint32_t version = sizes->Splits() == 0 ? kLarderRunVersion : kLarderSplitVersion;
  return header.version == version && (header.split_units == 0) == (sizes->Splits() == 0);
}

// Offsets from the stream's first byte.
struct HeadLayout {
  HeadMode mode = HeadMode::kRaw;
  uint32_t splits = 0;
  uint32_t patch_count = 0;
  uint32_t patch_indices = 0;
  uint32_t coded = 0;
  uint32_t coded_bytes = 0;
  uint32_t parameters = 0;
  uint32_t exact = 0;
  uint32_t exact_bytes = 0;
  uint32_t patch_elements = 0;
  uint32_t end = 0;  // of the parts
};

// Reads the head's header alone.
LARDER_HD inline HeadFault FindHeadLayout(const uint8_t* stream, uint32_t stream_bytes,
                                          const HeadSizes& sizes, HeadLayout* layout) {
  LarderHeadHeader header;
  if (stream_bytes < sizeof(header)) return HeadFault::kParts;
  memcpy(&header, stream, sizeof(header));
  if (header.mode > static_cast<uint8_t>(HeadMode::kRaw) ||
      (header.reserved[0] | header.reserved[1] | header.reserved[2]) != 0) {
    return HeadFault::kMode;
  }
  layout->mode = static_cast<HeadMode>(header.mode);
  const bool raw = layout->mode == HeadMode::kRaw;
  if (raw && (header.coded_bytes | header.patch_count) != 0) return HeadFault::kMode;
  if (!raw && (header.coded_bytes < kStateBytes || header.coded_bytes % kWordBytes != 0)) {
    return HeadFault::kCoded;
  }

  const uint32_t split_bytes =
      raw ? 0 : sizes.Splits() * static_cast<uint32_t>(sizeof(LarderSplit));
  const uint32_t parameter_bytes =
      layout->mode == HeadMode::kInline ? InlineParameterBytes(sizes.head_dim) : 0;
  layout->exact_bytes = (raw ? sizes.tokens : sizes.exact_tokens) * sizes.RowBytes();
  const uint64_t end = sizeof(header) + split_bytes +
                       header.patch_count * uint64_t{4 + sizes.element_bytes} +
                       uint64_t{header.coded_bytes} + parameter_bytes + layout->exact_bytes;
  if (end > stream_bytes) return HeadFault::kParts;
  layout->patch_count = header.patch_count;
  layout->splits = static_cast<uint32_t>(sizeof(header));
  layout->patch_indices = layout->splits + split_bytes;
  layout->coded = layout->patch_indices + 4 * header.patch_count;
  layout->coded_bytes = header.coded_bytes;
  layout->parameters = layout->coded + header.coded_bytes;
  layout->exact = layout->parameters + parameter_bytes;
  layout->patch_elements = layout->exact + layout->exact_bytes;
  layout->end = static_cast<uint32_t>(end);

  return stream_bytes - layout->end < kStreamAlignment ? HeadFault::kNone : HeadFault::kTrailing;
}

// Whether what follows the parts is zero.
LARDER_HD inline bool EndsInZeros(const uint8_t* stream, uint32_t stream_bytes,
                                  const HeadLayout& layout) {
  for (uint32_t i = layout.end; i < stream_bytes; ++i) {
    if (stream[i] != 0) return false;
  }
  return true;
}

}  // namespace larder
