// What the larder codec computes with: profiles and their families, rotations, element conversion.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/codec/element_convert.h"
#include "kernels/codec/larder/integer_log.h"
#include "kernels/codec/larder/larder_codec.h"
#include "kernels/codec/larder/profile_builder.h"
#include "kernels/codec/larder/step_table.h"
#include "tests/unit/kernels/codec/larder_testing.h"
#include "tests/unit/kernels/codec/plane_testing.h"

namespace larder {
namespace {

TEST(ElementConvertTest, EveryPatternIsItsValueAndBack) {
  for (const CodecElement element : kCodecElements) {
    for (uint32_t bits = 0; bits < 1u << (8 * CodecElementBytes(element)); ++bits) {
      const double expected = ValueOf(element, bits);
      const float value = ElementToFloat(element, bits);
      if (std::isnan(expected)) {
        ASSERT_TRUE(std::isnan(value)) << bits;
        continue;
      }
      ASSERT_EQ(value, expected) << bits;
      if (std::isfinite(value)) {
        ASSERT_EQ(ElementFromFloat(element, value), bits);
      }
    }
  }
}

TEST(ElementConvertTest, RoundsToNearestEvenAndSaturates) {
  SeededRandom random(1);
  for (int i = 0; i < 200000; ++i) {
    // All magnitudes that matter to the types, and the ties between neighbours.
    const uint32_t exponent = static_cast<uint32_t>(127 - 30 + random.Below(60));
    uint32_t bits = static_cast<uint32_t>(random.Next()) & 0x807fffff;
    bits &= random.Below(2) == 0 ? ~0u : 0xfff80000u >> random.Below(20) | 0x80000000u;
    const float value = FloatFromBits(bits | exponent << 23);
    for (const CodecElement element : kCodecElements) {
      ASSERT_EQ(ElementFromFloat(element, value), ElementOf(element, double{value}))
          << static_cast<int>(element) << " " << value;
    }
  }
}

TEST(StepTableTest, StepsAreEighthsOfAnOctaveAndInversesFit) {
  for (uint32_t index = 0; index <= kStepIndexMax; ++index) {
    const double exact = std::exp2(index / 8.0 - 24);
    ASSERT_NEAR(FineStep(index) / exact, 1, 1e-7);
    ASSERT_NEAR(double{FineStep(index)} * InverseFineStep(index), 1, 2e-7);
  }
}

TEST(IntegerLogTest, IsTheFlooredLogarithm) {
  SeededRandom random(1);
  for (int i = 0; i < 100000; ++i) {
    const uint64_t value = std::max<uint64_t>(1, random.Next() >> random.Below(64));
    const double exact = std::log2(static_cast<double>(value)) * kLogUnit;
    ASSERT_NEAR(LogOf(value), std::floor(exact), std::abs(exact - std::round(exact)) < 1e-3 ? 1 : 0)
        << value;
  }
}

TEST(RotationTest, CosinesAndSinesAreThoseOfTheAngle) {
  SeededRandom random(1);
  for (int i = 0; i < 100000; ++i) {
    const uint64_t phase = random.Next();
    const long double angle = 2 * M_PIl * static_cast<long double>(phase) / 0x1p64L;
    const CosineSine actual = CosineSineOf(phase);
    ASSERT_NEAR(actual.cosine, std::cos(angle), 1e-7) << phase;
    ASSERT_NEAR(actual.sine, std::sin(angle), 1e-7) << phase;
  }
}

TEST(RotationTest, AChunkFarIntoTheSequenceTurnsByItsPosition) {
  std::vector<uint64_t> turns;
  for (int pair = 0; pair < 32; ++pair) {
    turns.push_back(
        static_cast<uint64_t>(std::pow(500000.0L, -pair / 32.0L) / (2 * M_PIl) * 0x1p64L));
  }
  const Rotation rotation({RopeStyle::kHalves, 0, 32}, turns);
  constexpr uint64_t kFirst = 1'000'000;
  RotationView view;
  rotation.SetView(kFirst, &view);
  for (uint32_t token = 0; token < 256; ++token) {
    for (uint32_t pair = 0; pair < 32; ++pair) {
      const CosineSine exact = CosineSineOf((kFirst + token) * turns[pair]);
      ASSERT_NEAR(view.Angle(token, pair).cosine, exact.cosine, 4e-7);
      ASSERT_NEAR(view.Angle(token, pair).sine, exact.sine, 4e-7);
    }
  }
}

TEST(TableFamilyTest, TheDefaultOneIsValidAndEveryTableIsOfUse) {
  TableFamily family;
  ASSERT_TRUE(family.Build(DefaultTables()).ok());
  ASSERT_EQ(family.size(), kDefaultShapes * kDefaultScales);
  for (uint32_t table = 0; table < family.size(); ++table) {
    // What a table says is common is cheapest with it, or with a neighbour that hardly differs.
    SymbolCounts counts = {};
    int64_t own = 0;
    for (size_t index = 0; index < counts.size(); ++index) {
      const double probability = std::exp2(-family.costs(table)[index] / 32.0);
      counts[index] = static_cast<int16_t>(std::lround(256 * probability * (index == 0 ? 1 : 2)));
      own += counts[index] * family.costs(table)[index];
    }
    const uint32_t best = family.Cheapest(counts);
    int64_t cheapest = 0;
    for (size_t index = 0; index < counts.size(); ++index) {
      cheapest += counts[index] * family.costs(best)[index];
    }
    EXPECT_LE(cheapest, own);
    EXPECT_GE(cheapest + 256, own) << table;
  }
}

TEST(TableFamilyTest, BadEntriesAreNamed) {
  TableFamily family;
  ProfileTable table = DefaultTables()[0];
  table.symbol_max = 16;
  EXPECT_STREQ(family.Build({&table, 1}).text, "table: largest symbol not in 1 to 15");
  table = DefaultTables()[0];
  table.reserved = 1;
  EXPECT_STREQ(family.Build({&table, 1}).text, "table: reserved byte is not zero");
  EXPECT_STREQ(family.Build({}).text, "table count: not in 1 to 64");
}

class ProfileFileTest : public ::testing::Test {
 protected:
  ProfileFileTest() {
    SeededRandom random(5);
    PlaneGeometry geometry = {.heads = 2, .tokens = 16, .filled_tokens = 16, .head_dim = 64};
    bytes_ = SerializeProfile(RandomProfileContents(random, geometry));
  }

