#include "kernels/codec/geometry.h"

namespace larder {

CodecStatus PlaneGeometry::Validate() const {
  switch (element) {
    case CodecElement::kBfloat16:
    case CodecElement::kFloat16:
    case CodecElement::kFloat8E4M3:
    case CodecElement::kFloat8E5M2:
      break;
    default:
      return InvalidCodecArgument("element type: not one that the codecs know");
  }
  if (heads == 0 || heads > kCodecHeadsMax) {
    return InvalidCodecArgument("heads: not in 1 to 1024");
  }
  if (tokens == 0 || tokens > kCodecTokensMax) {
    return InvalidCodecArgument("tokens: not in 1 to 512");
  }
  if (filled_tokens == 0 || filled_tokens > tokens) {
    return InvalidCodecArgument("filled tokens: not in 1 to tokens");
  }
  if (head_dim < kCodecHeadDimMin || head_dim > kCodecHeadDimMax || head_dim % kLanes != 0) {
    return InvalidCodecArgument("head dim: not a multiple of 32 in 32 to 576");
  }
  return {};
}

CodecStatus PlaneRange::Validate(const PlaneGeometry& geometry) const {
  if (head_begin >= head_end || head_end > geometry.heads) {
    return InvalidCodecArgument("head range: empty or outside the plane");
  }
  if (token_begin >= token_end || token_end > geometry.tokens) {
    return InvalidCodecArgument("token range: empty or outside the plane");
  }
  return {};
}

}  // namespace larder
