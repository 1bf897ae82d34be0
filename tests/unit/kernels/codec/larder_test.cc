// Codec 3: all paths give the bytes and values of the reference, errors stay within the steps, what
// cannot be quantised comes back exactly, and damage is found.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "kernels/codec/larder/larder_codec.h"
#include "kernels/codec/run_layout.h"
#include "tests/unit/kernels/codec/larder_testing.h"
#include "tests/unit/kernels/codec/plane_testing.h"

namespace larder {
namespace {

struct Sample {
  PlaneGeometry geometry;
  PlanePlace place;
  std::shared_ptr<const LarderProfile> profile;
  std::vector<uint8_t> plane;
  uint32_t split_tokens;

  Sample(Random& random, PlaneContent content)
      : geometry(RandomGeometry(random)),
        place(RandomPlace(random)),
        profile(RandomProfile(random, geometry)),
        plane(RandomPlane(random, geometry, content)),
        split_tokens(RandomSplitTokens(random)) {}

  std::unique_ptr<Codec> Make(CpuPath path) const {
    return MakeLarderCodec(profile, path, split_tokens);
  }
};

class LarderPathTest : public ::testing::TestWithParam<CpuPath> {};

INSTANTIATE_TEST_SUITE_P(All, LarderPathTest, ::testing::ValuesIn(AvailableCpuPaths()),
                         [](const auto& path) { return std::string(CpuPathName(path.param)); });

TEST_P(LarderPathTest, EncodesTheBytesOfTheReference) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const Sample sample(random, kPlaneContents[seed % 4]);
    ASSERT_EQ(EncodeLevels(*sample.Make(GetParam()), sample.geometry, sample.place, sample.plane,
                           kLarderLevels),
              EncodeLevels(*sample.Make(CpuPath::kScalar), sample.geometry, sample.place,
                           sample.plane, kLarderLevels));
  }
}

// Of all other tests here too: they are about coded heads, and about raw ones.
TEST(LarderCodecTest, SamplesAreOfEveryMode) {
  std::array<int, 3> modes = {};
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SeededRandom random(seed);
    const Sample sample(random, kPlaneContents[seed % 4]);
    const Runs runs =
        EncodeLevels(*sample.Make(BestCpuPath()), sample.geometry, sample.place, sample.plane, 1);
    std::span<const uint8_t> stream;
    ASSERT_TRUE(
        RunView::FindHead(runs[0], sizeof(LarderRunHeader), sample.geometry.heads, 0, stream).ok());
    ++modes[stream[0]];
  }
  EXPECT_THAT(modes, ::testing::Each(::testing::Gt(30)));
}

TEST_P(LarderPathTest, DecodesTheValuesOfTheReferenceFromAnyPrefixInAnyRange) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const Sample sample(random, kPlaneContents[seed % 4]);
    const std::unique_ptr<Codec> reference = sample.Make(CpuPath::kScalar);
    const Runs runs =
        EncodeLevels(*reference, sample.geometry, sample.place, sample.plane, kLarderLevels);
    for (uint32_t levels = 1; levels <= kLarderLevels; ++levels) {
      std::vector<uint8_t> whole;
      CodecStatus status = DecodeLevels(*reference, sample.geometry, sample.place, runs, levels,
                                        PlaneRange::Whole(sample.geometry), whole);
      ASSERT_TRUE(status.ok()) << status.text;
      const PlaneRange range = RandomRange(random, sample.geometry);
      std::vector<uint8_t> part;
      status = DecodeLevels(*sample.Make(GetParam()), sample.geometry, sample.place, runs, levels,
                            range, part);
      ASSERT_TRUE(status.ok()) << status.text;
      ASSERT_EQ(part, Cut(sample.geometry, whole, range)) << levels << " levels";
    }
  }
}

