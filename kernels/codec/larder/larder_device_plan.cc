#include "kernels/codec/larder/larder_device.h"

namespace larder {
namespace {

// Whether every element of every token of every head is aligned.
template <typename Byte>
bool AreAligned(const TokenPlaces<Byte>& places, size_t head_stride, size_t element_bytes) {
  return reinterpret_cast<uintptr_t>(places.base) % element_bytes == 0 &&
         places.token_stride % element_bytes == 0 && places.block_stride % element_bytes == 0 &&
         head_stride % element_bytes == 0 &&
         (places.block_table == nullptr || places.block_tokens != 0);
}

}  // namespace

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
  if (!AreAligned(to_dev, head_stride, CodecElementBytes(geometry.element))) {
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

size_t LarderEncodeWorkspaceBytes(const PlaneGeometry& geometry, uint32_t split_tokens) {
  HeadSizes sizes;
  sizes.head_dim = geometry.head_dim;
  sizes.element_bytes = static_cast<uint32_t>(CodecElementBytes(geometry.element));
  sizes.tokens = geometry.filled_tokens;
  sizes.split_tokens = SplitTokens(split_tokens, sizes.tokens);
  return geometry.heads * WarpWorkspace(sizes).bytes;
}

CodecStatus PlanLarderEncode(const LarderProfile& profile, const PlaneGeometry& geometry,
                             const PlanePlace& place, const TokenSources& from_dev,
                             size_t head_stride, std::span<uint8_t* const> levels_dev,
                             uint32_t* run_bytes_dev, uint8_t* workspace_dev, WarpEncodeJob& job,
                             uint32_t split_tokens) {
  LARDER_RETURN_IF_CODEC_ERROR(geometry.Validate());
  LARDER_RETURN_IF_CODEC_ERROR(profile.Check(geometry, place));
  if (!IsSplitTokens(split_tokens)) {
    return InvalidCodecArgument("split tokens: not a multiple of 16 up to 4080");
  }
  if (levels_dev.empty() || levels_dev.size() > kLarderLevels) {
    return InvalidCodecArgument("levels: none, or more than the codec has");
  }
  if (!AreAligned(from_dev, head_stride, CodecElementBytes(geometry.element))) {
    return InvalidCodecArgument("source: not aligned to elements, or blocks of no tokens");
  }
  if (reinterpret_cast<uintptr_t>(workspace_dev) % 16 != 0) {
    return InvalidCodecArgument("workspace: not aligned to 16 bytes");
  }
  job = {};
  for (size_t level = 0; level < levels_dev.size(); ++level) {
    if (reinterpret_cast<uintptr_t>(levels_dev[level]) % kStreamAlignment != 0) {
      return InvalidCodecArgument("levels: a run is not aligned to 4 bytes");
    }
    job.levels[level] = levels_dev[level];
  }
  job.source = from_dev;
  job.head_stride = head_stride;
  job.heads = geometry.heads;
  job.filled_tokens = geometry.filled_tokens;
  job.place = place;
  job.split_tokens = SplitTokens(split_tokens, geometry.filled_tokens);
  job.level_count = static_cast<uint32_t>(levels_dev.size());
  job.run_bytes = run_bytes_dev;
  job.workspace = workspace_dev;
  return {};
}

}  // namespace larder
