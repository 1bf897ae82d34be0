// Codecs 4 and 5, cachegen and kivi: how far values are off, what they cost, and hostile bytes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "kernels/codec/cachegen/cachegen_codec.h"
#include "kernels/codec/kivi/kivi_codec.h"
#include "kernels/codec/run_layout.h"
#include "tests/unit/kernels/codec/plane_testing.h"

namespace larder {
namespace {

enum class Kind { kKivi2, kKivi4, kCachegen };

std::unique_ptr<Codec> Make(Kind kind) {
  if (kind == Kind::kCachegen) return MakeCachegenCodec();
  return MakeKiviCodec(kind == Kind::kKivi2 ? 2 : 4);
}

std::string NameOf(const ::testing::TestParamInfo<Kind>& kind) {
  constexpr const char* kNames[] = {"kivi2", "kivi4", "cachegen"};
  return kNames[static_cast<int>(kind.param)];
}

PlanePlace RandomPlace(Random& random) {
  return {.layer = static_cast<uint32_t>(random.Below(20)),
          .kind = static_cast<PlaneKind>(random.Below(3))};
}

// Half the largest distance between neighbouring elements up to this magnitude.
double RoundingOf(CodecElement element, double magnitude) {
  const uint32_t bits = ElementOf(element, magnitude);
  return std::max(ValueOf(element, bits + 1) - ValueOf(element, bits),
                  ValueOf(element, bits) - ValueOf(element, bits == 0 ? 0 : bits - 1));
}

class ComparisonCodecTest : public ::testing::TestWithParam<Kind> {
 protected:
  std::unique_ptr<Codec> codec_ = Make(GetParam());
};

INSTANTIATE_TEST_SUITE_P(All, ComparisonCodecTest,
                         ::testing::Values(Kind::kKivi2, Kind::kKivi4, Kind::kCachegen), NameOf);

TEST_P(ComparisonCodecTest, AnyPlaneIsStoredWithinTheBoundAndDecodes) {
  for (uint64_t seed = 0; seed < 80; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const PlaneGeometry geometry = RandomGeometry(random);
    const PlanePlace place = RandomPlace(random);
    const std::vector<uint8_t> plane = RandomPlane(random, geometry, kPlaneContents[seed % 4]);
    const std::vector<uint8_t> run = EncodeRun(*codec_, geometry, place, plane);
    std::vector<uint8_t> whole;
    const CodecStatus status =
        DecodeRun(*codec_, geometry, place, run, PlaneRange::Whole(geometry), whole);
    ASSERT_TRUE(status.ok()) << status.text;
    ASSERT_EQ(whole, WithUnfilledZero(geometry, whole));
    const size_t elements = whole.size() / CodecElementBytes(geometry.element);
    for (size_t i = 0; i < elements; ++i) {
      ASSERT_TRUE(std::isfinite(ValueOf(geometry.element, LoadElementBits(geometry, whole, i))));
    }

    const PlaneRange range = RandomRange(random, geometry);
    std::vector<uint8_t> part;
    size_t needed_bytes = 0;
    ASSERT_TRUE(DecodeNeeded(*codec_, geometry, place, {run}, range, part, needed_bytes).ok());
    ASSERT_EQ(part, Cut(geometry, whole, range));
  }
}

TEST_P(ComparisonCodecTest, AZeroPlaneComesBack) {
  const PlaneGeometry geometry = {.heads = 2, .tokens = 40, .filled_tokens = 40, .head_dim = 64};
  const std::vector<uint8_t> plane(geometry.PlaneBytes());
  std::vector<uint8_t> decoded;
  ASSERT_TRUE(DecodeRun(*codec_, geometry, {}, EncodeRun(*codec_, geometry, {}, plane),
                        PlaneRange::Whole(geometry), decoded)
                  .ok());
  EXPECT_EQ(decoded, plane);
}

TEST_P(ComparisonCodecTest, DamageIsFoundOrHarmless) {
  size_t refused = 0;
  for (uint64_t seed = 0; seed < 400; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    PlaneGeometry geometry = RandomGeometry(random);
    geometry.head_dim = std::min(geometry.head_dim, 64u);
    const PlanePlace place = RandomPlace(random);
    const std::vector<uint8_t> plane = RandomPlane(random, geometry, kPlaneContents[seed % 4]);
    std::vector<uint8_t> run = EncodeRun(*codec_, geometry, place, plane);
    const size_t window = random.Below(2) == 0 ? std::min<size_t>(run.size(), 64) : run.size();
    for (uint64_t i = 1 + random.Below(3); i-- > 0;) {
      run[random.Below(window)] ^= static_cast<uint8_t>(1 << random.Below(8));
    }
    if (random.Below(8) == 0) run.resize(random.Below(run.size()));
    std::vector<uint8_t> decoded;
    const CodecStatus status =
        DecodeRun(*codec_, geometry, place, run, RandomRange(random, geometry), decoded);
    if (!status.ok()) {
      ASSERT_EQ(status.code, CodecCode::kCorrupt);
      ++refused;
    }
  }
  EXPECT_GT(refused, 50u);
}

TEST_P(ComparisonCodecTest, EveryTruncationIsFound) {
  SeededRandom random(1);
  const PlaneGeometry geometry = {.heads = 2, .tokens = 4, .filled_tokens = 4, .head_dim = 32};
  std::vector<uint8_t> run =
      EncodeRun(*codec_, geometry, {}, RandomPlane(random, geometry, PlaneContent::kChannels));
  std::vector<uint8_t> decoded;
  while (!run.empty()) {
    run.pop_back();
    ASSERT_EQ(DecodeRun(*codec_, geometry, {}, run, PlaneRange::Whole(geometry), decoded).code,
              CodecCode::kCorrupt)
        << run.size();
  }
}

// Walks over the finite elements of a plane and their decoded values.
template <typename Check>
void CheckErrors(const PlaneGeometry& geometry, std::span<const uint8_t> plane,
                 std::span<const uint8_t> decoded, Check check) {
  for (uint32_t head = 0; head < geometry.heads; ++head) {
    for (uint32_t token = 0; token < geometry.filled_tokens; ++token) {
      for (uint32_t channel = 0; channel < geometry.head_dim; ++channel) {
        const size_t i = (size_t{head} * geometry.tokens + token) * geometry.head_dim + channel;
        check(head, token, channel, ValueOf(geometry.element, LoadElementBits(geometry, plane, i)),
              ValueOf(geometry.element, LoadElementBits(geometry, decoded, i)));
      }
    }
  }
}

TEST(KiviCodecTest, ValuesAreOffByHalfAStepOfTheirGroup) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const uint32_t bits = random.Below(2) == 0 ? 2 : 4;
    const bool by_channel = random.Below(2) == 0;
    const PlanePlace place = {.kind = by_channel ? PlaneKind::kKey : PlaneKind::kValue};
    const std::unique_ptr<Codec> codec = MakeKiviCodec(bits);
    const PlaneGeometry geometry = RandomGeometry(random);
    const std::vector<uint8_t> plane = RandomPlane(random, geometry, PlaneContent::kChannels);
    std::vector<uint8_t> decoded;
    ASSERT_TRUE(DecodeRun(*codec, geometry, place, EncodeRun(*codec, geometry, place, plane),
                          PlaneRange::Whole(geometry), decoded)
                    .ok());