TEST_P(LarderPathTest, ReadsNothingButWhatItNeeds) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const Sample sample(random, kPlaneContents[seed % 4]);
    const std::unique_ptr<Codec> codec = sample.Make(GetParam());
    const Runs runs = EncodeLevels(*codec, sample.geometry, sample.place, sample.plane,
                                   static_cast<uint32_t>(1 + random.Below(kLarderLevels)));
    const PlaneRange range = RandomRange(random, sample.geometry);
    std::vector<uint8_t> expected, decoded;
    ASSERT_TRUE(DecodeLevels(*codec, sample.geometry, sample.place, runs,
                             static_cast<uint32_t>(runs.size()), range, expected)
                    .ok());
    size_t needed_bytes = 0;
    const CodecStatus status =
        DecodeNeeded(*codec, sample.geometry, sample.place, runs, range, decoded, needed_bytes);
    ASSERT_TRUE(status.ok()) << status.text;
    ASSERT_EQ(decoded, expected);
  }
}

TEST_P(LarderPathTest, DamageGivesTheVerdictAndValuesOfTheReference) {
  size_t refused = 0;
  for (uint64_t seed = 0; seed < 500; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const Sample sample(random, kPlaneContents[seed % 4]);
    const std::unique_ptr<Codec> reference = sample.Make(CpuPath::kScalar);
    Runs runs =
        EncodeLevels(*reference, sample.geometry, sample.place, sample.plane, kLarderLevels);
    for (uint64_t i = 1 + random.Below(3); i-- > 0;) {
      std::vector<uint8_t>& run = runs[random.Below(2) == 0 ? 0 : random.Below(kLarderLevels)];
      // Most of the fields are near the front.
      const size_t window = random.Below(2) == 0 ? std::min<size_t>(run.size(), 200) : run.size();
      run[random.Below(window)] ^= static_cast<uint8_t>(1 << random.Below(8));
    }
    if (random.Below(8) == 0) {
      std::vector<uint8_t>& run = runs[random.Below(kLarderLevels)];
      run.resize(random.Below(run.size()));
    }
    const PlaneRange range = random.Below(2) == 0 ? PlaneRange::Whole(sample.geometry)
                                                  : RandomRange(random, sample.geometry);
    std::vector<uint8_t> expected, decoded;
    const CodecStatus verdict = DecodeLevels(*reference, sample.geometry, sample.place, runs,
                                             kLarderLevels, range, expected);
    const CodecStatus status = DecodeLevels(*sample.Make(GetParam()), sample.geometry, sample.place,
                                            runs, kLarderLevels, range, decoded);
    ASSERT_EQ(status.code, verdict.code) << status.text << " / " << verdict.text;
    if (verdict.ok()) {
      ASSERT_EQ(decoded, expected);
    } else {
      ASSERT_EQ(status.code, CodecCode::kCorrupt);
      ++refused;
    }
  }
  EXPECT_GT(refused, 100u);
}

TEST(LarderCodecTest, ErrorsOfValuesStayWithinHalfTheStepOfTheLevel) {
  constexpr std::array<double, kLarderLevels> kHalfSteps = {13.5, 4.5, 1.5, 0.5};
  size_t checked = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const PlaneGeometry geometry = {.heads = 2, .tokens = 20, .filled_tokens = 20, .head_dim = 64};
    const auto profile = ParseProfile(RandomProfileContents(random, geometry));
    const PlanePlace place = {.layer = 1, .kind = PlaneKind::kValue, .first_token = 64};
    const std::vector<uint8_t> plane = RandomPlane(random, geometry, PlaneContent::kChannels);
    const auto codec = MakeLarderCodec(profile, BestCpuPath());
    const Runs runs = EncodeLevels(*codec, geometry, place, plane, kLarderLevels);
    for (uint32_t level = 0; level < kLarderLevels; ++level) {
      std::vector<uint8_t> decoded;
      ASSERT_TRUE(DecodeLevels(*codec, geometry, place, runs, level + 1,
                               PlaneRange::Whole(geometry), decoded)
                      .ok());
      HeadParameters parameters;
      for (size_t i = 0; i < plane.size() / 2; ++i) {
        const uint32_t channel = i % geometry.head_dim;
        if (i % (geometry.tokens * geometry.head_dim) == 0) {
          const size_t head = i / (geometry.tokens * geometry.head_dim);
          profile->FillParameters(place, static_cast<uint32_t>(head), &parameters);
        }
        const double value = ValueOf(geometry.element, LoadElementBits(geometry, plane, i));
        const double error =
            std::fabs(ValueOf(geometry.element, LoadElementBits(geometry, decoded, i)) - value);
        const double rounding = (std::fabs(value) + error) / 256 + 1e-6;
        ASSERT_LE(error, kHalfSteps[level] * parameters.step[channel] * 1.0001 + rounding) << i;
        ++checked;
      }
    }
  }
  EXPECT_EQ(checked, 40u * 2 * 20 * 64 * kLarderLevels);
}

