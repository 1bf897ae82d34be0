#include "kernels/format/manifest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>
#include <vector>

#include "common/random.h"
#include "tests/unit/kernels/container_testing.h"

namespace larder {
namespace {

using ::testing::HasSubstr;

Manifest Llama() {
  return {.model = "meta-llama/Llama-3.1-8B",
          .revision = "d04e592b",
          .quantisation = "none",
          .rope = "llama3 theta=500000",
          .hash_scheme = "sha256",
          .hash_seed = 7,
          .element_type = ElementType::kBfloat16,
          .kind = CacheKind::kKeyValue,
          .layers = 32,
          .heads = 8,
          .head_dim = 128,
          .tokens_per_chunk = 256};
}

Manifest Coded() {
  Manifest manifest = Llama();
  manifest.codec = ContainerCodec::kLarder;
  manifest.levels = 2;
  return manifest;
}

// One change a field, each to a valid manifest that means other bytes.
std::vector<std::pair<std::string, std::function<void(Manifest&)>>> Changes() {
  return {{"model", [](Manifest& m) { m.model += "x"; }},
          {"revision", [](Manifest& m) { m.revision += "x"; }},
          {"quantisation", [](Manifest& m) { m.quantisation += "x"; }},
          {"rope", [](Manifest& m) { m.rope += "x"; }},
          {"hash_scheme", [](Manifest& m) { m.hash_scheme += "x"; }},
          {"hash_seed", [](Manifest& m) { m.hash_seed = 8; }},
          {"element_type", [](Manifest& m) { m.element_type = ElementType::kFloat16; }},
          {"kind", [](Manifest& m) { m.kind = CacheKind::kLatent; }},
          {"layers", [](Manifest& m) { m.layers = 31; }},
          {"heads", [](Manifest& m) { m.heads = 4; }},
          {"head_dim", [](Manifest& m) { m.head_dim = 64; }},
          {"tokens_per_chunk", [](Manifest& m) { m.tokens_per_chunk = 16; }},
          {"codec", [](Manifest& m) { m.codec = ContainerCodec::kLossless; }}};
}

TEST(ManifestTest, SizesOfKnownModels) {
  Manifest manifest = Llama();
  const Part whole = manifest.WholePart();
  EXPECT_EQ(manifest.PlaneBytes(whole), 8u * 256 * 128 * 2);
  EXPECT_EQ(manifest.PayloadBytes(whole), 32u << 20);
  EXPECT_EQ(manifest.PayloadBytes({0, 16, 2, 4}), (32u << 20) / 8);

  manifest.kind = CacheKind::kLatent;
  manifest.heads = 1;
  manifest.head_dim = 576;
  EXPECT_EQ(manifest.PayloadBytes(manifest.WholePart()), 32u * 256 * 576 * 2);

  manifest.kind = CacheKind::kRecurrent;
  EXPECT_EQ(manifest.PayloadBytes(manifest.WholePart()), 32u * 576 * 2);
  EXPECT_EQ(manifest.PayloadBytes({3, 3, 0, 1}), 0u);
  EXPECT_EQ(manifest.PayloadBytes({0, 1, 1, 0}), 0u);
}

TEST(ManifestTest, RoundTrip) {
  for (const Manifest& manifest : {Llama(), Coded()}) {
    const std::vector<uint8_t> bytes = manifest.Serialize();
    const absl::StatusOr<Manifest> parsed = Manifest::Parse(bytes);
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, manifest);
    EXPECT_EQ(parsed->Serialize(), bytes);
    EXPECT_EQ(parsed->Id(), manifest.Id());
  }
}

TEST(ManifestTest, ACodecIsVersionTwoAndNothingElseIs) {
  std::vector<uint8_t> raw = Llama().Serialize(), coded = Coded().Serialize();
  EXPECT_EQ(raw[4], 1);
  EXPECT_EQ(coded[4], 2);
  EXPECT_EQ(coded[30], 3);
  EXPECT_EQ(coded[31], 2);
  coded[4] = 1;
  EXPECT_THAT(Manifest::Parse(coded).status().message(),
              HasSubstr("reserved bytes at offset 30 are not zero"));
  coded[4] = 3;
  EXPECT_THAT(Manifest::Parse(coded).status().message(),
              HasSubstr("format version 3, this reader knows versions 1 and 2"));
  raw[4] = 2;
  EXPECT_THAT(Manifest::Parse(raw).status().message(), HasSubstr("codec 0 is unknown"));
  raw[30] = 1;
  EXPECT_THAT(Manifest::Parse(raw).status().message(), HasSubstr("codec raw at offset 30"));
}

TEST(ManifestTest, EveryTruncationAndTrailingByteIsRefused) {
  std::vector<uint8_t> bytes = Llama().Serialize();
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(Manifest::Parse(std::span(bytes).first(size)).ok()) << size;
  }
  bytes.push_back(0);
  EXPECT_THAT(Manifest::Parse(bytes).status().message(), HasSubstr("1 bytes after its end"));
}

