// Speed and size of the codecs on this machine's processor, one thread, as one JSON object. GB/s
// count the bytes of the bfloat16 planes; of several runs the fastest counts.
//
//   codec_bench [SECONDS]     at least so long for each figure; 0.3 when not given
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "kernels/bench/bench_planes.h"
#include "kernels/codec/codec.h"
#include "kernels/codec/cpu_path.h"
#include "kernels/codec/larder/larder_codec.h"
#include "kernels/codec/lossless/lossless_codec.h"
#if defined(LARDER_CODEC_CUDA)
#include "kernels/bench/codec_bench_device.h"
#endif

namespace larder {
namespace {

using Clock = std::chrono::steady_clock;

// A codec, and the runs of a chunk that it encoded.
class Measured {
 public:
  Measured(const BenchChunk& chunk, std::unique_ptr<Codec> codec, uint32_t levels)
      : chunk_(chunk), codec_(std::move(codec)), runs_(chunk.planes.size()) {
    for (auto& plane : runs_) {
      plane.resize(levels);
      for (uint32_t level = 0; level < levels; ++level) {
        plane[level].room.resize(codec_->LevelBytesMax(chunk.geometry, level));
      }
    }
    decoded_.resize(chunk.geometry.PlaneBytes());
  }

  // Both encode or decode all planes once; false when a plane fails.
  bool Encode() {
    for (size_t i = 0; i < chunk_.planes.size(); ++i) {
      std::array<LevelOutput, kCodecLevelsMax> outputs;
      const size_t levels = runs_[i].size();
      for (size_t level = 0; level < levels; ++level) {
        outputs[level].room = runs_[i][level].room;
      }
      if (!codec_
               ->EncodePlane(chunk_.geometry, chunk_.places[i], chunk_.planes[i],
                             std::span(outputs).first(levels), scratch_)
               .ok()) {
        return false;
      }
      for (size_t level = 0; level < levels; ++level) {
        runs_[i][level].bytes = outputs[level].bytes;
      }
    }
    return true;
  }

  bool Decode(uint32_t levels) {
    for (size_t i = 0; i < chunk_.planes.size(); ++i) {
      std::array<std::span<const uint8_t>, kCodecLevelsMax> views;
      for (uint32_t level = 0; level < levels; ++level) {
        views[level] = std::span(runs_[i][level].room).first(runs_[i][level].bytes);
      }
      if (!codec_
               ->DecodePlane(chunk_.geometry, chunk_.places[i], std::span(views).first(levels),
                             PlaneRange::Whole(chunk_.geometry), decoded_, scratch_)
               .ok()) {
        return false;
      }
    }
    return true;
  }

  // The encoded levels of each plane.
  std::vector<std::vector<std::vector<uint8_t>>> Runs() const {
    std::vector<std::vector<std::vector<uint8_t>>> result;
    for (const auto& plane : runs_) {
      auto& levels = result.emplace_back();
      for (const Run& run : plane) {
        levels.emplace_back(run.room.begin(), run.room.begin() + static_cast<ptrdiff_t>(run.bytes));
      }
    }
    return result;
  }

  double BitsPerValue(uint32_t levels) const {
    size_t bytes = 0;
    for (const auto& plane : runs_) {
      for (uint32_t level = 0; level < levels; ++level) {
        bytes += plane[level].bytes;
      }
    }
    return static_cast<double>(bytes) * 8 / (static_cast<double>(chunk_.Bytes()) / 2);
  }

 private:
  struct Run {
    std::vector<uint8_t> room;
    size_t bytes = 0;
  };

  const BenchChunk& chunk_;
  std::unique_ptr<Codec> codec_;
  std::vector<std::vector<Run>> runs_;  // [plane][level]
  std::vector<uint8_t> decoded_;
  CodecScratch scratch_;
};

class Bench {
 public:
  explicit Bench(double seconds) : seconds_(seconds), chunk_(MakeBenchChunk(BenchGeometry(), 4)) {}

  const BenchChunk& chunk() const { return chunk_; }
  bool failed() const { return failed_; }

  // GB/s of the fastest of the runs that fit into the time, at least three.
  template <typename Run>
  double Rate(Run run) {
    double best = 1e9;
    const Clock::time_point end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                     std::chrono::duration<double>(seconds_));
    for (int count = 0; count < 3 || Clock::now() < end; ++count) {
      const Clock::time_point begin = Clock::now();
      failed_ = !run() || failed_;
      best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count());
    }
    return static_cast<double>(chunk_.Bytes()) / best / 1e9;
  }

 private:
  double seconds_;
  BenchChunk chunk_;
  bool failed_ = false;
};

std::string ProcessorName() {
  std::string name = "unknown processor";
  if (std::FILE* const file = std::fopen("/proc/cpuinfo", "r")) {
    std::array<char, 256> line;
    while (std::fgets(line.data(), line.size(), file) != nullptr) {
      const char* const colon = std::strchr(line.data(), ':');
      if (std::strncmp(line.data(), "model name", 10) == 0 && colon != nullptr) {
        name = std::string(colon + 2);
        name.erase(std::remove_if(name.begin(), name.end(),
                                  [](char c) { return c == '\n' || c == '"' || c == '\\'; }),
                   name.end());
        break;
      }
    }
    std::fclose(file);
  }
  return name;
}

