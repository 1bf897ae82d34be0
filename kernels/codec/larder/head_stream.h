// The stream of one head in the base level's run: its parts, found and checked, or written.
// docs/formats/codec_larder.md has the layout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/codec/codec_status.h"
#include "kernels/codec/larder/head_symbols.h"
#include "kernels/codec/larder/larder_format.h"

namespace larder {

// Where the parts of a stream are; does not own the bytes. Of a raw head only `exact` is not empty.
struct HeadStream {
  HeadMode mode = HeadMode::kRaw;
  std::span<const uint8_t> coded;
  std::span<const uint8_t> parameters;     // kInline
  std::span<const uint8_t> exact;          // elements of the exact tokens; raw: of all filled ones
  std::span<const uint8_t> patch_indices;  // u32 each
  std::span<const uint8_t> patch_elements;
};

// kCorrupt unless the parts are those of `shape` and
// fill the stream. Patch indices are checked when they are used.
CodecStatus ParseHeadStream(std::span<const uint8_t> stream, const HeadShape& shape,
                            HeadStream* result);

// The bytes that WriteHeadStream would write.
size_t HeadStreamBytes(const HeadStream& parts);
// REQUIRES: `room` has HeadStreamBytes.
void WriteHeadStream(const HeadStream& parts, std::span<uint8_t> room);

// Puts patches of the tokens [token_begin, token_end) into `elements`, which begins with the first
// of them. kCorrupt unless all indices ascend and stay within the filled tokens after the exact
// ones.
CodecStatus ApplyPatches(const HeadStream& parts, const HeadShape& shape, uint32_t token_begin,
                         uint32_t token_end, uint8_t* elements);

}  // namespace larder
