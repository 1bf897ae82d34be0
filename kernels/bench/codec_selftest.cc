// Compares every path of the codecs that this build and this machine have: the same bytes from the
// encoders, the same values from the decoders, on the processor and, where there is one, the GPU.
// Exits with 1 and says what differed. Needs nothing but what kernels/ needs.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "kernels/bench/bench_planes.h"
#include "kernels/codec/codec.h"
#include "kernels/codec/cpu_path.h"
#include "kernels/codec/larder/larder_codec.h"
#include "kernels/codec/lossless/lossless_codec.h"
#if defined(LARDER_CODEC_CUDA)
#include "kernels/bench/codec_selftest_device.h"
#endif

namespace larder {
namespace {

using Levels = std::vector<std::vector<uint8_t>>;

class SelfTest {
 public:
  int failures() const { return failures_; }
  int checks() const { return checks_; }

  void Check(bool holds, const char* what, const std::string& where) {
    ++checks_;
    if (!holds) {
      ++failures_;
      std::printf("FAILED: %s: %s\n", where.c_str(), what);
    }
  }

 private:
  int checks_ = 0;
  int failures_ = 0;
};

Levels Encode(const Codec& codec, const BenchChunk& chunk, size_t plane) {
  Levels levels(codec.level_count());
  std::vector<LevelOutput> outputs(levels.size());
  for (uint32_t level = 0; level < levels.size(); ++level) {
    levels[level].resize(codec.LevelBytesMax(chunk.geometry, level));
    outputs[level].room = levels[level];
  }
  CodecScratch scratch;
  if (!codec.EncodePlane(chunk.geometry, chunk.places[plane], chunk.planes[plane], outputs, scratch)
           .ok()) {
    return {};
  }
  for (uint32_t level = 0; level < levels.size(); ++level) {
    levels[level].resize(outputs[level].bytes);
  }
  return levels;
}

std::vector<uint8_t> Decode(const Codec& codec, const BenchChunk& chunk, size_t plane,
                            std::span<const std::vector<uint8_t>> levels) {
  std::vector<uint8_t> elements(chunk.geometry.PlaneBytes());
  const std::vector<std::span<const uint8_t>> views(levels.begin(), levels.end());
  CodecScratch scratch;
  if (!codec
           .DecodePlane(chunk.geometry, chunk.places[plane], views,
                        PlaneRange::Whole(chunk.geometry), elements, scratch)
           .ok()) {
    return {};
  }
  return elements;
}

// `make` gives the codec of a path; on_device decodes levels on the GPU, or is empty.
template <typename Make, typename OnDevice>
void ComparePaths(const std::string& name, const BenchChunk& chunk, Make make, OnDevice on_device,
                  SelfTest& test) {
  const std::unique_ptr<Codec> reference = make(CpuPath::kScalar);
  for (size_t plane = 0; plane < chunk.planes.size(); ++plane) {
    const Levels levels = Encode(*reference, chunk, plane);
    test.Check(!levels.empty(), "the reference does not encode", name);
    for (size_t count = 1; count <= levels.size(); ++count) {
      const std::span<const std::vector<uint8_t>> prefix = std::span(levels).first(count);
      const std::vector<uint8_t> expected = Decode(*reference, chunk, plane, prefix);
      test.Check(!expected.empty(), "the reference does not decode", name);
      for (const CpuPath path : AvailableCpuPaths()) {
        const std::string where = name + " " + CpuPathName(path);
        const std::unique_ptr<Codec> codec = make(path);
        test.Check(Encode(*codec, chunk, plane) == levels, "encodes other bytes", where);
        test.Check(Decode(*codec, chunk, plane, prefix) == expected, "decodes other values", where);
      }
      on_device(plane, prefix, expected);
    }
  }
}

// Elements that no step can express, in between.
void AddSpecials(BenchChunk& chunk) {
  const size_t bytes = CodecElementBytes(chunk.geometry.element);
  for (std::vector<uint8_t>& plane : chunk.planes) {
    for (size_t i = 7; i < plane.size() / bytes; i += 997) {
      for (size_t byte = 0; byte < bytes; ++byte) {
        plane[i * bytes + byte] = static_cast<uint8_t>(i * 31 + byte * 0x7f);
      }
    }
  }
}

void CompareCodecs(const PlaneGeometry& geometry, uint64_t first_token, SelfTest& test) {
  BenchChunk chunk = MakeBenchChunk(geometry, 2);
  const auto profile = MakeBenchProfile(chunk);
  AddSpecials(chunk);
  for (PlanePlace& place : chunk.places) {
    place.first_token = first_token;
  }
  const auto compare_larder = [&](const char* name,
                                  const std::shared_ptr<const LarderProfile>& with,
                                  uint32_t split_tokens) {
    const auto on_device = [&](size_t plane, std::span<const std::vector<uint8_t>> levels,
                               const std::vector<uint8_t>& expected) {
#if defined(LARDER_CODEC_CUDA)
      if (!HasDevice()) return;
      std::vector<uint8_t> decoded;
      const CodecStatus status =
          DecodeLarderOnDevice(*with, geometry, chunk.places[plane], levels, decoded);
      test.Check(status.ok(), status.text, std::string(name) + " on the GPU");
      test.Check(decoded == expected, "decodes other values", std::string(name) + " on the GPU");
      const auto codec = MakeLarderCodec(with, CpuPath::kScalar);
      Levels runs(levels.size());
      for (uint32_t level = 0; level < runs.size(); ++level) {
        runs[level].resize(codec->LevelBytesMax(geometry, level));
      }
      const CodecStatus encoded = EncodeLarderOnDevice(*with, geometry, chunk.places[plane],
                                                       chunk.planes[plane], split_tokens, runs);
      test.Check(encoded.ok(), encoded.text, std::string(name) + " on the GPU");
      test.Check(std::equal(runs.begin(), runs.end(), levels.begin(), levels.end()),
                 "encodes other bytes", std::string(name) + " on the GPU");
#else
      (void)plane, (void)levels, (void)expected;
#endif
    };
    ComparePaths(
        name, chunk, [&](CpuPath path) { return MakeLarderCodec(with, path, split_tokens); },
        on_device, test);
  };
  compare_larder("larder with a profile", profile, 0);
  compare_larder("larder with a profile and split points", profile, kSplitUnit);
  compare_larder("larder without a profile", LarderProfile::Generic(), 0);
  compare_larder("larder without a profile, with split points", LarderProfile::Generic(),
                 kSplitUnit);

  const auto lossless_on_device = [&](size_t plane, std::span<const std::vector<uint8_t>> levels,
                                      const std::vector<uint8_t>& expected) {
#if defined(LARDER_CODEC_CUDA)
    if (!HasDevice()) return;
    std::vector<uint8_t> decoded;
    const CodecStatus status = DecodeLosslessOnDevice(geometry, levels[0], decoded);
    test.Check(status.ok(), status.text, "lossless on the GPU");
    test.Check(decoded == expected, "decodes other values", "lossless on the GPU");
    std::vector<uint8_t> run(MakeLosslessCodec(CpuPath::kScalar)->LevelBytesMax(geometry, 0));
    const CodecStatus encoded = EncodeLosslessOnDevice(geometry, chunk.planes[plane], run);
    test.Check(encoded.ok(), encoded.text, "lossless on the GPU");
    test.Check(run == levels[0], "encodes other bytes", "lossless on the GPU");
#else
    (void)plane, (void)levels, (void)expected;
#endif
  };
  ComparePaths("lossless", chunk, MakeLosslessCodec, lossless_on_device, test);
}

int Run() {
  SelfTest test;
  for (const CodecElement element : {CodecElement::kBfloat16, CodecElement::kFloat16,
                                     CodecElement::kFloat8E4M3, CodecElement::kFloat8E5M2}) {
    CompareCodecs({element, 3, 48, 48, 64}, 0, test);
    CompareCodecs({element, 1, 20, 17, 576}, 4096, test);
    CompareCodecs({element, 2, 33, 33, 128}, 100000, test);
  }
#if defined(LARDER_CODEC_CUDA)
  std::printf("GPU: %s\n", HasDevice() ? "compared" : "none here");
#else
  std::printf("GPU: not in this build\n");
#endif
  std::printf("%d of %d comparisons failed\n", test.failures(), test.checks());
  return test.failures() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace larder

int main() { return larder::Run(); }
