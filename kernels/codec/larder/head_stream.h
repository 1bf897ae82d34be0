// The stream of one head in the base level's run: finding it, writing its parts, putting patches
// in.
// docs/formats/codec_larder.md has the layout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/codec/codec_status.h"
#include "kernels/codec/larder/head_points.h"
#include "kernels/codec/larder/head_symbols.h"
#include "kernels/codec/larder/larder_format.h"

namespace larder {

// The parts of a stream; does not own the bytes. Of a raw head only `exact` is not empty.
struct HeadStream {
  HeadMode mode = HeadMode::kRaw;
  std::span<const uint8_t> splits;  // a LarderSplit each
  std::span<const uint8_t> coded;
  std::span<const uint8_t> parameters;     // kInline
  std::span<const uint8_t> exact;          // elements of the exact tokens; raw: of all filled ones
  std::span<const uint8_t> patch_indices;  // u32 each
  std::span<const uint8_t> patch_elements;
};

// Finds a head and its layout in the base level's run, of which it reads the directory and the
// head's header. kCorrupt unless the stream is as long as its parts.
CodecStatus FindHead(std::span<const uint8_t> run, uint32_t heads, uint32_t head,
                     const HeadSizes& sizes, std::span<const uint8_t>* stream, HeadLayout* layout);

// The bytes that WriteHeadStream would write.
size_t HeadStreamBytes(const HeadStream& parts);
// REQUIRES: `room` has HeadStreamBytes.
void WriteHeadStream(const HeadStream& parts, std::span<uint8_t> room);

// Puts a segment's patches of the tokens [token_begin, token_end) into `elements`, which begins
// with the first of them. kCorrupt unless all indices of the segment ascend and are of its tokens,
// after the exact ones.
CodecStatus ApplyPatches(const uint8_t* stream, const HeadLayout& layout, const HeadShape& shape,
                         const HeadPoint& from, const HeadPoint& to, uint32_t token_begin,
                         uint32_t token_end, uint8_t* elements);

}  // namespace larder
