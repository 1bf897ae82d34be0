#include "kernels/codec/codec.h"

namespace larder {

CodecStatus Codec::CheckEncode(const PlaneGeometry& geometry, std::span<const uint8_t> elements,
                               std::span<const LevelOutput> levels) const {
  LARDER_RETURN_IF_CODEC_ERROR(Check(geometry));
  if (elements.size() != geometry.PlaneBytes()) {
    return InvalidCodecArgument("elements: not the bytes of the plane");
  }
  if (levels.empty() || levels.size() > level_count()) {
    return InvalidCodecArgument("levels: none, or more than the codec has");
  }
  for (uint32_t level = 0; level < levels.size(); ++level) {
    if (levels[level].room.size() < LevelBytesMax(geometry, level)) {
      return InvalidCodecArgument("levels: the room is less than LevelBytesMax");
    }
  }
  return {};
}

CodecStatus Codec::CheckDecode(const PlaneGeometry& geometry,
                               std::span<const std::span<const uint8_t>> levels,
                               const PlaneRange& range,
                               std::span<const uint8_t> destination) const {
  LARDER_RETURN_IF_CODEC_ERROR(Check(geometry));
  if (levels.empty() || levels.size() > level_count()) {
    return InvalidCodecArgument("levels: none, or more than the codec has");
  }
  LARDER_RETURN_IF_CODEC_ERROR(range.Validate(geometry));
  if (destination.size() != range.Bytes(geometry)) {
    return InvalidCodecArgument("destination: not the bytes of the range");
  }
  return {};
}

}  // namespace larder