double CopyRate(Bench& bench) {
  std::vector<uint8_t> copy(bench.chunk().geometry.PlaneBytes());
  return bench.Rate([&] {
    for (const std::vector<uint8_t>& plane : bench.chunk().planes) {
      std::memcpy(copy.data(), plane.data(), plane.size());
    }
    return true;
  });
}

// The figures that stand first: of the GPU if there is one, else of the processor's fastest path.
struct Headline {
  std::string device;
  double decode = 0;
  double encode = 0;
  double lossless_decode = 0;
  double bits_per_value = 0;
};

// One path's figures as a member of a JSON object.
std::string MeasurePath(Bench& bench, const std::shared_ptr<const LarderProfile>& profile,
                        CpuPath path, Headline* headline) {
  Measured larder(bench.chunk(), MakeLarderCodec(profile, path), kLarderLevels);
  headline->encode = bench.Rate([&] { return larder.Encode(); });
  std::array<double, kLarderLevels> decodes;
  for (uint32_t level = 0; level < kLarderLevels; ++level) {
    decodes[level] = bench.Rate([&] { return larder.Decode(level + 1); });
  }
  headline->decode = decodes[1];
  headline->bits_per_value = larder.BitsPerValue(2);
  Measured generic(bench.chunk(), MakeLarderCodec(LarderProfile::Generic(), path), kLarderLevels);
  const double generic_encode = bench.Rate([&] { return generic.Encode(); });
  const double generic_decode = bench.Rate([&] { return generic.Decode(2); });
  Measured lossless(bench.chunk(), MakeLosslessCodec(path), 1);
  const double lossless_encode = bench.Rate([&] { return lossless.Encode(); });
  headline->lossless_decode = bench.Rate([&] { return lossless.Decode(1); });
  std::array<char, 512> text;
  std::snprintf(text.data(), text.size(),
                "\n    \"%s\": {\"larder_encode\": %.3f, \"larder_decode_by_level\": "
                "[%.3f, %.3f, %.3f, %.3f], \"larder_generic_encode\": %.3f, "
                "\"larder_generic_decode\": %.3f, \"lossless_encode\": %.3f, "
                "\"lossless_decode\": %.3f}",
                CpuPathName(path), headline->encode, decodes[0], decodes[1], decodes[2], decodes[3],
                generic_encode, generic_decode, lossless_encode, headline->lossless_decode);
  return text.data();
}

// The GPU's figures as a member of the JSON object; empty without one. False when it failed.
bool MeasureGpu([[maybe_unused]] Bench& bench,
                [[maybe_unused]] const std::shared_ptr<const LarderProfile>& profile,
                [[maybe_unused]] Headline* headline, [[maybe_unused]] std::string* json) {
#if defined(LARDER_CODEC_CUDA)
  Measured larder(bench.chunk(), MakeLarderCodec(profile, BestCpuPath()), 2);
  Measured lossless(bench.chunk(), MakeLosslessCodec(BestCpuPath()), 1);
  if (!larder.Encode() || !lossless.Encode()) return false;
  DeviceFigures figures;
  std::string error;
  if (!MeasureDevice(bench.chunk(), *profile, larder.Runs(), lossless.Runs(), &figures, &error)) {
    std::fprintf(stderr, "GPU: %s\n", error.empty() ? "none" : error.c_str());
    return error.empty();
  }
  headline->device = figures.name;
  headline->decode = figures.larder_decode;
  headline->encode = figures.larder_encode;
  headline->lossless_decode = figures.lossless_decode;
  std::array<char, 256> text;
  std::snprintf(text.data(), text.size(),
                "  \"gpu_copy_gb_per_s\": %.1f,\n  \"gpu_chunk_decode_us\": %.1f,\n"
                "  \"gpu_lossless_encode_gb_per_s\": %.1f,\n",
                figures.copy, figures.chunk_decode_us, figures.lossless_encode);
  *json = text.data();
#endif
  return true;
}

int Run(double seconds) {
  Bench bench(seconds);
  const auto profile = MakeBenchProfile(bench.chunk());
  Headline headline;
  std::string paths;
  for (const CpuPath path : AvailableCpuPaths()) {
    paths += paths.empty() ? "" : ",";
    paths += MeasurePath(bench, profile, path, &headline);
  }
  headline.device = ProcessorName();
  std::string gpu;
  const bool gpu_sound = MeasureGpu(bench, profile, &headline, &gpu);
  std::printf(
      "{\n  \"device\": \"%s\",\n  \"decode_gb_per_s\": %.3f,\n  \"encode_gb_per_s\": %.3f,\n"
      "  \"lossless_decode_gb_per_s\": %.3f,\n  \"bits_per_value\": %.4f,\n%s"
      "  \"processor\": \"%s\",\n  \"memcpy_gb_per_s\": %.3f,\n"
      "  \"paths_gb_per_s\": {%s\n  }\n}\n",
      headline.device.c_str(), headline.decode, headline.encode, headline.lossless_decode,
      headline.bits_per_value, gpu.c_str(), ProcessorName().c_str(), CopyRate(bench),
      paths.c_str());
  return bench.failed() || !gpu_sound ? 1 : 0;
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::strtod(argv[1], nullptr) : 0.3;
  return larder::Run(seconds);
}