double SquaredError(const PlaneGeometry& geometry, std::span<const uint8_t> a,
                    std::span<const uint8_t> b) {
  double sum = 0;
  for (size_t i = 0; i < a.size() / CodecElementBytes(geometry.element); ++i) {
    const double difference = ValueOf(geometry.element, LoadElementBits(geometry, a, i)) -
                              ValueOf(geometry.element, LoadElementBits(geometry, b, i));
    sum += difference * difference;
  }
  return sum;
}

TEST(LarderCodecTest, EachLevelRefinesTheOneBefore) {
  SeededRandom random(7);
  const PlaneGeometry geometry = {.heads = 2, .tokens = 128, .filled_tokens = 128, .head_dim = 64};
  const PlanePlace place = {.first_token = 128};
  const std::vector<uint8_t> plane = RandomPlane(random, geometry, PlaneContent::kChannels);
  const auto codec = MakeLarderCodec(LarderProfile::Generic(), BestCpuPath());
  const Runs runs = EncodeLevels(*codec, geometry, place, plane, kLarderLevels);
  EXPECT_LT(runs[0].size() * 8, geometry.PlaneBytes() / 2 * 3);
  double before = 0;
  for (uint32_t levels = 1; levels <= kLarderLevels; ++levels) {
    std::vector<uint8_t> decoded;
    ASSERT_TRUE(
        DecodeLevels(*codec, geometry, place, runs, levels, PlaneRange::Whole(geometry), decoded)
            .ok());
    const double error = SquaredError(geometry, plane, decoded);
    if (levels > 1) {
      EXPECT_LT(error, before / 5) << levels;  // a third of the step: a ninth but for rounding
    }
    before = error;
  }
}

// Latent attention: 512 channels that are not rotated and 64 that are, one plane a layer.
TEST(LarderCodecTest, LatentsWithRotatedChannelsAtTheirEnd) {
  SeededRandom random(11);
  const PlaneGeometry geometry = {.heads = 1, .tokens = 64, .filled_tokens = 64, .head_dim = 576};
  ProfileContents contents;
  contents.layers = 1;
  contents.planes_per_layer = 1;
  contents.heads = 1;
  contents.head_dim = geometry.head_dim;
  contents.rotation = {RopeStyle::kInterleaved, 512, 32};
  contents.turns.assign(32, uint64_t{1} << 60);
  contents.tables.assign(DefaultTables().begin(), DefaultTables().end());
  contents.steps.assign(geometry.head_dim, 150);
  contents.channel_tables.assign(geometry.head_dim, kDefaultScales - 2);
  contents.means.assign(geometry.head_dim, 0);
  const PlanePlace place = {.kind = PlaneKind::kLatent, .first_token = 64};
  const std::vector<uint8_t> plane = RandomPlane(random, geometry, PlaneContent::kChannels);
  const auto codec = MakeLarderCodec(ParseProfile(contents), BestCpuPath());
  const Runs runs = EncodeLevels(*codec, geometry, place, plane, kLarderLevels);
  EXPECT_GT(runs[1].size(), DirectoryBytes(1));
  std::vector<uint8_t> decoded;
  ASSERT_TRUE(DecodeLevels(*codec, geometry, place, runs, kLarderLevels,
                           PlaneRange::Whole(geometry), decoded)
                  .ok());
  // Half a fine step in each of two turned channels, and rounding of what is around 1.
  const double bound = 0.71 * std::exp2(150 / 8.0 - 24) + 1.0 / 128;
  const double mean_square =
      SquaredError(geometry, plane, decoded) / static_cast<double>(plane.size() / 2);
  EXPECT_LT(std::sqrt(mean_square), bound);
}

