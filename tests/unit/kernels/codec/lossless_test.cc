// Codec 2: every bit pattern comes back, by every path and every range, and damage is found.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "kernels/codec/lossless/lossless_codec.h"
#include "kernels/codec/lossless/lossless_tables.h"
#include "kernels/codec/run_layout.h"
#include "tests/unit/kernels/codec/plane_testing.h"

namespace larder {
namespace {

TEST(LosslessTablesTest, EveryTableIsWholeAndCodesEverySymbol) {
  for (const SymbolTable& table : LosslessSymbolTables()) {
    EXPECT_TRUE(IsValid(table));
    for (uint32_t symbol = 0; symbol < kSymbolsMax; ++symbol) {
      EXPECT_EQ(table.frequency[symbol] > 0, symbol < kLosslessSymbols) << symbol;
    }
  }
}

struct Sample {
  PlaneGeometry geometry;
  std::vector<uint8_t> plane;

  Sample(Random& random, PlaneContent content)
      : geometry(RandomGeometry(random)), plane(RandomPlane(random, geometry, content)) {}
};

class LosslessPathTest : public ::testing::TestWithParam<CpuPath> {
 protected:
  std::unique_ptr<Codec> codec_ = MakeLosslessCodec(GetParam());
  std::unique_ptr<Codec> reference_ = MakeLosslessCodec(CpuPath::kScalar);
};

INSTANTIATE_TEST_SUITE_P(All, LosslessPathTest, ::testing::ValuesIn(AvailableCpuPaths()),
                         [](const auto& path) { return std::string(CpuPathName(path.param)); });

TEST_P(LosslessPathTest, EncodesTheBytesOfTheReference) {
  for (uint64_t seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const Sample sample(random, kPlaneContents[seed % 4]);
    ASSERT_EQ(EncodeRun(*codec_, sample.geometry, {}, sample.plane),
              EncodeRun(*reference_, sample.geometry, {}, sample.plane));
  }
}

TEST_P(LosslessPathTest, EveryBitComesBack) {
  for (uint64_t seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const Sample sample(random, kPlaneContents[seed % 4]);
    const std::vector<uint8_t> run = EncodeRun(*reference_, sample.geometry, {}, sample.plane);
    std::vector<uint8_t> decoded;
    const CodecStatus status =
        DecodeRun(*codec_, sample.geometry, {}, run, PlaneRange::Whole(sample.geometry), decoded);
    ASSERT_TRUE(status.ok()) << status.text;
    ASSERT_EQ(decoded, WithUnfilledZero(sample.geometry, sample.plane));
  }
}

TEST_P(LosslessPathTest, EveryElementOfEachTypeComesBack) {
  for (const CodecElement element : kCodecElements) {
    const PlaneGeometry geometry = {
        .element = element, .heads = 4, .tokens = 512, .filled_tokens = 512, .head_dim = 32};
    std::vector<uint8_t> plane(geometry.PlaneBytes());
    const size_t bytes = CodecElementBytes(element);
    for (size_t i = 0; i < plane.size() / bytes; ++i) {
      // A channel holds 2,048 neighbouring patterns, so that the heads are coded and not stored.
      const size_t pattern = i % 32 * 2048 + i / 32;
      std::memcpy(&plane[i * bytes], &pattern, bytes);
    }
    const std::vector<uint8_t> run = EncodeRun(*codec_, geometry, {}, plane);
    EXPECT_EQ(run, EncodeRun(*reference_, geometry, {}, plane));
    std::vector<uint8_t> decoded;
    ASSERT_TRUE(DecodeRun(*codec_, geometry, {}, run, PlaneRange::Whole(geometry), decoded).ok());
    EXPECT_EQ(decoded, plane);
    if (element == CodecElement::kBfloat16) {
      EXPECT_LT(run.size(), plane.size());
    }
  }
}

TEST_P(LosslessPathTest, ARangeIsThatPartOfThePlane) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const Sample sample(random, kPlaneContents[seed % 4]);
    const std::vector<uint8_t> run = EncodeRun(*reference_, sample.geometry, {}, sample.plane);
    const PlaneRange range = RandomRange(random, sample.geometry);
    std::vector<uint8_t> decoded;
    size_t needed_bytes = 0;
    const CodecStatus status =
        DecodeNeeded(*codec_, sample.geometry, {}, {run}, range, decoded, needed_bytes);
    ASSERT_TRUE(status.ok()) << status.text;
    ASSERT_EQ(decoded,
              Cut(sample.geometry, WithUnfilledZero(sample.geometry, sample.plane), range));
  }
}

