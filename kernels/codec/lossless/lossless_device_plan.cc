#include <algorithm>

#include "kernels/codec/lossless/lossless_device.h"

namespace larder {
namespace {

constexpr size_t kAlignment = 16;

size_t Aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Working memory of one head: its stream before it is packed, its symbols, the coder's room.
struct HeadWorkspace {
  size_t symbols_at;
  size_t room_at;
  size_t bytes;

  explicit HeadWorkspace(const PlaneGeometry& geometry) {
    const size_t rows = size_t{geometry.filled_tokens} * geometry.Groups();
    symbols_at = Aligned(LosslessHeadBytesMax(geometry));
    room_at = symbols_at + Aligned(rows * kLanes);
    bytes = room_at + Aligned(StreamBytesMax(rows));
  }
};

// The address on the device of what is at `host` in the copy at `run`.
const uint8_t* OnDevice(const uint8_t* host, std::span<const uint8_t> run, const uint8_t* run_dev) {
  return run_dev + (host - run.data());
}

}  // namespace

CodecStatus PlanLosslessDecode(const PlaneGeometry& geometry, std::span<const uint8_t> run,
                               const uint8_t* run_dev, const PlaneRange& range,
                               std::span<const TokenDestinations> to_dev,
                               std::span<LosslessTask> tasks) {
  LARDER_RETURN_IF_CODEC_ERROR(geometry.Validate());
  LARDER_RETURN_IF_CODEC_ERROR(range.Validate(geometry));
  const uint32_t heads = range.head_end - range.head_begin;
  if (to_dev.size() != heads || tasks.size() != heads) {
    return InvalidCodecArgument("destinations or tasks: not as many as heads in the range");
  }
  if (reinterpret_cast<uintptr_t>(run_dev) % sizeof(uint32_t) != 0) {
    return InvalidCodecArgument("run on the device: not aligned to 4 bytes");
  }
  for (uint32_t i = 0; i < heads; ++i) {
    LosslessChannels channels;
    LosslessHead head;
    LARDER_RETURN_IF_CODEC_ERROR(
        ParseLosslessHead(geometry, run, range.head_begin + i, channels, head));
    if (head.stream_at % sizeof(uint32_t) != 0) {
      return CorruptCodecBytes("directory: a head's stream is not aligned to 4 bytes",
                               head.stream_at);
    }
    if (head.form == LosslessForm::kStored) {
      head.elements = OnDevice(head.elements, run, run_dev);
    } else {
      const LosslessParts parts = LosslessPartsOf(geometry);
      head.base = run_dev + head.stream_at + parts.base_at;
      head.table = run_dev + head.stream_at + parts.table_at;
      head.low = OnDevice(head.low, run, run_dev);
      head.planes = OnDevice(head.planes, run, run_dev);
      head.symbols = OnDevice(head.symbols, run, run_dev);
      head.escapes = OnDevice(head.escapes, run, run_dev);
    }
    tasks[i] = {head,
                {geometry.Groups(), geometry.filled_tokens, range.token_begin,
                 std::min(range.token_end, geometry.filled_tokens), to_dev[i]}};
  }
  return {};
}

size_t LosslessEncodeWorkspaceBytes(const PlaneGeometry& geometry, uint32_t planes) {
  return size_t{planes} * geometry.heads * HeadWorkspace(geometry).bytes;
}

CodecStatus PlanLosslessEncode(const PlaneGeometry& geometry, uint32_t planes,
                               std::span<const TokenSources> from_dev, uint8_t* workspace_dev,
                               std::span<LosslessHeadToEncode> tasks) {
  LARDER_RETURN_IF_CODEC_ERROR(geometry.Validate());
  const size_t heads = size_t{planes} * geometry.heads;
  if (from_dev.size() != heads || tasks.size() != heads) {
    return InvalidCodecArgument("sources or tasks: not as many as heads in the planes");
  }
  if (reinterpret_cast<uintptr_t>(workspace_dev) % kAlignment != 0) {
    return InvalidCodecArgument("workspace: not aligned to 16 bytes");
  }
  const HeadWorkspace workspace(geometry);
  for (size_t i = 0; i < heads; ++i) {
    uint8_t* memory = workspace_dev + i * workspace.bytes;
    tasks[i] = {.from = from_dev[i],
                .groups = geometry.Groups(),
                .filled_tokens = geometry.filled_tokens,
                .parts = LosslessPartsOf(geometry),
                .stored_bytes = LosslessHeadBytesMax(geometry),
                .to = memory,
                .symbols = memory + workspace.symbols_at,
                .room = memory + workspace.room_at};
  }
  return {};
}

}  // namespace larder