TEST(LarderCodecTest, FewerLevelsAreTheSameBytes) {
  SeededRandom random(8);
  const Sample sample(random, PlaneContent::kSpecials);
  const auto codec = sample.Make(BestCpuPath());
  const Runs all = EncodeLevels(*codec, sample.geometry, sample.place, sample.plane, kLarderLevels);
  const Runs two = EncodeLevels(*codec, sample.geometry, sample.place, sample.plane, 2);
  EXPECT_EQ(two, Runs(all.begin(), all.begin() + 2));
}

TEST(LarderCodecTest, TheFirstTokensOfASequenceComeBackExactly) {
  SeededRandom random(9);
  const PlaneGeometry geometry = {.heads = 3, .tokens = 16, .filled_tokens = 12, .head_dim = 64};
  const std::vector<uint8_t> plane = RandomPlane(random, geometry, PlaneContent::kSpecials);
  const auto codec = MakeLarderCodec(LarderProfile::Generic(), BestCpuPath());
  for (uint64_t first_token = 0; first_token < 6; ++first_token) {
    const PlanePlace place = {.first_token = first_token};
    const Runs runs = EncodeLevels(*codec, geometry, place, plane, 1);
    const uint32_t exact = static_cast<uint32_t>(first_token < 4 ? 4 - first_token : 0);
    const PlaneRange sinks = {0, geometry.heads, 0, std::max(exact, 1u)};
    std::vector<uint8_t> decoded;
    ASSERT_TRUE(DecodeLevels(*codec, geometry, place, runs, 1, sinks, decoded).ok());
    EXPECT_EQ(decoded == Cut(geometry, plane, sinks), exact != 0) << first_token;
  }
}

TEST(LarderCodecTest, WhatIsNotFiniteComesBackExactly) {
  size_t specials = 0;
  for (uint64_t seed = 0; seed < 60; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const Sample sample(random, PlaneContent::kSpecials);
    const auto codec = sample.Make(BestCpuPath());
    const Runs runs = EncodeLevels(*codec, sample.geometry, sample.place, sample.plane, 2);
    std::vector<uint8_t> decoded;
    ASSERT_TRUE(DecodeLevels(*codec, sample.geometry, sample.place, runs, 2,
                             PlaneRange::Whole(sample.geometry), decoded)
                    .ok());
    const std::vector<uint8_t> filled = WithUnfilledZero(sample.geometry, sample.plane);
    for (size_t i = 0; i < filled.size() / CodecElementBytes(sample.geometry.element); ++i) {
      const uint32_t bits = LoadElementBits(sample.geometry, filled, i);
      const uint32_t back = LoadElementBits(sample.geometry, decoded, i);
      if (std::isfinite(ValueOf(sample.geometry.element, bits))) {
        ASSERT_TRUE(std::isfinite(ValueOf(sample.geometry.element, back))) << i;
      } else {
        ASSERT_EQ(back, bits) << i;
        ++specials;
      }
    }
  }
  EXPECT_GT(specials, 1000u);
}

TEST(LarderCodecTest, NoiseGrowsByNoMoreThanItsHeaders) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const Sample sample(random, PlaneContent::kAnyBits);
    const Runs runs = EncodeLevels(*sample.Make(BestCpuPath()), sample.geometry, sample.place,
                                   sample.plane, kLarderLevels);
    const size_t filled =
        sample.geometry.PlaneBytes() / sample.geometry.tokens * sample.geometry.filled_tokens;
    EXPECT_LE(runs[0].size(), filled + sizeof(LarderRunHeader) +
                                  sample.geometry.heads * (4 + sizeof(LarderHeadHeader)));
  }
}