  CodecStatus Parse() const {
    std::shared_ptr<const LarderProfile> profile;
    return LarderProfile::Parse(bytes_, ProfileId{1}, profile);
  }

  const char* WithByte(size_t offset, uint8_t value) const {
    std::vector<uint8_t> changed = bytes_;
    changed[offset] = value;
    std::shared_ptr<const LarderProfile> profile;
    return LarderProfile::Parse(changed, ProfileId{1}, profile).text;
  }

  std::vector<uint8_t> bytes_;
};

TEST_F(ProfileFileTest, EveryTruncationAndOneByteMoreIsFound) {
  ASSERT_TRUE(Parse().ok());
  bytes_.push_back(0);
  EXPECT_FALSE(Parse().ok());
  bytes_.pop_back();
  while (!bytes_.empty()) {
    bytes_.pop_back();
    ASSERT_EQ(Parse().code, CodecCode::kCorrupt) << bytes_.size();
  }
}

TEST_F(ProfileFileTest, EveryFieldIsChecked) {
  EXPECT_STREQ(WithByte(0, 'X'), "profile: magic");
  EXPECT_STREQ(WithByte(offsetof(ProfileHeader, version), 2), "profile: version");
  EXPECT_STREQ(WithByte(offsetof(ProfileHeader, planes_per_layer), 3),
               "profile: planes per layer not 1 or 2");
  EXPECT_STREQ(WithByte(offsetof(ProfileHeader, rope_style), 3), "profile: rotation style");
  EXPECT_STREQ(WithByte(offsetof(ProfileHeader, layers) + 1, 5), "profile: layers over 1024");
  EXPECT_STREQ(WithByte(offsetof(ProfileHeader, heads) + 1, 5), "profile: heads not in 1 to 1024");
  EXPECT_STREQ(WithByte(offsetof(ProfileHeader, head_dim), 65),
               "profile: head dim not a multiple of 32 in 32 to 576");
  EXPECT_STREQ(WithByte(offsetof(ProfileHeader, rope_channel_begin) + 1, 1),
               "profile: rotated channels beyond the head");
  EXPECT_STREQ(WithByte(offsetof(ProfileHeader, table_count), 65),
               "profile: table count not in 1 to 64");
  EXPECT_STREQ(WithByte(offsetof(ProfileHeader, table_count), 3),
               "profile: its size does not follow from its header");
  // The last head ends with its tables and means.
  EXPECT_STREQ(WithByte(bytes_.size() - 3 * 64, 48),
               "profile: a channel's table is not in the family");
}

TEST_F(ProfileFileTest, TheBuiltInProfilesIdIsNotForFiles) {
  std::shared_ptr<const LarderProfile> profile;
  EXPECT_EQ(LarderProfile::Parse(bytes_, ProfileId{}, profile).code, CodecCode::kInvalidArgument);
}

TEST(ProfileBuilderTest, AProfileOfTheModelBeatsTheGenericOne) {
  SeededRandom random(6);
  const PlaneGeometry geometry = {.heads = 2, .tokens = 256, .filled_tokens = 256, .head_dim = 64};
  const PlanePlace place = {.kind = PlaneKind::kValue, .first_token = 256};
  const std::vector<uint8_t> plane = RandomPlane(random, geometry, PlaneContent::kChannels);
  ProfileContents model;
  model.layers = 1;
  model.planes_per_layer = 2;
  model.heads = geometry.heads;
  model.head_dim = geometry.head_dim;
  ProfileBuilder builder(model);
  ASSERT_TRUE(builder.Check(geometry, place).ok());
  builder.AddValues(geometry, place, plane);
  for (uint32_t head = 0; head < geometry.heads; ++head) {
    for (uint32_t channel = 0; channel < geometry.head_dim; ++channel) {
      builder.SetStep(0, place.kind, head, channel, 1.2 * builder.Deviation(0, place.kind, head));
    }
  }
  builder.SetMeans();
  builder.AddSymbols(geometry, place, plane);
  const auto profile = ParseProfile(builder.Finish());

  const auto encode = [&](const std::shared_ptr<const LarderProfile>& with) {
    return EncodeLevels(*MakeLarderCodec(with, BestCpuPath()), geometry, place, plane, 1)[0].size();
  };
  EXPECT_LT(encode(profile), encode(LarderProfile::Generic()));
}

}  // namespace
}  // namespace larder
