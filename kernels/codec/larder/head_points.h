// Which part of a head's stream holds a range of tokens, found and checked the same way on CPU and
// GPU. Points are where decoding can begin or end: the first token, the split points, and the end.
// Segment i is what is between points i and i + 1.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/codec/geometry.h"
#include "kernels/codec/host_device.h"
#include "kernels/codec/larder/head_layout.h"
#include "kernels/codec/run_layout.h"

namespace larder {

inline constexpr uint32_t kSegmentsMax = (kCodecTokensMax - 1) / kSplitUnit + 1;

// Half-open; empty when no token of the range is filled.
struct SegmentRange {
  uint32_t begin = 0;
  uint32_t end = 0;
};

LARDER_HD inline SegmentRange SegmentsOf(const HeadSizes& sizes, const PlaneRange& range) {
  if (range.token_begin >= sizes.tokens) return {};
  if (sizes.split_tokens == 0) return {0, 1};
  const uint32_t last = (range.token_end < sizes.tokens ? range.token_end : sizes.tokens) - 1;
  return {range.token_begin / sizes.split_tokens, last / sizes.split_tokens + 1};
}

struct HeadPoint {
  uint32_t token = 0;
  uint32_t patch = 0;   // number of the next one
  uint32_t words = 0;   // where the next word is, from the stream's first byte
  uint32_t states = 0;  // where the coder's states are; 0 at the end, where they are known
};

// A point of a head that is not raw. False when the counts are more than there are.
LARDER_HD inline bool FindPoint(const uint8_t* stream, const HeadSizes& sizes,
                                const HeadLayout& layout, uint32_t index, HeadPoint* point) {
  const uint32_t words = (layout.coded_bytes - static_cast<uint32_t>(kStateBytes)) / kWordBytes;
  uint32_t patches_left = 0;
  uint32_t words_left = 0;
  if (index > sizes.Splits()) {
    *point = {sizes.tokens, 0, 0, 0};
  } else if (index == 0) {
    patches_left = layout.patch_count;
    words_left = words;
    *point = {0, 0, 0, layout.coded};
  } else {
    const uint32_t at = layout.splits + (index - 1) * static_cast<uint32_t>(sizeof(LarderSplit));
    patches_left = LoadU32(stream + at + offsetof(LarderSplit, patches));
    words_left = LoadU32(stream + at + offsetof(LarderSplit, words));
    const uint32_t states = at + static_cast<uint32_t>(offsetof(LarderSplit, states));
    *point = {index * sizes.split_tokens, 0, 0, states};
  }
  if (patches_left > layout.patch_count || words_left > words) return false;
  point->patch = layout.patch_count - patches_left;
  point->words = layout.coded + layout.coded_bytes - words_left * kWordBytes;
  return true;
}

// Both ends of a segment of a head that is not raw. False when they do not ascend.
LARDER_HD inline bool FindSegment(const uint8_t* stream, const HeadSizes& sizes,
                                  const HeadLayout& layout, uint32_t index, HeadPoint* from,
                                  HeadPoint* to) {
  return FindPoint(stream, sizes, layout, index, from) &&
         FindPoint(stream, sizes, layout, index + 1, to) && from->patch <= to->patch &&
         from->words <= to->words;
}

// Whether decoding the range reads the last of the head's stream.
LARDER_HD inline bool ReadsEnd(const HeadSizes& sizes, const HeadLayout& layout,
                               const PlaneRange& range) {
  if (layout.mode == HeadMode::kRaw) return range.token_end >= sizes.tokens;
  return SegmentsOf(sizes, range).end == sizes.Splits() + 1;
}

}  // namespace larder
