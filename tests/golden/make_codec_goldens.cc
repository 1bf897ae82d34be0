// Writes the golden runs of the KV codecs into a directory. A golden is never made anew: decoders
// of every later version must read the very bytes that were shipped, so a file that exists is left
// alone, and the planes that exist are what is encoded.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "common/random.h"
#include "kernels/codec/larder/larder_codec.h"
#include "tests/golden/codec_goldens.h"
#include "tests/unit/kernels/codec/larder_testing.h"
#include "tests/unit/kernels/codec/plane_testing.h"

namespace larder {
namespace {

using Bytes = std::vector<uint8_t>;

// Writes the file, or reads it when it is there already.
Bytes Keep(const std::filesystem::path& path, const Bytes& bytes) {
  if (std::filesystem::exists(path)) {
    std::printf("kept %s\n", path.c_str());
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  }
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  std::printf("%s %s\n", file.flush() ? "wrote" : "could not write", path.c_str());
  return bytes;
}

void WriteGoldens(const std::filesystem::path& directory) {
  SeededRandom random(1);
  for (const CodecGolden& golden : CodecGoldens()) {
    const Bytes plane = Keep(directory / golden.plane_file,
                             RandomPlane(random, golden.geometry, PlaneContent::kSpecials));
    const std::unique_ptr<Codec> codec = golden.make(CpuPath::kScalar);
    const Bytes run = Keep(directory / (golden.name + ".run"),
                           EncodeRun(*codec, golden.geometry, golden.place, plane));
    Bytes decoded;
    if (!DecodeRun(*codec, golden.geometry, golden.place, run, PlaneRange::Whole(golden.geometry),
                   decoded)
             .ok()) {
      std::printf("%s does not decode\n", golden.name.c_str());
    }
    if (golden.decoded_file != golden.plane_file) Keep(directory / golden.decoded_file, decoded);
    for (const DamagedCodecGolden& damaged : DamagedCodecGoldens()) {
      if (damaged.golden != golden.name) continue;
      Bytes copy = run;
      damaged.damage(copy);
      Keep(directory / (damaged.name + ".run"), copy);
    }
  }
}

void WriteLarderGoldens(const std::filesystem::path& directory) {
  SeededRandom random(4);
  const PlaneGeometry geometry = LarderGoldens()[0].geometry;
  const Bytes profile_bytes = Keep(directory / kLarderGoldenProfile,
                                   SerializeProfile(RandomProfileContents(random, geometry)));
  for (const LarderGolden& golden : LarderGoldens()) {
    std::shared_ptr<const LarderProfile> profile = LarderProfile::Generic();
    if (!golden.profile_file.empty() &&
        !LarderProfile::Parse(profile_bytes, ProfileId{1}, profile).ok()) {
      std::printf("%s does not parse\n", golden.profile_file.c_str());
      return;
    }
    const std::unique_ptr<Codec> codec =
        MakeLarderCodec(profile, CpuPath::kScalar, golden.split_tokens);
    const Bytes plane = Keep(directory / "plane_bfloat16.bin", {});
    Runs runs = EncodeLevels(*codec, golden.geometry, golden.place, plane, kLarderLevels);
    for (uint32_t level = 0; level < kLarderLevels; ++level) {
      runs[level] = Keep(directory / golden.LevelFile(level), runs[level]);
    }
    for (uint32_t levels = 1; levels <= kLarderLevels; ++levels) {
      Bytes decoded;
      if (!DecodeLevels(*codec, golden.geometry, golden.place, runs, levels,
                        PlaneRange::Whole(golden.geometry), decoded)
               .ok()) {
        std::printf("%s does not decode\n", golden.name.c_str());
      }
      Keep(directory / (golden.name + "_decoded" + std::to_string(levels) + ".bin"), decoded);
    }
  }
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
    return 2;
  }
  larder::WriteGoldens(argv[1]);
  larder::WriteLarderGoldens(argv[1]);
  return 0;
}