    const auto group_of = [&](uint32_t head, uint32_t token, uint32_t channel) {
      return by_channel ? (size_t{head} * 64 + token / 32) * 1024 + channel
                        : (size_t{head} * 1024 + token) * 64 + channel / 32;
    };
    struct Group {
      double least = INFINITY, most = -INFINITY;
    };
    std::vector<Group> groups(4 * 1024 * 64);
    CheckErrors(geometry, plane, decoded,
                [&](uint32_t head, uint32_t token, uint32_t channel, double value, double) {
                  Group& group = groups[group_of(head, token, channel)];
                  group.least = std::min(group.least, value);
                  group.most = std::max(group.most, value);
                });
    CheckErrors(geometry, plane, decoded,
                [&](uint32_t head, uint32_t token, uint32_t channel, double value, double stored) {
                  const Group& group = groups[group_of(head, token, channel)];
                  const double step = (group.most - group.least) / ((1 << bits) - 1);
                  const double magnitude = std::max(std::fabs(group.least), std::fabs(group.most));
                  // The scale, rounded, counts as often as the largest code; then the sum is
                  // rounded.
                  const double rounding = step / 128 * ((1 << bits) - 1) + magnitude / 128 +
                                          RoundingOf(geometry.element, magnitude);
                  ASSERT_LE(std::fabs(value - stored), step / 2 + rounding)
                      << head << " " << token << " " << channel;
                });
  }
}

