// Codec 3 with split points: a range of tokens is read and decoded from its segments alone, the
// rest is as it is without them, and points that do not fit are found.
#include <gtest/gtest.h>

#include <vector>

#include "kernels/codec/larder/larder_codec.h"
#include "kernels/codec/run_layout.h"
#include "tests/unit/kernels/codec/larder_testing.h"
#include "tests/unit/kernels/codec/plane_testing.h"

namespace larder {
namespace {

TEST(LarderSplitTest, SplitPointsLeaveAllElseAsItIs) {
  size_t split = 0;
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const PlaneGeometry geometry = RandomGeometry(random);
    const PlanePlace place = RandomPlace(random);
    const auto profile = RandomProfile(random, geometry);
    const uint32_t split_tokens = RandomSplitTokens(random);
    const std::vector<uint8_t> plane = RandomPlane(random, geometry, PlaneContent::kChannels);
    const Runs with = EncodeLevels(*MakeLarderCodec(profile, BestCpuPath(), split_tokens), geometry,
                                   place, plane, kLarderLevels);
    const auto plain = MakeLarderCodec(profile, BestCpuPath());
    const Runs without = EncodeLevels(*plain, geometry, place, plane, kLarderLevels);
    const bool has_points = LoadU16(with[0].data()) == kLarderSplitVersion;
    EXPECT_EQ(has_points, split_tokens != 0 && split_tokens < geometry.filled_tokens);
    if (!has_points) {
      EXPECT_EQ(with, without);
      continue;
    }
    // Any decoder reads both, and they are the same values. A head may be raw because of its
    // points.
    std::vector<uint8_t> expected, decoded;
    const PlaneRange first = {0, 1, 0, geometry.tokens};
    ASSERT_TRUE(
        DecodeLevels(*plain, geometry, place, without, kLarderLevels, first, expected).ok());
    ASSERT_TRUE(DecodeLevels(*plain, geometry, place, with, kLarderLevels, first, decoded).ok());
    std::span<const uint8_t> stream;
    ASSERT_TRUE(
        RunView::FindHead(with[0], sizeof(LarderRunHeader), geometry.heads, 0, stream).ok());
    std::span<const uint8_t> old_stream;
    ASSERT_TRUE(
        RunView::FindHead(without[0], sizeof(LarderRunHeader), geometry.heads, 0, old_stream).ok());
    if (stream[0] == static_cast<uint8_t>(HeadMode::kRaw)) continue;
    EXPECT_EQ(decoded, expected);
    // The stream without its points is the stream as it was.
    std::vector<uint8_t> joined(stream.begin(), stream.end());
    const uint32_t points = (geometry.filled_tokens - 1) / split_tokens;
    joined.erase(joined.begin() + sizeof(LarderHeadHeader),
                 joined.begin() + sizeof(LarderHeadHeader) +
                     static_cast<ptrdiff_t>(points * sizeof(LarderSplit)));
    EXPECT_EQ(joined, std::vector<uint8_t>(old_stream.begin(), old_stream.end()));
    ++split;
  }
  EXPECT_GT(split, 10u);
}

TEST(LarderSplitTest, ATokenRangeReadsItsSegmentsAlone) {
  SeededRandom random(5);
  const PlaneGeometry geometry = {.heads = 2, .tokens = 256, .filled_tokens = 256, .head_dim = 128};
  const PlanePlace place = {.first_token = 256};
  const std::vector<uint8_t> plane = RandomPlane(random, geometry, PlaneContent::kChannels);
  const auto codec = MakeLarderCodec(LarderProfile::Generic(), BestCpuPath(), 64);
  const Runs runs = EncodeLevels(*codec, geometry, place, plane, kLarderLevels);
  size_t all = 0;
  for (const std::vector<uint8_t>& run : runs) all += run.size();
  std::vector<uint8_t> whole, decoded;
  size_t needed_bytes = 0;
  ASSERT_TRUE(
      DecodeNeeded(*codec, geometry, place, runs, PlaneRange::Whole(geometry), whole, needed_bytes)
          .ok());
  EXPECT_EQ(needed_bytes, all);
  for (uint32_t token = 0; token < 256; token += 64) {
    const PlaneRange range = {0, 2, token, token + 64};
    ASSERT_TRUE(DecodeNeeded(*codec, geometry, place, runs, range, decoded, needed_bytes).ok());
    EXPECT_EQ(decoded, Cut(geometry, whole, range));
    EXPECT_LT(needed_bytes, all * 3 / 10);
  }
}

TEST(LarderSplitTest, DistancesThatCannotBeStoredAreTheCallersError) {
  const PlaneGeometry geometry = {.heads = 1, .tokens = 48, .filled_tokens = 48, .head_dim = 32};
  const std::vector<uint8_t> plane(geometry.PlaneBytes());
  CodecScratch scratch;
  for (const uint32_t wrong : {1u, 24u, kSplitTokensMax + kSplitUnit}) {
    const auto codec = MakeLarderCodec(LarderProfile::Generic(), BestCpuPath(), wrong);
    std::vector<uint8_t> room(codec->LevelBytesMax(geometry, 0));
    LevelOutput level = {room, 0};
    EXPECT_STREQ(codec->EncodePlane(geometry, {}, plane, {&level, 1}, scratch).text,
                 "split tokens: not a multiple of 16 up to 4080");
  }
}

TEST(LarderSplitTest, PointsThatDoNotFitAreCorruption) {
  SeededRandom random(6);
  const PlaneGeometry geometry = {.heads = 1, .tokens = 48, .filled_tokens = 48, .head_dim = 32};
  const PlanePlace place = {.first_token = 48};
  const std::vector<uint8_t> plane = RandomPlane(random, geometry, PlaneContent::kSpecials);
  const auto codec = MakeLarderCodec(LarderProfile::Generic(), BestCpuPath(), 16);
  const Runs runs = EncodeLevels(*codec, geometry, place, plane, 1);
  const size_t point = sizeof(LarderRunHeader) + DirectoryBytes(1) + sizeof(LarderHeadHeader);
  const auto verdict = [&](size_t at, uint32_t value, const PlaneRange& range) {
    Runs damaged = runs;
    StoreU32(&damaged[0][at], value);
    std::vector<uint8_t> decoded;
    return DecodeLevels(*codec, geometry, place, damaged, 1, range, decoded);
  };
  const PlaneRange whole = PlaneRange::Whole(geometry);
  const PlaneRange second = {0, 1, 16, 32};
  const uint32_t patches = LoadU32(&runs[0][point]);
  const uint32_t words = LoadU32(&runs[0][point + 4]);
  ASSERT_GT(patches, 1u);
  EXPECT_TRUE(verdict(point, patches, whole).ok());
  // One patch too few in a segment shows in the segment before.
  EXPECT_EQ(verdict(point, patches - 1, whole).code, CodecCode::kCorrupt);
  for (const PlaneRange& range : {whole, second}) {
    for (const uint32_t wrong : {0u, patches + 1, 0x7fffffffu, 0xffffffffu}) {
      EXPECT_EQ(verdict(point, wrong, range).code, CodecCode::kCorrupt) << wrong;
    }
    for (const uint32_t wrong : {0u, words - 1, words + 1, 0x80000000u, 0xffffffffu}) {
      EXPECT_EQ(verdict(point + 4, wrong, range).code, CodecCode::kCorrupt) << wrong;
    }
    for (const size_t state : {8u, 64u, 132u}) {
      const uint32_t wrong = LoadU32(&runs[0][point + state]) ^ 1u;
      EXPECT_EQ(verdict(point + state, wrong, range).code, CodecCode::kCorrupt) << state;
    }
  }
  // What is before the range is not read.
  EXPECT_TRUE(verdict(point + 4, 0, {0, 1, 32, 48}).ok());
  Runs damaged = runs;
  damaged[0][offsetof(LarderRunHeader, version)] = kLarderRunVersion;
  std::vector<uint8_t> decoded;
  EXPECT_STREQ(DecodeLevels(*codec, geometry, place, damaged, 1, whole, decoded).text,
               "run: version");
  damaged[0][offsetof(LarderRunHeader, version)] = kLarderSplitVersion;
  damaged[0][offsetof(LarderRunHeader, split_units)] = 3;
  EXPECT_STREQ(DecodeLevels(*codec, geometry, place, damaged, 1, whole, decoded).text,
               "run: version");
}

}  // namespace
}  // namespace larder
