#include <algorithm>
#include <array>

#include "kernels/bench/codec_bench_device.h"
#include "kernels/bench/device_memory.h"
#include "kernels/codec/larder/larder_codec.h"
#include "kernels/codec/larder/larder_device.h"
#include "kernels/codec/lossless/lossless_codec.h"
#include "kernels/codec/lossless/lossless_device.h"

namespace larder {
namespace {

// Copies of the chunk: enough heads to fill a large GPU many times over, and 1 GiB of planes for
// the chunk of four layers, so that no cache holds them.
constexpr uint32_t kChunks = 256;
// Keys and values of the 32 layers of Llama-3-8B: the planes of one chunk.
constexpr size_t kChunkPlanes = 64;
constexpr int kRuns = 20;

// Milliseconds of the fastest of several runs of `launch`, after one that does not count; negative
// when one failed.
template <typename Launch>
double FastestMilliseconds(Launch launch) {
  cudaEvent_t begin = nullptr;
  cudaEvent_t end = nullptr;
  if (cudaEventCreate(&begin) != cudaSuccess || cudaEventCreate(&end) != cudaSuccess) return -1;
  double best = -1;
  bool failed = false;
  for (int run = 0; run <= kRuns && !failed; ++run) {
    cudaEventRecord(begin);
    failed = !launch();
    cudaEventRecord(end);
    failed = failed || cudaEventSynchronize(end) != cudaSuccess;
    float milliseconds = 0;
    cudaEventElapsedTime(&milliseconds, begin, end);
    if (run > 0) best = best < 0 ? milliseconds : std::min<double>(best, milliseconds);
  }
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  return failed ? -1 : best;
}

double Rate(double bytes, double milliseconds) {
  return milliseconds > 0 ? bytes / (milliseconds * 1e6) : 0;
}

// Runs of all planes of all copies of the chunk, on the device.
class DeviceRuns {
 public:
  DeviceRuns(const PlaneRuns& runs, size_t levels, uint32_t chunks) {
    for (uint32_t copy = 0; copy < chunks; ++copy) {
      for (const auto& plane : runs) {
        for (size_t level = 0; level < levels; ++level) runs_.emplace_back(plane[level]);
      }
    }
    levels_ = levels;
  }

  bool ok() const {
    return std::all_of(runs_.begin(), runs_.end(), [](const DeviceBytes& run) { return run.ok(); });
  }
  // Of a plane, counted over all copies.
  std::vector<std::span<const uint8_t>> Levels(size_t plane) const {
    std::vector<std::span<const uint8_t>> views;
    for (size_t level = 0; level < levels_; ++level) {
      views.push_back(runs_[plane * levels_ + level].span());
    }
    return views;
  }