TEST(KiviCodecTest, TwoBitsAreThreeWithScalesAndMinima) {
  SeededRandom random(1);
  const PlaneGeometry geometry = {.heads = 2, .tokens = 256, .filled_tokens = 256, .head_dim = 64};
  const std::vector<uint8_t> plane = RandomPlane(random, geometry, PlaneContent::kChannels);
  const size_t values = geometry.PlaneBytes() / 2;
  for (const PlaneKind kind : {PlaneKind::kKey, PlaneKind::kValue}) {
    EXPECT_EQ(EncodeRun(*MakeKiviCodec(2), geometry, {.kind = kind}, plane).size(),
              values * 3 / 8 + 4 + 2 * 4);
    EXPECT_EQ(EncodeRun(*MakeKiviCodec(4), geometry, {.kind = kind}, plane).size(),
              values * 5 / 8 + 4 + 2 * 4);
  }
}

TEST(KiviCodecTest, OtherBitsAreRefused) {
  const PlaneGeometry geometry = {.heads = 1, .tokens = 1, .filled_tokens = 1, .head_dim = 32};
  for (const uint32_t bits : {0u, 1u, 3u, 8u}) {
    EXPECT_EQ(MakeKiviCodec(bits)->Check(geometry).code, CodecCode::kInvalidArgument) << bits;
  }
}

TEST(CachegenCodecTest, ValuesAreOffByHalfAStepOfTheirToken) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const std::unique_ptr<Codec> codec = MakeCachegenCodec();
    const PlaneGeometry geometry = RandomGeometry(random);
    const PlanePlace place = RandomPlace(random);
    const bool fine = place.layer < (place.kind == PlaneKind::kValue ? 2u : 10u);
    const std::vector<uint8_t> plane = RandomPlane(random, geometry, PlaneContent::kChannels);
    std::vector<uint8_t> decoded;
    ASSERT_TRUE(DecodeRun(*codec, geometry, place, EncodeRun(*codec, geometry, place, plane),
                          PlaneRange::Whole(geometry), decoded)
                    .ok());
    std::vector<double> largest(geometry.tokens);
    CheckErrors(geometry, plane, decoded,
                [&](uint32_t, uint32_t token, uint32_t, double value, double) {
                  largest[token] = std::max(largest[token], std::fabs(value));
                });
    CheckErrors(geometry, plane, decoded,
                [&](uint32_t head, uint32_t token, uint32_t channel, double value, double stored) {
                  const double step = largest[token] / (fine ? 15 : 7);
                  ASSERT_LE(std::fabs(value - stored),
                            step * 0.5001 + RoundingOf(geometry.element, largest[token]))
                      << head << " " << token << " " << channel;
                });
  }
}

TEST(CachegenCodecTest, TheStoredDistributionIsThatOfTheSymbols) {
  const PlaneGeometry geometry = {.heads = 1, .tokens = 4, .filled_tokens = 4, .head_dim = 32};
  std::vector<uint8_t> plane(geometry.PlaneBytes());
  for (size_t token = 0; token < 4; ++token) {
    for (size_t channel = 0; channel < 32; ++channel) {
      // The largest magnitude is 1; channel 1 is -1, 0, 0, 1 and all others are 1.
      const double value = channel != 1 ? 1 : (token == 0 ? -1 : (token == 3 ? 1 : 0));
      StoreU16(&plane[(token * 32 + channel) * 2],
               static_cast<uint16_t>(ElementOf(CodecElement::kBfloat16, value)));
    }
  }
  const std::vector<uint8_t> run = EncodeRun(*MakeCachegenCodec(), geometry, {.layer = 0}, plane);
  EXPECT_EQ(LoadU32(run.data()), 15u);
  for (size_t token = 0; token < 4; ++token) EXPECT_EQ(LoadU16(&run[4 + 2 * token]), 0x3f80);
  const size_t distribution = 12 + 4 + 66;
  for (uint32_t i = 0; i <= 32; ++i) {
    const uint32_t below = i > 30 ? 65504 : (i > 15 ? 65504 * 3 / 4 : (i > 0 ? 65504 / 4 : 0));
    EXPECT_EQ(LoadU16(&run[distribution + 2 * i]), (below + i) % 65536) << i;
  }
}

}  // namespace
}  // namespace larder
