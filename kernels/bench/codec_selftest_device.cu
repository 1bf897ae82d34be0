#include <algorithm>

#include "kernels/bench/codec_selftest_device.h"
#include "kernels/bench/device_memory.h"
#include "kernels/codec/larder/larder_device.h"
#include "kernels/codec/lossless/lossless_device.h"

namespace larder {
namespace {

CodecStatus StatusOf(cudaError_t error) {
  return error == cudaSuccess ? CodecStatus{} : DeviceRefused(cudaGetErrorString(error));
}

}  // namespace

bool HasDevice() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess && count > 0;
}

// A profile's block on the device, and its view.
struct DeviceProfile {
  DeviceProfile(const LarderProfile& profile, uint32_t head_dim)
      : block(WarpProfileBytes(profile)), block_dev(block.size()) {
    view = WriteWarpProfile(profile, block, block_dev.as());
    view.head_dim = head_dim;
    error = cudaMemcpy(block_dev.as(), block.data(), block.size(), cudaMemcpyHostToDevice);
  }

  std::vector<uint8_t> block;
  DeviceBytes block_dev;
  WarpProfile view;
  cudaError_t error;
};

CodecStatus DecodeLarderOnDevice(const LarderProfile& profile, const PlaneGeometry& geometry,
                                 const PlanePlace& place,
                                 std::span<const std::vector<uint8_t>> levels,
                                 std::vector<uint8_t>& elements) {
  const DeviceProfile profile_dev(profile, geometry.head_dim);
  LARDER_RETURN_IF_CODEC_ERROR(StatusOf(profile_dev.error));
  std::vector<DeviceBytes> runs_dev;
  std::vector<std::span<const uint8_t>> views;
  for (const std::vector<uint8_t>& level : levels) {
    runs_dev.emplace_back(level);
    views.push_back(runs_dev.back().span());
  }
  elements.resize(geometry.PlaneBytes());
  const DeviceBytes elements_dev(elements.size());
  TokenDestinations to;
  to.base = elements_dev.as();
  to.token_stride = geometry.HeadBytes() / geometry.tokens;
  std::vector<WarpDecodeJob> jobs(1);
  LARDER_RETURN_IF_CODEC_ERROR(PlanLarderDecode(profile, geometry, place, views,
                                                PlaneRange::Whole(geometry), to,
                                                geometry.HeadBytes(), jobs[0]));
  const DeviceBytes jobs_dev(jobs);
  std::vector<HeadFault> faults(geometry.heads);
  const DeviceBytes faults_dev(faults);
  LARDER_RETURN_IF_CODEC_ERROR(LaunchLarderDecode(profile_dev.view, geometry.element,
                                                  jobs_dev.as<WarpDecodeJob>(), 1, geometry.heads,
                                                  faults_dev.as<HeadFault>(), nullptr));
  LARDER_RETURN_IF_CODEC_ERROR(StatusOf(faults_dev.Read(faults)));
  for (size_t head = 0; head < faults.size(); ++head) {
    if (faults[head] != HeadFault::kNone) return CorruptCodecBytes("a head's fault", head);
  }
  return StatusOf(elements_dev.Read(elements));
}

CodecStatus EncodeLarderOnDevice(const LarderProfile& profile, const PlaneGeometry& geometry,
                                 const PlanePlace& place, const std::vector<uint8_t>& elements,
                                 uint32_t split_tokens, std::span<std::vector<uint8_t>> levels) {
  const DeviceProfile profile_dev(profile, geometry.head_dim);
  LARDER_RETURN_IF_CODEC_ERROR(StatusOf(profile_dev.error));
  std::vector<DeviceBytes> rooms;
  std::vector<uint8_t*> addresses;
  for (const std::vector<uint8_t>& level : levels) {
    rooms.emplace_back(level.size());
    addresses.push_back(rooms.back().as());
  }
  const DeviceBytes elements_dev(elements);
  const DeviceBytes workspace_dev(LarderEncodeWorkspaceBytes(geometry, split_tokens));
  std::vector<uint32_t> run_bytes(levels.size());
  const DeviceBytes run_bytes_dev(run_bytes);
  TokenSources from;
  from.base = elements_dev.as();
  from.token_stride = geometry.HeadBytes() / geometry.tokens;
  std::vector<WarpEncodeJob> jobs(1);
  LARDER_RETURN_IF_CODEC_ERROR(
      PlanLarderEncode(profile, geometry, place, from, geometry.HeadBytes(), addresses,
                       run_bytes_dev.as<uint32_t>(), workspace_dev.as(), jobs[0], split_tokens));
  const DeviceBytes jobs_dev(jobs);
  LARDER_RETURN_IF_CODEC_ERROR(LaunchLarderEncode(profile_dev.view, geometry.element,
                                                  jobs_dev.as<WarpEncodeJob>(), 1, geometry.heads,
                                                  nullptr));
  LARDER_RETURN_IF_CODEC_ERROR(StatusOf(run_bytes_dev.Read(run_bytes)));
  for (size_t level = 0; level < levels.size(); ++level) {
    LARDER_RETURN_IF_CODEC_ERROR(StatusOf(rooms[level].Read(levels[level])));
    levels[level].resize(std::min<size_t>(run_bytes[level], levels[level].size()));
  }
  return {};
}

