// larder-codec's parts on the small real samples of tests/golden/kv: one text makes the profile,
// another one is measured.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tools/codec/comparison.h"
#include "tools/codec/encoded_sample.h"
#include "tools/codec/profile_maker.h"
#include "tools/codec/sample.h"

namespace larder {
namespace {

std::string GoldenSample(const std::string& name) {
  return std::string(LARDER_SOURCE_DIR) + "/tests/golden/kv/" + name + ".json";
}

std::shared_ptr<const LarderProfile> ProfileOfNovel(const ProfileOptions& options) {
  const auto bytes = MakeProfile({GoldenSample("novel2")}, Sensitivity{}, options);
  EXPECT_TRUE(bytes.ok()) << bytes.status();
  std::shared_ptr<const LarderProfile> profile;
  const CodecStatus status = LarderProfile::Parse(*bytes, ProfileId{1}, profile);
  EXPECT_TRUE(status.ok()) << status.text;
  return profile;
}

std::vector<ComparisonRow> CompareCode(const std::vector<std::string>& codecs,
                                       const ProfileOptions& options = {}) {
  const auto rows = Compare({GoldenSample("cpp")}, codecs, ProfileOfNovel(options));
  EXPECT_TRUE(rows.ok()) << rows.status();
  return *rows;
}

TEST(CodecToolTest, SamplesAreWhatTheirDescriptionsSay) {
  const auto sample = LoadSample(GoldenSample("cpp"), /*with_queries=*/true);
  ASSERT_TRUE(sample.ok()) << sample.status();
  EXPECT_EQ(sample->shape.layers, 3u);
  EXPECT_EQ(sample->shape.geometry.tokens, 128u);
  EXPECT_EQ(sample->shape.rope_style, RopeStyle::kHalves);
  EXPECT_EQ(sample->planes.size(), sample->shape.PlaneCount() * 3 * 128 * 64 * 2);
  EXPECT_EQ(sample->queries.size(), 3u * 9 * 128 * 64);
  EXPECT_EQ(sample->shape.Place(3).layer, 1u);
  EXPECT_EQ(sample->shape.Place(3).kind, PlaneKind::kValue);
}

TEST(CodecToolTest, BadDescriptionsAreNamed) {
  const auto sample = LoadSample(GoldenSample("cpp"), /*with_queries=*/false);
  ASSERT_TRUE(sample.ok()) << sample.status();
  const std::map<std::string, std::string> damage = {{"\"chunks\": 1", "\"chunks\": 0"},
                                                     {"\"layers\": 3", "\"layers\": 70000"},
                                                     {"\"bf16\"", "\"int3\""},
                                                     {"\"halves\"", "\"thirds\""},
                                                     {"\"head_dim\": 64", "\"head_dim\": 65"},
                                                     {"{", "["}};
  for (const auto& [good, bad] : damage) {
    std::string json = sample->json;
    ASSERT_NE(json.find(good), std::string::npos) << good;
    json.replace(json.find(good), good.size(), bad);
    EXPECT_EQ(ParseSampleShape(json).status().code(), absl::StatusCode::kInvalidArgument) << bad;
  }
}

TEST(CodecToolTest, EveryLevelRefinesTheOneBefore) {
  const std::vector<ComparisonRow> rows = CompareCode({"larder"});
  ASSERT_EQ(rows.size(), 4u);
  for (size_t level = 1; level < rows.size(); ++level) {
    SCOPED_TRACE(level);
    // A third of the step is 9.5 dB; the first refinement of a coarse quantiser gives a little
    // less.
    EXPECT_GT(rows[level].distortion.keys_snr_db, rows[level - 1].distortion.keys_snr_db + 7.5);
    EXPECT_GT(rows[level].distortion.values_snr_db, rows[level - 1].distortion.values_snr_db + 7.5);
    EXPECT_LT(rows[level].distortion.logit_error, rows[level - 1].distortion.logit_error / 2);
    EXPECT_LT(rows[level].distortion.output_error, rows[level - 1].distortion.output_error / 2);
    EXPECT_NEAR(rows[level].bits, rows[level - 1].bits + 1.64, 0.05);
  }
  EXPECT_LT(rows[0].bits, 2.4);
}

TEST(CodecToolTest, LosslessIsExactAndSmaller) {
  const std::vector<ComparisonRow> rows = CompareCode({"lossless", "raw"});
  ASSERT_EQ(rows.size(), 2u);
  for (const ComparisonRow& row : rows) {
    EXPECT_DOUBLE_EQ(row.distortion.keys_snr_db, kSnrMaxDb);
    EXPECT_DOUBLE_EQ(row.distortion.values_snr_db, kSnrMaxDb);
    EXPECT_EQ(row.distortion.output_error, 0);
  }
  EXPECT_LT(rows[0].bits, 16 / 1.4);
  EXPECT_GT(rows[1].bits, 16);
}

TEST(CodecToolTest, SmallerThanTheOthersWithLessErrorOfLogits) {
  const std::vector<ComparisonRow> rows = CompareCode({"larder", "cachegen", "kivi2", "kivi4"});
  ASSERT_EQ(rows.size(), 7u);
  const ComparisonRow &base = rows[0], &refined = rows[1];
  const ComparisonRow &cachegen = rows[4], &kivi2 = rows[5], &kivi4 = rows[6];
  EXPECT_LT(refined.bits, cachegen.bits * 0.6);
  EXPECT_LT(refined.distortion.logit_error, cachegen.distortion.logit_error / 2);
  EXPECT_LT(base.bits, kivi2.bits * 0.85);
  EXPECT_LT(base.distortion.logit_error, kivi2.distortion.logit_error / 2);
  EXPECT_LT(refined.bits, kivi4.bits * 0.85);
  EXPECT_LT(refined.distortion.logit_error, kivi4.distortion.logit_error);
}

TEST(CodecToolTest, UndoingTheRotationPaysForKeys) {
  const std::vector<ComparisonRow> undone = CompareCode({"larder"});
  const std::vector<ComparisonRow> kept = CompareCode({"larder"}, {.undo_rotation = false});
  EXPECT_GT(undone[0].distortion.keys_snr_db, kept[0].distortion.keys_snr_db + 1);
  EXPECT_LT(undone[0].distortion.logit_error, kept[0].distortion.logit_error);
}

TEST(CodecToolTest, FinerStepsWhereThePlaneMatters) {
  Sensitivity sensitivity{.keys = {1, 1, 1}, .values = {1, 1, 100}};
  const auto weighted = MakeProfile({GoldenSample("novel2")}, sensitivity, {});
  ASSERT_TRUE(weighted.ok()) << weighted.status();
  std::shared_ptr<const LarderProfile> profile;
  ASSERT_TRUE(LarderProfile::Parse(*weighted, ProfileId{2}, profile).ok());
  const auto rows = Compare({GoldenSample("cpp")}, {"larder"}, profile);
  ASSERT_TRUE(rows.ok()) << rows.status();
  const std::vector<ComparisonRow> even = CompareCode({"larder"});
  EXPECT_GT((*rows)[0].values_bits, even[0].values_bits);
  EXPECT_LT((*rows)[0].keys_bits, even[0].keys_bits);

  sensitivity.keys.pop_back();
  EXPECT_EQ(MakeProfile({GoldenSample("novel2")}, sensitivity, {}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(ParseSensitivity("{\"keys\": [1, 0], \"values\": [1, 1]}").ok());
  EXPECT_FALSE(ParseSensitivity("[]").ok());
}

TEST(CodecToolTest, EncodedFilesComeBack) {
  const auto sample = LoadSample(GoldenSample("cpp"), /*with_queries=*/false);
  ASSERT_TRUE(sample.ok()) << sample.status();
  const auto codec = MakeCodecByName("larder", LarderProfile::Generic());
  ASSERT_TRUE(codec.ok()) << codec.status();
  const auto encoded = EncodeSample(*sample, "larder", **codec);
  ASSERT_TRUE(encoded.ok()) << encoded.status();
  const std::vector<uint8_t> bytes = SerializeEncodedSample(*encoded);
  const auto parsed = ParseEncodedSample(bytes);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->runs, encoded->runs);
  EXPECT_EQ(parsed->ContainerBytes(2), encoded->ContainerBytes(2));
  EXPECT_EQ(*DecodeSample(*parsed, **codec, 2), *DecodeSample(*encoded, **codec, 2));
  EXPECT_FALSE(DecodeSample(*parsed, **codec, 5).ok());

  const auto split = MakeCodecByName("larder", LarderProfile::Generic(), /*split_tokens=*/16);
  const auto with_points = EncodeSample(*sample, "larder", **split);
  ASSERT_TRUE(with_points.ok()) << with_points.status();
  EXPECT_GT(with_points->ContainerBytes(1), encoded->ContainerBytes(1));
  EXPECT_EQ(*DecodeSample(*with_points, **codec, 2), *DecodeSample(*encoded, **codec, 2));

  EXPECT_FALSE(ParseEncodedSample(std::span(bytes).first(bytes.size() - 1)).ok());
  EXPECT_FALSE(ParseEncodedSample(std::span(bytes).first(20)).ok());
  std::vector<uint8_t> longer = bytes;
  longer.push_back(0);
  EXPECT_FALSE(ParseEncodedSample(longer).ok());
}

TEST(CodecToolTest, PictureHasACurveForEachLossyCodec) {
  const std::vector<ComparisonRow> rows = CompareCode({"lossless", "larder", "kivi2"});
  const std::string svg = ComparisonPlot(rows);
  size_t curves = 0;
  for (size_t at = svg.find("<polyline"); at != std::string::npos;
       at = svg.find("<polyline", at + 1)) {
    ++curves;
  }
  EXPECT_EQ(curves, 2u);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_NE(ComparisonJson(rows).find("\"bits_per_value\""), std::string::npos);
  EXPECT_NE(ComparisonTable(rows).find("larder E3"), std::string::npos);
}

TEST(CodecToolTest, UnknownCodecsAreNamed) {
  const auto codec = MakeCodecByName("zip", LarderProfile::Generic());
  EXPECT_EQ(codec.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(codec.status().message().find("zip"), absl::string_view::npos);
}

}  // namespace
}  // namespace larder