TEST(ManifestTest, AnyBytesThatParseAreCanonical) {
  for (const Manifest& manifest : {Llama(), Coded()}) {
    const std::vector<uint8_t> good = manifest.Serialize();
    size_t parsed_count = 0;
    for (size_t i = 0; i < good.size(); ++i) {
      for (const uint8_t flip : {0x01, 0x03, 0x20, 0x80, 0xff}) {
        std::vector<uint8_t> bytes = good;
        bytes[i] ^= flip;
        const absl::StatusOr<Manifest> parsed = Manifest::Parse(bytes);
        if (!parsed.ok()) continue;
        ++parsed_count;
        EXPECT_TRUE(parsed->Validate().ok());
        EXPECT_EQ(parsed->Serialize(), bytes);
        EXPECT_NE(parsed->Id(), manifest.Id()) << "byte " << i;
      }
    }
    EXPECT_GT(parsed_count, 0u);
  }
}

TEST(ManifestTest, HugeStringLengthIsRefusedBeforeUse) {
  std::vector<uint8_t> bytes = Llama().Serialize();
  for (size_t i = 0; i < 4; ++i) bytes[40 + i] = 0xff;
  EXPECT_THAT(Manifest::Parse(bytes).status().message(),
              HasSubstr("model has 4294967295 bytes, the limit is 256"));
}

TEST(ManifestTest, ValidateNamesTheField) {
  const std::vector<std::pair<std::string, std::function<void(Manifest&)>>> cases = {
      {"model is empty", [](Manifest& m) { m.model.clear(); }},
      {"revision has 257 bytes", [](Manifest& m) { m.revision.assign(257, 'a'); }},
      {"rope has an unprintable byte at offset 1", [](Manifest& m) { m.rope = "a\n"; }},
      {"hash_scheme has an unprintable byte", [](Manifest& m) { m.hash_scheme = "\xc3\xa9"; }},
      {"element_type 0 is unknown", [](Manifest& m) { m.element_type = ElementType{0}; }},
      {"element_type 7 is unknown", [](Manifest& m) { m.element_type = ElementType{7}; }},
      {"kind 4 is unknown", [](Manifest& m) { m.kind = CacheKind{4}; }},
      {"layers is 0", [](Manifest& m) { m.layers = 0; }},
      {"layers is 1025", [](Manifest& m) { m.layers = 1025; }},
      {"heads is 65537", [](Manifest& m) { m.heads = 65537; }},
      {"head_dim is 65537", [](Manifest& m) { m.head_dim = 65537; }},
      {"tokens_per_chunk is 4294967295", [](Manifest& m) { m.tokens_per_chunk = UINT32_MAX; }},
      {"layout_version is 2", [](Manifest& m) { m.layout_version = 2; }},
      {"codec 0 is unknown", [](Manifest& m) { m.codec = ContainerCodec{0}; }},
      {"codec 6 is unknown", [](Manifest& m) { m.codec = ContainerCodec{6}; }},
      {"codec 259 is unknown", [](Manifest& m) { m.codec = ContainerCodec{259}; }},
      {"levels is 1, must be below the 1 of codec raw", [](Manifest& m) { m.levels = 1; }},
      {"levels is 258, must be below the 4 of codec larder",
       [](Manifest& m) {
         m.codec = ContainerCodec::kLarder;
         m.levels = 258;
       }},
      {"levels is 4, must be below the 4 of codec larder, or 0 for all of them",
       [](Manifest& m) {
         m.codec = ContainerCodec::kLarder;
         m.levels = 4;
       }},
      {"the limit is 4294967296",
       [](Manifest& m) {
         m.layers = m.heads = 1024;
         m.head_dim = m.tokens_per_chunk = 65536;
         m.element_type = ElementType::kFloat32;
       }},
  };
  for (const auto& [message, change] : cases) {
    Manifest manifest = Llama();
    change(manifest);
    const absl::Status status = manifest.Validate();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << message;
    EXPECT_THAT(status.message(), HasSubstr(message));
    EXPECT_FALSE(Manifest::Parse(manifest.Serialize()).ok()) << message;
  }
}