TEST(LarderCodecTest, EveryTruncationIsFound) {
  SeededRandom random(1);
  const PlaneGeometry geometry = {.heads = 2, .tokens = 8, .filled_tokens = 8, .head_dim = 64};
  const std::vector<uint8_t> plane = RandomPlane(random, geometry, PlaneContent::kSpecials);
  const auto codec = MakeLarderCodec(LarderProfile::Generic(), BestCpuPath());
  const Runs runs = EncodeLevels(*codec, geometry, {}, plane, kLarderLevels);
  for (uint32_t level = 0; level < kLarderLevels; ++level) {
    Runs cut = runs;
    std::vector<uint8_t> decoded;
    while (!cut[level].empty()) {
      cut[level].pop_back();
      ASSERT_EQ(DecodeLevels(*codec, geometry, {}, cut, kLarderLevels, PlaneRange::Whole(geometry),
                             decoded)
                    .code,
                CodecCode::kCorrupt)
          << level << " " << cut[level].size();
    }
  }
}

class LarderMismatchTest : public ::testing::Test {
 protected:
  LarderMismatchTest() {
    SeededRandom random(3);
    contents_ = RandomProfileContents(random, geometry_);
    plane_ = RandomPlane(random, geometry_, PlaneContent::kChannels);
    runs_ = EncodeLevels(*MakeLarderCodec(ParseProfile(contents_), BestCpuPath()), geometry_,
                         place_, plane_, 1);
  }

  CodecStatus Decode(const std::shared_ptr<const LarderProfile>& profile,
                     const PlaneGeometry& geometry, const PlanePlace& place) {
    std::vector<uint8_t> decoded;
    return DecodeLevels(*MakeLarderCodec(profile, BestCpuPath()), geometry, place, runs_, 1,
                        PlaneRange::Whole(geometry), decoded);
  }

  PlaneGeometry geometry_ = {.heads = 2, .tokens = 16, .filled_tokens = 16, .head_dim = 64};
  PlanePlace place_ = {.layer = 1, .kind = PlaneKind::kKey};
  ProfileContents contents_;
  std::vector<uint8_t> plane_;
  Runs runs_;
};

TEST_F(LarderMismatchTest, OfTheRunIsCorruption) {
  EXPECT_TRUE(Decode(ParseProfile(contents_), geometry_, place_).ok());
  EXPECT_STREQ(Decode(LarderProfile::Generic(), geometry_, place_).text, "run: another profile's");
  PlaneGeometry fewer = geometry_;
  fewer.filled_tokens = 15;
  EXPECT_STREQ(Decode(ParseProfile(contents_), fewer, place_).text, "run: filled tokens");
  PlanePlace later = place_;
  later.first_token = 16;
  EXPECT_STREQ(Decode(ParseProfile(contents_), geometry_, later).text,
               "run: exact tokens are not those of the place in the sequence");
}

TEST_F(LarderMismatchTest, OfTheProfileIsTheCallersError) {
  const auto profile = ParseProfile(contents_);
  PlanePlace place = place_;
  place.layer = 2;
  EXPECT_STREQ(Decode(profile, geometry_, place).text, "layer: beyond the profile's");
  place = place_;
  place.head_begin = 1;
  EXPECT_STREQ(Decode(profile, geometry_, place).text, "heads: beyond the profile's");
  place = place_;
  place.kind = PlaneKind::kLatent;
  EXPECT_STREQ(Decode(profile, geometry_, place).text, "plane kind: the profile has other planes");
  PlaneGeometry wider = geometry_;
  wider.head_dim = 128;
  EXPECT_STREQ(Decode(profile, wider, place_).text, "head dim: not the profile's");
}

}  // namespace
}  // namespace larder
