// Writes the golden runs of the KV codecs into a directory. A golden is never made anew: decoders
// of every later version must read the very bytes that were shipped, so a file that exists is left
// alone, and the planes that exist are what is encoded.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "common/random.h"
#include "tests/golden/codec_goldens.h"
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

}  // namespace
}  // namespace larder

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
    return 2;
  }
  larder::WriteGoldens(argv[1]);
  return 0;
}