TEST(ManifestTest, ValidatePart) {
  const Manifest manifest = Llama();
  EXPECT_TRUE(manifest.ValidatePart(manifest.WholePart()).ok());
  EXPECT_TRUE(manifest.ValidatePart({31, 32, 7, 8}).ok());
  for (const Part& part : {Part{}, Part{0, 33, 0, 8}, Part{5, 5, 0, 8}, Part{6, 5, 0, 8}}) {
    EXPECT_THAT(manifest.ValidatePart(part).message(), HasSubstr("part: layer range"));
  }
  for (const Part& part : {Part{0, 1, 0, 9}, Part{0, 1, 8, 8}, Part{0, 1, 3, 2}}) {
    EXPECT_THAT(manifest.ValidatePart(part).message(), HasSubstr("part: head range"));
  }
}

TEST(ManifestTest, EveryFieldCountsForIdAndDifference) {
  std::set<ManifestId> ids = {Llama().Id()};
  for (const auto& [field, change] : Changes()) {
    Manifest manifest = Llama();
    change(manifest);
    EXPECT_TRUE(manifest.Validate().ok()) << field;
    EXPECT_TRUE(ids.insert(manifest.Id()).second) << field;
    const std::string difference = DescribeDifference(Llama(), manifest);
    EXPECT_THAT(difference, ::testing::StartsWith(field + ": "));
    EXPECT_THAT(difference, ::testing::Not(HasSubstr(";"))) << "only one field differs";
  }
}

TEST(ManifestTest, DescribeDifference) {
  EXPECT_EQ(DescribeDifference(Llama(), Llama()), "");
  Manifest other = Llama();
  other.layers = 80;
  other.rope = "a\nb";
  EXPECT_EQ(DescribeDifference(Llama(), other),
            "rope: \"llama3 theta=500000\" and \"a\\nb\"; layers: 32 and 80");
  EXPECT_EQ(DescribeDifference(Llama(), Coded()), "codec: raw and larder; levels: 0 and 2");
  other = Coded();
  other.levels = 0;
  EXPECT_EQ(DescribeDifference(other, Coded()), "levels: 0 and 2");
  EXPECT_NE(other.Id(), Coded().Id());
  other.codec = ContainerCodec{9};
  EXPECT_EQ(DescribeDifference(other, Coded()), "codec: unknown and larder; levels: 0 and 2");
}

TEST(ManifestTest, RandomManifestsRoundTrip) {
  const uint64_t seed = 20240601;
  SCOPED_TRACE(seed);
  SeededRandom random(seed);
  for (int round = 0; round < 200; ++round) {
    const Manifest manifest = RandomManifest(random);
    const absl::StatusOr<Manifest> parsed = Manifest::Parse(manifest.Serialize());
    ASSERT_TRUE(parsed.ok()) << parsed.status();
    EXPECT_EQ(*parsed, manifest);
  }
}

TEST(SpaceIdTest, NoTwoTriplesMeetByConcatenation) {
  const ManifestId manifest = Llama().Id();
  std::set<SpaceId> spaces;
  for (const absl::string_view tenant : {"", "a", "ab", "abc"}) {
    for (const absl::string_view salt : {"", "c", "bc", "abc"}) {
      EXPECT_TRUE(spaces.insert(ComputeSpaceId(tenant, manifest, salt)).second);
      EXPECT_TRUE(spaces.insert(ComputeSpaceId(tenant, {1, 2}, salt)).second);
    }
  }
  EXPECT_TRUE(spaces.contains(ComputeSpaceId("a", manifest, "bc"))) << "same triple, same space";
}

}  // namespace
}  // namespace larder
