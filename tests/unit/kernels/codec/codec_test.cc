// What all codecs share: geometry and ranges, the layout of runs, and the raw codec.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "kernels/codec/raw_codec.h"
#include "kernels/codec/run_layout.h"
#include "tests/unit/kernels/codec/plane_testing.h"

namespace larder {
namespace {

constexpr PlaneGeometry kGeometry = {.heads = 3, .tokens = 16, .filled_tokens = 9, .head_dim = 64};

TEST(PlaneGeometryTest, TheFirstFieldOutOfBoundsIsNamed) {
  EXPECT_TRUE(kGeometry.Validate().ok());
  PlaneGeometry geometry = kGeometry;
  geometry.element = static_cast<CodecElement>(3);
  EXPECT_STREQ(geometry.Validate().text, "element type: not one that the codecs know");
  for (const uint32_t heads : {0u, kCodecHeadsMax + 1}) {
    geometry = kGeometry;
    geometry.heads = heads;
    EXPECT_STREQ(geometry.Validate().text, "heads: not in 1 to 1024");
  }
  for (const uint32_t tokens : {0u, kCodecTokensMax + 1}) {
    geometry = kGeometry;
    geometry.tokens = tokens;
    EXPECT_STREQ(geometry.Validate().text, "tokens: not in 1 to 512");
  }
  for (const uint32_t filled : {0u, kGeometry.tokens + 1}) {
    geometry = kGeometry;
    geometry.filled_tokens = filled;
    EXPECT_STREQ(geometry.Validate().text, "filled tokens: not in 1 to tokens");
  }
  for (const uint32_t head_dim : {0u, 48u, kCodecHeadDimMax + 32}) {
    geometry = kGeometry;
    geometry.head_dim = head_dim;
    EXPECT_STREQ(geometry.Validate().text, "head dim: not a multiple of 32 in 32 to 576");
  }
}

TEST(PlaneRangeTest, EmptyOrOutsideIsRefused) {
  EXPECT_TRUE(PlaneRange::Whole(kGeometry).Validate(kGeometry).ok());
  for (const PlaneRange& range :
       {PlaneRange{1, 1, 0, 16}, PlaneRange{0, 4, 0, 16}, PlaneRange{2, 1, 0, 16}}) {
    EXPECT_STREQ(range.Validate(kGeometry).text, "head range: empty or outside the plane");
  }
  for (const PlaneRange& range :
       {PlaneRange{0, 3, 5, 5}, PlaneRange{0, 3, 0, 17}, PlaneRange{0, 3, 7, 6}}) {
    EXPECT_STREQ(range.Validate(kGeometry).text, "token range: empty or outside the plane");
  }
}

class RunLayoutTest : public ::testing::Test {
 protected:
  static constexpr size_t kHeader = 4;

  RunLayoutTest() {
    RunWriter writer(room_, kHeader, 3);
    for (const size_t bytes : {5u, 0u, 7u}) {
      std::fill_n(writer.rest().begin(), bytes, static_cast<uint8_t>(bytes));
      writer.EndHead(bytes);
    }
    run_ = std::span(room_).first(writer.bytes());
  }