 private:
  std::vector<DeviceBytes> runs_;
  size_t levels_;
};

TokenDestinations Contiguous(const BenchChunk& chunk, uint8_t* base) {
  TokenDestinations to;
  to.base = base;
  to.token_stride = chunk.geometry.HeadBytes() / chunk.geometry.tokens;
  return to;
}

CodecStatus MeasureLarder(const BenchChunk& chunk, const LarderProfile& profile,
                          const PlaneRuns& runs, uint8_t* planes_dev, DeviceFigures* figures) {
  constexpr size_t kLevels = 2;
  std::vector<uint8_t> block(WarpProfileBytes(profile));
  const DeviceBytes block_dev(block.size());
  const WarpProfile view = WriteWarpProfile(profile, block, block_dev.as());
  cudaMemcpy(block_dev.as(), block.data(), block.size(), cudaMemcpyHostToDevice);
  const DeviceRuns runs_dev(runs, kLevels, kChunks);
  if (!block_dev.ok() || !runs_dev.ok()) return DeviceRefused("no memory for the runs");

  std::vector<WarpDecodeJob> jobs(kChunks * chunk.planes.size());
  for (size_t i = 0; i < jobs.size(); ++i) {
    LARDER_RETURN_IF_CODEC_ERROR(
        PlanLarderDecode(profile, chunk.geometry, chunk.places[i % chunk.places.size()],
                         runs_dev.Levels(i), PlaneRange::Whole(chunk.geometry),
                         Contiguous(chunk, planes_dev + i * chunk.geometry.PlaneBytes()),
                         chunk.geometry.HeadBytes(), jobs[i]));
  }
  const DeviceBytes jobs_dev(jobs);
  std::vector<HeadFault> faults(jobs.size() * chunk.geometry.heads);
  const DeviceBytes faults_dev(faults);
  const auto launch = [&](size_t count) {
    return LaunchLarderDecode(view, chunk.geometry.element, jobs_dev.as<WarpDecodeJob>(),
                              static_cast<uint32_t>(count), chunk.geometry.heads,
                              faults_dev.as<HeadFault>(), nullptr)
        .ok();
  };
  figures->larder_decode = Rate(static_cast<double>(chunk.Bytes()) * kChunks,
                                FastestMilliseconds([&] { return launch(jobs.size()); }));
  figures->chunk_decode_us = 1e3 * FastestMilliseconds([&] { return launch(kChunkPlanes); });
  if (faults_dev.Read(faults) != cudaSuccess ||
      std::any_of(faults.begin(), faults.end(),
                  [](HeadFault fault) { return fault != HeadFault::kNone; })) {
    return DeviceRefused("larder: a head did not decode");
  }
  return {};
}

// REQUIRES: the planes at planes_dev hold numbers; here, what was decoded before.
CodecStatus MeasureLarderEncode(const BenchChunk& chunk, const LarderProfile& profile,
                                const uint8_t* planes_dev, DeviceFigures* figures) {
  std::vector<uint8_t> block(WarpProfileBytes(profile));
  const DeviceBytes block_dev(block.size());
  const WarpProfile view = WriteWarpProfile(profile, block, block_dev.as());
  cudaMemcpy(block_dev.as(), block.data(), block.size(), cudaMemcpyHostToDevice);
  const std::unique_ptr<Codec> codec =
      MakeLarderCodec(std::make_shared<LarderProfile>(profile), CpuPath::kScalar);
  std::array<size_t, kLarderLevels> room;
  size_t rooms = 0;
  for (uint32_t level = 0; level < kLarderLevels; ++level) {
    room[level] = AlignStream(codec->LevelBytesMax(chunk.geometry, level));
    rooms += room[level];
  }
  std::vector<WarpEncodeJob> jobs(kChunks * chunk.planes.size());
  const size_t workspace = LarderEncodeWorkspaceBytes(chunk.geometry);
  const DeviceBytes rooms_dev(rooms * jobs.size());
  const DeviceBytes workspace_dev(workspace * jobs.size());
  const DeviceBytes run_bytes_dev(jobs.size() * kLarderLevels * sizeof(uint32_t));
  if (!block_dev.ok() || !rooms_dev.ok() || !workspace_dev.ok()) {
    return DeviceRefused("no memory to encode in");
  }
  for (size_t i = 0; i < jobs.size(); ++i) {
    std::array<uint8_t*, kLarderLevels> levels;
    uint8_t* next = rooms_dev.as() + i * rooms;
    for (uint32_t level = 0; level < kLarderLevels; ++level) {
      levels[level] = next;
      next += room[level];
    }
    TokenSources from;
    from.base = planes_dev + i * chunk.geometry.PlaneBytes();
    from.token_stride = chunk.geometry.HeadBytes() / chunk.geometry.tokens;
    LARDER_RETURN_IF_CODEC_ERROR(PlanLarderEncode(
        profile, chunk.geometry, chunk.places[i % chunk.places.size()], from,
        chunk.geometry.HeadBytes(), levels, run_bytes_dev.as<uint32_t>() + i * kLarderLevels,
        workspace_dev.as() + i * workspace, jobs[i]));
  }
  const DeviceBytes jobs_dev(jobs);
  const double milliseconds = FastestMilliseconds([&] {
    return LaunchLarderEncode(view, chunk.geometry.element, jobs_dev.as<WarpEncodeJob>(),
                              static_cast<uint32_t>(jobs.size()), chunk.geometry.heads, nullptr)
        .ok();
  });
  figures->larder_encode = Rate(static_cast<double>(chunk.Bytes()) * kChunks, milliseconds);
  return milliseconds > 0 ? CodecStatus{} : DeviceRefused("larder: encoding failed");
}

CodecStatus MeasureLossless(const BenchChunk& chunk, const PlaneRuns& runs, uint8_t* planes_dev,
                            DeviceFigures* figures) {
  const DeviceRuns runs_dev(runs, 1, kChunks);
  if (!runs_dev.ok()) return DeviceRefused("no memory for the runs");
  const uint32_t heads = chunk.geometry.heads;
  std::vector<LosslessTask> tasks(kChunks * chunk.planes.size() * heads);
  for (size_t i = 0; i < kChunks * chunk.planes.size(); ++i) {
    std::vector<TokenDestinations> to(heads);
    for (uint32_t head = 0; head < heads; ++head) {
      to[head] = Contiguous(
          chunk, planes_dev + i * chunk.geometry.PlaneBytes() + head * chunk.geometry.HeadBytes());
    }
    LARDER_RETURN_IF_CODEC_ERROR(PlanLosslessDecode(
        chunk.geometry, runs[i % runs.size()][0], runs_dev.Levels(i)[0].data(),
        PlaneRange::Whole(chunk.geometry), to, std::span(tasks).subspan(i * heads, heads)));
  }
  const DeviceBytes tasks_dev(tasks);
  std::vector<LosslessTables> tables(1);
  BuildLosslessTables(&tables[0]);
  const DeviceBytes tables_dev(tables);
  std::vector<uint32_t> damaged(tasks.size());
  const DeviceBytes damaged_dev(damaged);
  const double milliseconds = FastestMilliseconds([&] {
    return LaunchLosslessDecode(chunk.geometry.element, tasks_dev.as<LosslessTask>(),
                                static_cast<uint32_t>(tasks.size()),
                                tables_dev.as<LosslessTables>(), damaged_dev.as<uint32_t>(),
                                nullptr)
        .ok();
  });
  figures->lossless_decode = Rate(static_cast<double>(chunk.Bytes()) * kChunks, milliseconds);
  if (damaged_dev.Read(damaged) != cudaSuccess ||
      std::any_of(damaged.begin(), damaged.end(), [](uint32_t head) { return head != 0; })) {
    return DeviceRefused("lossless: a head did not decode");
  }
  return {};
}

// Encodes the planes that decoding has left on the device.
CodecStatus MeasureLosslessEncode(const BenchChunk& chunk, const PlaneRuns& runs,
                                  const uint8_t* planes_dev, DeviceFigures* figures) {
  const PlaneGeometry& geometry = chunk.geometry;
  const uint32_t planes = kChunks * static_cast<uint32_t>(chunk.planes.size());
  const DeviceBytes workspace_dev(LosslessEncodeWorkspaceBytes(geometry, planes));
  const size_t room = geometry.PlaneBytes() + geometry.heads * kLosslessHeadGrowthMax;
  const DeviceBytes runs_dev(room * planes);
  std::vector<uint32_t> run_bytes(planes);
  const DeviceBytes run_bytes_dev(run_bytes);
  std::vector<TokenSources> from(size_t{planes} * geometry.heads);
  for (size_t i = 0; i < from.size(); ++i) {
    from[i].base = planes_dev + i * geometry.HeadBytes();
    from[i].token_stride = geometry.HeadBytes() / geometry.tokens;
  }
  std::vector<LosslessRunOutput> outputs(planes);
  for (size_t i = 0; i < planes; ++i) {
    outputs[i] = {runs_dev.as() + i * room, run_bytes_dev.as<uint32_t>() + i};
  }
  std::vector<LosslessHeadToEncode> tasks(from.size());
  LARDER_RETURN_IF_CODEC_ERROR(
      PlanLosslessEncode(geometry, planes, from, workspace_dev.as(), tasks));
  const DeviceBytes tasks_dev(tasks);
  const DeviceBytes outputs_dev(outputs);
  std::vector<LosslessTables> tables(1);
  BuildLosslessTables(&tables[0]);
  const DeviceBytes tables_dev(tables);
  const DeviceBytes bytes_dev(tasks.size() * sizeof(uint32_t));
  if (!workspace_dev.ok() || !runs_dev.ok()) return DeviceRefused("no memory to encode in");
  const double milliseconds = FastestMilliseconds([&] {
    return LaunchLosslessEncode(geometry, planes, tasks_dev.as<LosslessHeadToEncode>(),
                                tables_dev.as<LosslessTables>(),
                                outputs_dev.as<LosslessRunOutput>(), bytes_dev.as<uint32_t>(),
                                nullptr)
        .ok();
  });
  figures->lossless_encode = Rate(static_cast<double>(chunk.Bytes()) * kChunks, milliseconds);
  if (run_bytes_dev.Read(run_bytes) != cudaSuccess) return DeviceRefused("lossless: encoding");
  for (size_t i = 0; i < planes; ++i) {
    if (run_bytes[i] != runs[i % runs.size()][0].size()) {
      return DeviceRefused("lossless: a run of another size than the processor's");
    }
  }
  return {};
}

}  // namespace

bool MeasureDevice(const BenchChunk& chunk, const LarderProfile& profile, const PlaneRuns& larder,
                   const PlaneRuns& lossless, DeviceFigures* figures, std::string* error) {
  cudaDeviceProp properties = {};
  if (cudaGetDeviceProperties(&properties, 0) != cudaSuccess) return false;
  figures->name = properties.name;
  const size_t bytes = chunk.Bytes() * kChunks;
  const DeviceBytes planes_dev(bytes);
  if (!planes_dev.ok()) {
    *error = "no memory for the planes";
    return false;
  }
  const size_t half = bytes / 2;
  figures->copy = Rate(static_cast<double>(half), FastestMilliseconds([&] {
                         return cudaMemcpyAsync(planes_dev.as(), planes_dev.as() + half, half,
                                                cudaMemcpyDeviceToDevice) == cudaSuccess;
                       }));
  CodecStatus status = MeasureLarder(chunk, profile, larder, planes_dev.as(), figures);
  if (status.ok()) status = MeasureLarderEncode(chunk, profile, planes_dev.as(), figures);
  if (status.ok()) status = MeasureLossless(chunk, lossless, planes_dev.as(), figures);
  if (status.ok()) status = MeasureLosslessEncode(chunk, lossless, planes_dev.as(), figures);
  *error = status.text;
  return status.ok();
}

}  // namespace larder
