// The files in tests/golden/codec are what version 1 of each codec shipped; this test only reads
// them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "kernels/codec/larder/larder_codec.h"
#include "tests/golden/codec_goldens.h"
#include "tests/unit/kernels/codec/larder_testing.h"
#include "tests/unit/kernels/codec/plane_testing.h"

namespace larder {
namespace {

using ::testing::HasSubstr;

const std::filesystem::path kDirectory = std::filesystem::path(LARDER_GOLDEN_DIR) / "codec";

std::vector<uint8_t> ReadGolden(const std::string& file_name) {
  std::ifstream file(kDirectory / file_name, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << file_name;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(CodecGoldenTest, EveryPathEncodesAndDecodesWhatWasShipped) {
  for (const CodecGolden& golden : CodecGoldens()) {
    const std::vector<uint8_t> plane = ReadGolden(golden.plane_file);
    const std::vector<uint8_t> run = ReadGolden(golden.name + ".run");
    const std::vector<uint8_t> expected =
        WithUnfilledZero(golden.geometry, ReadGolden(golden.decoded_file));
    for (const CpuPath path : AvailableCpuPaths()) {
      SCOPED_TRACE(golden.name + " " + CpuPathName(path));
      const std::unique_ptr<Codec> codec = golden.make(path);
      EXPECT_EQ(EncodeRun(*codec, golden.geometry, golden.place, plane), run);
      std::vector<uint8_t> decoded;
      const CodecStatus status = DecodeRun(*codec, golden.geometry, golden.place, run,
                                           PlaneRange::Whole(golden.geometry), decoded);
      ASSERT_TRUE(status.ok()) << status.text;
      EXPECT_EQ(decoded, expected);
    }
  }
}

TEST(CodecGoldenTest, DamagedFilesAreRefusedForTheirReason) {
  const std::vector<CodecGolden> goldens = CodecGoldens();
  for (const DamagedCodecGolden& damaged : DamagedCodecGoldens()) {
    const auto golden = std::find_if(goldens.begin(), goldens.end(), [&](const CodecGolden& g) {
      return g.name == damaged.golden;
    });
    ASSERT_NE(golden, goldens.end()) << damaged.name;
    const std::vector<uint8_t> run = ReadGolden(damaged.name + ".run");
    for (const CpuPath path : AvailableCpuPaths()) {
      SCOPED_TRACE(damaged.name + " " + CpuPathName(path));
      std::vector<uint8_t> decoded;
      const CodecStatus status = DecodeRun(*golden->make(path), golden->geometry, golden->place,
                                           run, PlaneRange::Whole(golden->geometry), decoded);
      EXPECT_EQ(status.code, CodecCode::kCorrupt);
      EXPECT_THAT(status.text, HasSubstr(damaged.error));
    }
  }
}

TEST(CodecGoldenTest, EveryPathEncodesAndDecodesEveryLevelOfLarderThatWasShipped) {
  for (const LarderGolden& golden : LarderGoldens()) {
    std::shared_ptr<const LarderProfile> profile = LarderProfile::Generic();
    if (!golden.profile_file.empty()) {
      ASSERT_TRUE(
          LarderProfile::Parse(ReadGolden(golden.profile_file), ProfileId{1}, profile).ok());
    }
    const std::vector<uint8_t> plane = ReadGolden("plane_bfloat16.bin");
    Runs runs;
    for (uint32_t level = 0; level < kLarderLevels; ++level) {
      runs.push_back(ReadGolden(golden.LevelFile(level)));
    }
    for (const CpuPath path : AvailableCpuPaths()) {
      SCOPED_TRACE(golden.LevelFile(0) + " " + CpuPathName(path));
      const std::unique_ptr<Codec> codec = MakeLarderCodec(profile, path, golden.split_tokens);
      EXPECT_EQ(EncodeLevels(*codec, golden.geometry, golden.place, plane, kLarderLevels), runs);
      for (uint32_t levels = 1; levels <= kLarderLevels; ++levels) {
        std::vector<uint8_t> decoded;
        const CodecStatus status = DecodeLevels(*codec, golden.geometry, golden.place, runs, levels,
                                                PlaneRange::Whole(golden.geometry), decoded);
        ASSERT_TRUE(status.ok()) << status.text;
        EXPECT_EQ(decoded, ReadGolden(golden.name + "_decoded" + std::to_string(levels) + ".bin"));
      }
    }
  }
}

TEST(CodecGoldenTest, EveryRunIsTested) {
  std::set<std::string> tested, files;
  for (const CodecGolden& golden : CodecGoldens()) tested.insert(golden.name + ".run");
  for (const DamagedCodecGolden& damaged : DamagedCodecGoldens()) {
    tested.insert(damaged.name + ".run");
  }
  for (const auto& entry : std::filesystem::directory_iterator(kDirectory)) {
    if (entry.path().extension() == ".run") files.insert(entry.path().filename().string());
  }
  EXPECT_EQ(files, tested);
}

}  // namespace
}  // namespace larder