  std::vector<uint8_t> room_ = std::vector<uint8_t>(64);
  std::span<uint8_t> run_;
};

TEST_F(RunLayoutTest, HeadsAreFoundWhereTheyWereWritten) {
  EXPECT_EQ(run_.size(), kHeader + 3 * 4 + 5 + 7);
  std::span<const uint8_t> stream;
  ASSERT_TRUE(RunView::FindHead(run_, kHeader, 3, 0, stream).ok());
  EXPECT_EQ(std::vector<uint8_t>(stream.begin(), stream.end()), std::vector<uint8_t>(5, 5));
  ASSERT_TRUE(RunView::FindHead(run_, kHeader, 3, 1, stream).ok());
  EXPECT_TRUE(stream.empty());
  RunRange range;
  ASSERT_TRUE(RunView::FindHeads(run_, kHeader, 3, 1, 3, range).ok());
  EXPECT_EQ(range.begin, kHeader + 12 + 5);
  EXPECT_EQ(range.end, run_.size());
}

TEST_F(RunLayoutTest, EndsThatDoNotAscendOrLeaveTheRunAreCorruption) {
  std::span<const uint8_t> stream;
  const auto verdict = [&](uint32_t head) {
    return RunView::FindHead(run_, kHeader, 3, head, stream).code;
  };
  StoreU32(&room_[kHeader], 15);  // inside the directory
  EXPECT_EQ(verdict(0), CodecCode::kCorrupt);
  StoreU32(&room_[kHeader], 30);  // beyond the run
  EXPECT_EQ(verdict(0), CodecCode::kCorrupt);
  EXPECT_EQ(verdict(1), CodecCode::kCorrupt);
  StoreU32(&room_[kHeader], 21);
  EXPECT_EQ(verdict(1), CodecCode::kOk);
  StoreU32(&room_[kHeader + 8], 27);  // the last one is not the run's end
  EXPECT_EQ(verdict(2), CodecCode::kCorrupt);
  EXPECT_EQ(RunView::FindHead(run_.first(15), kHeader, 3, 0, stream).code, CodecCode::kCorrupt);
}

TEST(RawCodecTest, EveryRangeComesBackAndOtherSizesAreRefused) {
  const std::unique_ptr<Codec> codec = MakeRawCodec();
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const PlaneGeometry geometry = RandomGeometry(random);
    const std::vector<uint8_t> plane = RandomPlane(random, geometry, PlaneContent::kAnyBits);
    std::vector<uint8_t> run = EncodeRun(*codec, geometry, {}, plane);
    EXPECT_EQ(run, plane);
    const PlaneRange range = RandomRange(random, geometry);
    std::vector<uint8_t> decoded;
    ASSERT_TRUE(DecodeRun(*codec, geometry, {}, run, range, decoded).ok());
    EXPECT_EQ(decoded, Cut(geometry, plane, range));
    std::vector<uint8_t> from_needed;
    size_t needed_bytes = 0;
    ASSERT_TRUE(DecodeNeeded(*codec, geometry, {}, {run}, range, from_needed, needed_bytes).ok());
    EXPECT_EQ(from_needed, decoded);
    EXPECT_EQ(needed_bytes, decoded.size());
    run.pop_back();
    EXPECT_EQ(DecodeRun(*codec, geometry, {}, run, range, decoded).code, CodecCode::kCorrupt);
  }
}

TEST(RawCodecTest, BuffersThatDoNotFitAreTheCallersError) {
  const std::unique_ptr<Codec> codec = MakeRawCodec();
  std::vector<uint8_t> plane(kGeometry.PlaneBytes());
  std::vector<uint8_t> room(plane.size());
  CodecScratch scratch;
  LevelOutput level = {room, 0};
  const auto encode = [&](std::span<const uint8_t> elements, std::span<LevelOutput> levels) {
    return codec->EncodePlane(kGeometry, {}, elements, levels, scratch).text;
  };
  EXPECT_STREQ(encode(std::span(plane).first(8), {&level, 1}),
               "elements: not the bytes of the plane");
  EXPECT_STREQ(encode(plane, {}), "levels: none, or more than the codec has");
  level.room = std::span(room).first(room.size() - 1);
  EXPECT_STREQ(encode(plane, {&level, 1}), "levels: the room is less than LevelBytesMax");
  const std::span<const uint8_t> run(room);
  EXPECT_STREQ(codec
                   ->DecodePlane(kGeometry, {}, {&run, 1}, PlaneRange::Whole(kGeometry),
                                 std::span(plane).first(8), scratch)
                   .text,
               "destination: not the bytes of the range");
}

}  // namespace
}  // namespace larder