TEST_P(LosslessPathTest, NothingGrowsByMoreThanItsHeaders) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const Sample sample(random, PlaneContent::kAnyBits);
    const PlaneGeometry& geometry = sample.geometry;
    const size_t filled = geometry.PlaneBytes() / geometry.tokens * geometry.filled_tokens;
    const std::vector<uint8_t> run = EncodeRun(*codec_, geometry, {}, sample.plane);
    EXPECT_LE(run.size(), filled + geometry.heads * kLosslessHeadGrowthMax);
  }
}

TEST_P(LosslessPathTest, DamageGivesTheVerdictAndValuesOfTheReference) {
  size_t refused = 0;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const Sample sample(random, kPlaneContents[seed % 4]);
    std::vector<uint8_t> run = EncodeRun(*reference_, sample.geometry, {}, sample.plane);
    // Most of the fields are near the front.
    const size_t window = random.Below(2) == 0 ? std::min<size_t>(run.size(), 128) : run.size();
    for (uint64_t i = 1 + random.Below(3); i-- > 0;) {
      run[random.Below(window)] ^= static_cast<uint8_t>(1 << random.Below(8));
    }
    if (random.Below(8) == 0) run.resize(random.Below(run.size()));
    const PlaneRange range = random.Below(2) == 0 ? PlaneRange::Whole(sample.geometry)
                                                  : RandomRange(random, sample.geometry);
    std::vector<uint8_t> expected, decoded;
    const CodecStatus reference = DecodeRun(*reference_, sample.geometry, {}, run, range, expected);
    const CodecStatus status = DecodeRun(*codec_, sample.geometry, {}, run, range, decoded);
    ASSERT_EQ(status.code, reference.code) << status.text << " / " << reference.text;
    if (reference.ok()) {
      ASSERT_EQ(decoded, expected);
    } else {
      ASSERT_EQ(status.code, CodecCode::kCorrupt);
      ++refused;
    }
  }
  EXPECT_GT(refused, 150u);
}

TEST_P(LosslessPathTest, EveryTruncationIsFound) {
  SeededRandom random(1);
  const PlaneGeometry geometry = {.heads = 2, .tokens = 8, .filled_tokens = 8, .head_dim = 64};
  const std::vector<uint8_t> plane = RandomPlane(random, geometry, PlaneContent::kChannels);
  std::vector<uint8_t> run = EncodeRun(*codec_, geometry, {}, plane);
  std::vector<uint8_t> decoded;
  while (!run.empty()) {
    run.pop_back();
    ASSERT_EQ(DecodeRun(*codec_, geometry, {}, run, PlaneRange::Whole(geometry), decoded).code,
              CodecCode::kCorrupt)
        << run.size();
  }
}

TEST(LosslessCodecTest, ChannelsLikeACacheAreTwoThirds) {
  SeededRandom random(2);
  const PlaneGeometry geometry = {.heads = 2, .tokens = 256, .filled_tokens = 256, .head_dim = 128};
  const std::vector<uint8_t> plane = RandomPlane(random, geometry, PlaneContent::kChannels);
  const std::unique_ptr<Codec> codec = MakeLosslessCodec(BestCpuPath());
  const double ratio = static_cast<double>(plane.size()) /
                       static_cast<double>(EncodeRun(*codec, geometry, {}, plane).size());
  EXPECT_GT(ratio, 1.45);
}

TEST(LosslessCodecTest, OneNotANumberDoesNotSpoilItsChannel) {
  SeededRandom random(2);
  const PlaneGeometry geometry = {.heads = 1, .tokens = 256, .filled_tokens = 256, .head_dim = 32};
  std::vector<uint8_t> plane = RandomPlane(random, geometry, PlaneContent::kChannels);
  const std::unique_ptr<Codec> codec = MakeLosslessCodec(BestCpuPath());
  const size_t before = EncodeRun(*codec, geometry, {}, plane).size();
  for (size_t channel = 0; channel < geometry.head_dim; ++channel) {
    StoreU16(&plane[channel * 2], 0x7fc1);
  }
  EXPECT_LE(EncodeRun(*codec, geometry, {}, plane).size(), before + 4 * geometry.head_dim);
}

}  // namespace
}  // namespace larder
