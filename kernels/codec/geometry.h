// The shape of a plane: one layer's keys or values (or latent), [head][token][dim].
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/codec/codec_status.h"

namespace larder {

// Channels are dealt to 32 lanes, lane = channel mod 32: a warp, or two registers of AVX-512.
inline constexpr uint32_t kLanes = 32;
inline constexpr uint32_t kCodecHeadsMax = 1024;
inline constexpr uint32_t kCodecHeadDimMin = 32;
inline constexpr uint32_t kCodecHeadDimMax = 576;  // latent of 512 and its 64 rotated channels
inline constexpr uint32_t kCodecTokensMax = 512;

// The values are those of the manifest's ElementType.
enum class CodecElement : uint8_t {
  kBfloat16 = 1,
  kFloat16 = 2,
  kFloat8E4M3 = 4,
  kFloat8E5M2 = 5,
};

// REQUIRES: a value of the enum.
constexpr size_t CodecElementBytes(CodecElement element) {
  return element == CodecElement::kBfloat16 || element == CodecElement::kFloat16 ? 2 : 1;
}

struct PlaneGeometry {
  CodecElement element = CodecElement::kBfloat16;
  uint32_t heads = 0;
  uint32_t tokens = 0;         // that the plane has room for
  uint32_t filled_tokens = 0;  // the first ones, 1 to `tokens`; the rest decodes to zero bytes
  uint32_t head_dim = 0;       // a multiple of kLanes

  size_t HeadBytes() const { return size_t{tokens} * head_dim * CodecElementBytes(element); }
  size_t PlaneBytes() const { return heads * HeadBytes(); }
  uint32_t Groups() const { return head_dim / kLanes; }

  // kInvalidArgument naming the first field that is out of bounds.
  CodecStatus Validate() const;
};

// What a layer's plane holds. The values are those of the profile's file.
enum class PlaneKind : uint8_t {
  kKey = 0,
  kValue = 1,
  kLatent = 2,
};

// Where a plane stands in the model and in the sequence.
struct PlanePlace {
  uint32_t layer = 0;
  PlaneKind kind = PlaneKind::kKey;
  uint32_t head_begin = 0;   // the model's number of the plane's first head
  uint64_t first_token = 0;  // position in the sequence: depth x tokens per chunk
};

// Heads and tokens of a plane, half-open and not empty.
struct PlaneRange {
  uint32_t head_begin = 0;
  uint32_t head_end = 0;
  uint32_t token_begin = 0;
  uint32_t token_end = 0;

  static PlaneRange Whole(const PlaneGeometry& geometry) {
    return {0, geometry.heads, 0, geometry.tokens};
  }
  // Of the elements, [head][token][dim] of this range. REQUIRES: Validate is OK.
  size_t Bytes(const PlaneGeometry& geometry) const {
    return size_t{head_end - head_begin} * (token_end - token_begin) * geometry.head_dim *
           CodecElementBytes(geometry.element);
  }
  CodecStatus Validate(const PlaneGeometry& geometry) const;
};

}  // namespace larder
