#include "kernels/codec/larder/larder_device.h"

namespace larder {

CodecStatus PlanLarderDecode(const LarderProfile& profile, const PlaneGeometry& geometry,
                             const PlanePlace& place,
                             std::span<const std::span<const uint8_t>> levels_dev,
                             const PlaneRange& range, const TokenDestinations& to_dev,
                             size_t head_stride, WarpDecodeJob& job) {
  LARDER_RETURN_IF_CODEC_ERROR(geometry.Validate());
  LARDER_RETURN_IF_CODEC_ERROR(range.Validate(geometry));
  LARDER_RETURN_IF_CODEC_ERROR(profile.Check(geometry, place));
  if (levels_dev.empty() || levels_dev.size() > kLarderLevels) {
    return InvalidCodecArgument("levels: none, or more than the codec has");
  }
  const size_t element_bytes = CodecElementBytes(geometry.element);
  const bool aligned = reinterpret_cast<uintptr_t>(to_dev.base) % element_bytes == 0 &&
                       to_dev.token_stride % element_bytes == 0 &&
                       to_dev.block_stride % element_bytes == 0 && head_stride % element_bytes == 0;
  if (!aligned || (to_dev.block_table != nullptr && to_dev.block_tokens == 0)) {
    return InvalidCodecArgument("destination: not aligned to elements, or blocks of no tokens");
  }
  job = {};
  for (size_t level = 0; level < levels_dev.size(); ++level) {
    const std::span<const uint8_t> run = levels_dev[level];
    if (reinterpret_cast<uintptr_t>(run.data()) % kStreamAlignment != 0 ||
        run.size() > UINT32_MAX) {
      return InvalidCodecArgument("levels: a run is not aligned to 4 bytes, or over 4 GiB");
    }
    job.levels[level] = run.data();
    job.run_bytes[level] = static_cast<uint32_t>(run.size());
  }
  job.level_count = static_cast<uint32_t>(levels_dev.size());
  job.heads = geometry.heads;
  job.filled_tokens = geometry.filled_tokens;
  job.place = place;
  job.range = range;
  job.destination = to_dev;
  job.head_stride = head_stride;
  return {};
}

}  // namespace larder
