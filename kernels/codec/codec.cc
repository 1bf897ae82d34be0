#include "kernels/codec/codec.h"

#include "kernels/codec/run_layout.h"

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
  LARDER_RETURN_IF_CODEC_ERROR(CheckRange(geometry, levels, range));
  if (destination.size() != range.Bytes(geometry)) {
    return InvalidCodecArgument("destination: not the bytes of the range");
  }
  return {};
}

CodecStatus Codec::CheckRange(const PlaneGeometry& geometry,
                              std::span<const std::span<const uint8_t>> levels,
                              const PlaneRange& range) const {
  LARDER_RETURN_IF_CODEC_ERROR(Check(geometry));
  if (levels.empty() || levels.size() > level_count()) {
    return InvalidCodecArgument("levels: none, or more than the codec has");
  }
  return range.Validate(geometry);
}

// First headers and directories, then the streams of the range's heads.
CodecStatus Codec::FindNeeded(const PlaneGeometry& geometry, const PlanePlace&,
                              std::span<const std::span<const uint8_t>> levels,
                              const PlaneRange& range, uint32_t step,
                              std::vector<LevelRange>& needed) const {
  LARDER_RETURN_IF_CODEC_ERROR(CheckRange(geometry, levels, range));
  for (uint32_t level = 0; level < levels.size() && step < 2; ++level) {
    const size_t header_bytes = PlaneHeaderBytes(geometry, level);
    RunRange bytes = {0, header_bytes + DirectoryBytes(geometry.heads)};
    if (step == 1) {
      LARDER_RETURN_IF_CODEC_ERROR(RunView::FindHeads(levels[level], header_bytes, geometry.heads,
                                                      range.head_begin, range.head_end, bytes));
    }
    if (bytes.end > levels[level].size()) {
      return CorruptCodecBytes("run: shorter than its directory", levels[level].size());
    }
    AddNeeded(level, bytes.begin, bytes.end, needed);
  }
  return {};
}

void Codec::AddNeeded(uint32_t level, size_t begin, size_t end, std::vector<LevelRange>& needed) {
  if (begin == end) return;
  if (!needed.empty() && needed.back().level == level && needed.back().end == begin) {
    needed.back().end = end;
  } else {
    needed.push_back({level, begin, end});
  }
}

}  // namespace larder