CodecStatus DecodeLosslessOnDevice(const PlaneGeometry& geometry, const std::vector<uint8_t>& run,
                                   std::vector<uint8_t>& elements) {
  elements.resize(geometry.PlaneBytes());
  const DeviceBytes run_dev(run);
  const DeviceBytes elements_dev(elements.size());
  LARDER_RETURN_IF_CODEC_ERROR(StatusOf(cudaMemset(elements_dev.as(), 0, elements.size())));
  std::vector<TokenDestinations> to(geometry.heads);
  for (uint32_t head = 0; head < geometry.heads; ++head) {
    to[head].base = elements_dev.as() + head * geometry.HeadBytes();
    to[head].token_stride = geometry.HeadBytes() / geometry.tokens;
  }
  std::vector<LosslessTask> tasks(geometry.heads);
  LARDER_RETURN_IF_CODEC_ERROR(
      PlanLosslessDecode(geometry, run, run_dev.as(), PlaneRange::Whole(geometry), to, tasks));
  const DeviceBytes tasks_dev(tasks);
  std::vector<LosslessTables> tables(1);
  BuildLosslessTables(&tables[0]);
  const DeviceBytes tables_dev(tables);
  std::vector<uint32_t> damaged(geometry.heads);
  const DeviceBytes damaged_dev(damaged);
  LARDER_RETURN_IF_CODEC_ERROR(LaunchLosslessDecode(geometry.element, tasks_dev.as<LosslessTask>(),
                                                    geometry.heads, tables_dev.as<LosslessTables>(),
                                                    damaged_dev.as<uint32_t>(), nullptr));
  LARDER_RETURN_IF_CODEC_ERROR(StatusOf(damaged_dev.Read(damaged)));
  for (size_t head = 0; head < damaged.size(); ++head) {
    if (damaged[head] != 0) return CorruptCodecBytes("a head's fault", head);
  }
  return StatusOf(elements_dev.Read(elements));
}

CodecStatus EncodeLosslessOnDevice(const PlaneGeometry& geometry,
                                   const std::vector<uint8_t>& elements,
                                   std::vector<uint8_t>& run) {
  const DeviceBytes elements_dev(elements);
  const DeviceBytes workspace_dev(LosslessEncodeWorkspaceBytes(geometry, 1));
  std::vector<TokenSources> from(geometry.heads);
  for (uint32_t head = 0; head < geometry.heads; ++head) {
    from[head].base = elements_dev.as() + head * geometry.HeadBytes();
    from[head].token_stride = geometry.HeadBytes() / geometry.tokens;
  }
  std::vector<LosslessHeadToEncode> tasks(geometry.heads);
  LARDER_RETURN_IF_CODEC_ERROR(PlanLosslessEncode(geometry, 1, from, workspace_dev.as(), tasks));
  const DeviceBytes tasks_dev(tasks);
  std::vector<LosslessTables> tables(1);
  BuildLosslessTables(&tables[0]);
  const DeviceBytes tables_dev(tables);
  const DeviceBytes run_dev(run.size());
  std::vector<uint32_t> run_bytes(1);
  const DeviceBytes run_bytes_dev(run_bytes);
  const std::vector<LosslessRunOutput> output = {{run_dev.as(), run_bytes_dev.as<uint32_t>()}};
  const DeviceBytes output_dev(output);
  const DeviceBytes bytes_dev(geometry.heads * sizeof(uint32_t));
  LARDER_RETURN_IF_CODEC_ERROR(LaunchLosslessEncode(
      geometry, 1, tasks_dev.as<LosslessHeadToEncode>(), tables_dev.as<LosslessTables>(),
      output_dev.as<LosslessRunOutput>(), bytes_dev.as<uint32_t>(), nullptr));
  LARDER_RETURN_IF_CODEC_ERROR(StatusOf(run_bytes_dev.Read(run_bytes)));
  if (run_bytes[0] > run.size()) return CorruptCodecBytes("the run's size", run_bytes[0]);
  run.resize(run_bytes[0]);
  return StatusOf(run_dev.Read(run));
}

}  // namespace larder
