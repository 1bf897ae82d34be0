// What split points cost, and what they save a reader of a range of tokens: bits a value, bytes
// read and time on this machine's fastest path, one thread, as one JSON object a line. Codec larder
// with a profile; of several runs the fastest counts.
//
//   token_range_bench [SECONDS]     at least so long for each figure; 0.3 when not given
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "kernels/bench/bench_planes.h"
#include "kernels/codec/larder/larder_codec.h"

namespace larder {
namespace {

using Clock = std::chrono::steady_clock;
// Ranges that are not the whole chunk begin at its last quarter.
constexpr uint32_t kRangeBegin = 192;

using Runs = std::vector<std::vector<uint8_t>>;  // a level

// All planes of a chunk, encoded with one distance of split points.
class SplitChunk {
 public:
  SplitChunk(const BenchChunk& chunk, std::shared_ptr<const LarderProfile> profile,
             uint32_t split_tokens)
      : chunk_(chunk),
        codec_(MakeLarderCodec(std::move(profile), BestCpuPath(), split_tokens)),
        planes_(chunk.planes.size()) {}

  bool Encode() {
    for (size_t i = 0; i < planes_.size(); ++i) {
      planes_[i].resize(kLarderLevels);
      std::array<LevelOutput, kLarderLevels> outputs;
      for (uint32_t level = 0; level < kLarderLevels; ++level) {
        planes_[i][level].resize(codec_->LevelBytesMax(chunk_.geometry, level));
        outputs[level].room = planes_[i][level];
      }
      const CodecStatus status = codec_->EncodePlane(chunk_.geometry, chunk_.places[i],
                                                     chunk_.planes[i], outputs, scratch_);
      if (!status.ok()) return false;
      for (uint32_t level = 0; level < kLarderLevels; ++level) {
        planes_[i][level].resize(outputs[level].bytes);
      }
    }
    return true;
  }

  double Bits(uint32_t levels) const {
    size_t bytes = 0;
    for (const Runs& runs : planes_) {
      for (uint32_t level = 0; level < levels; ++level) bytes += runs[level].size();
    }
    return static_cast<double>(bytes) * 8 / (static_cast<double>(chunk_.Bytes()) / 2);
  }

  // Bytes that decoding a range reads, as a part of all bytes of these levels; -1: it cannot say.
  double ReadPart(uint32_t levels, const PlaneRange& range) const {
    size_t read = 0;
    size_t all = 0;
    for (size_t i = 0; i < planes_.size(); ++i) {
      const auto views = Views(i, levels);
      std::vector<LevelRange> needed;
      for (uint32_t step = 0; step < kNeededSteps; ++step) {
        if (!codec_->FindNeeded(chunk_.geometry, chunk_.places[i], views, range, step, needed)
                 .ok()) {
          return -1;
        }
      }
      for (const LevelRange& bytes : needed) read += bytes.end - bytes.begin;
      for (const auto& view : views) all += view.size();
    }
    return static_cast<double>(read) / static_cast<double>(all);
  }

  // Microseconds a plane; -1: it does not decode.
  double DecodeMicroseconds(uint32_t levels, const PlaneRange& range, double seconds) {
    std::vector<uint8_t> decoded(range.Bytes(chunk_.geometry));
    double best = 1e9;
    const Clock::time_point end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                     std::chrono::duration<double>(seconds));
    for (int count = 0; count < 3 || Clock::now() < end; ++count) {
      const Clock::time_point begin = Clock::now();
      for (size_t i = 0; i < planes_.size(); ++i) {
        if (!codec_
                 ->DecodePlane(chunk_.geometry, chunk_.places[i], Views(i, levels), range, decoded,
                               scratch_)
                 .ok()) {
          return -1;
        }
      }
      best = std::min(best, std::chrono::duration<double>(Clock::now() - begin).count());
    }
    return best * 1e6 / static_cast<double>(planes_.size());
  }

 private:
  std::vector<std::span<const uint8_t>> Views(size_t plane, uint32_t levels) const {
    return {planes_[plane].begin(), planes_[plane].begin() + levels};
  }

  const BenchChunk& chunk_;
  std::unique_ptr<Codec> codec_;
  std::vector<Runs> planes_;
  CodecScratch scratch_;
};

// Prints a line for each number of tokens between split points; false when something failed.
bool Run(double seconds) {
  bool sound = true;
  const BenchChunk chunk = MakeBenchChunk(BenchGeometry(), 4);
  const auto profile = MakeBenchProfile(chunk);
  const uint32_t heads = chunk.geometry.heads;
  for (const uint32_t split_tokens : {0u, 16u, 32u, 64u, 128u}) {
    SplitChunk split(chunk, profile, split_tokens);
    sound = split.Encode() && sound;
    std::printf("{\"split_tokens\": %u, \"bits\": [%.3f, %.3f, %.3f, %.3f]", split_tokens,
                split.Bits(1), split.Bits(2), split.Bits(3), split.Bits(4));
    for (const uint32_t tokens : {16u, 64u, 256u}) {
      const uint32_t begin = tokens == chunk.geometry.tokens ? 0 : kRangeBegin;
      const PlaneRange range = {0, heads, begin, begin + tokens};
      std::printf(", \"tokens_%u\": {", tokens);
      for (const uint32_t levels : {1u, 2u}) {
        const double part = split.ReadPart(levels, range);
        const double microseconds = split.DecodeMicroseconds(levels, range, seconds);
        sound = part > 0 && microseconds > 0 && sound;
        std::printf("%s\"levels_%u\": {\"read_part\": %.3f, \"us\": %.1f}", levels == 1 ? "" : ", ",
                    levels, part, microseconds);
      }
      std::printf("}");
    }
    std::printf("}\n");
  }
  return sound;
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::strtod(argv[1], nullptr) : 0.3;
  return larder::Run(seconds) ? 0 : 1;
}
