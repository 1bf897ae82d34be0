// Manifests, spaces and payload files as larderctl takes them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tools/ctl/manifest_input.h"
#include "tools/ctl/payload_file.h"
#include "tools/ctl/proto_json.h"
#include "tools/ctl/space_lookup.h"

namespace larder {
namespace {

using ::testing::HasSubstr;

std::vector<std::string> GoodFields() {
  return {
      "model=m", "element_type=bfloat16", "kind=key_value",      "layers=2",
      "heads=3", "head_dim=64",           "tokens_per_chunk=16", "hash_seed=18446744073709551615"};
}

std::string FieldsError(const std::string& field) {
  std::vector<std::string> fields = GoodFields();
  fields.push_back(field);
  return std::string(ManifestFromFields(fields).status().message());
}

TEST(CtlManifest, ReadsFields) {
  const absl::StatusOr<Manifest> manifest = ManifestFromFields(GoodFields());
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(manifest->model, "m");
  EXPECT_EQ(manifest->element_type, ElementType::kBfloat16);
  EXPECT_EQ(manifest->kind, CacheKind::kKeyValue);
  EXPECT_EQ(manifest->heads, 3u);
  EXPECT_EQ(manifest->hash_seed, UINT64_MAX);
  EXPECT_EQ(manifest->layout_version, kLayoutVersion);
  EXPECT_EQ(manifest->codec, ContainerCodec::kRaw);
  std::vector<std::string> fields = GoodFields();
  fields.insert(fields.end(), {"codec=larder", "levels=2"});
  const absl::StatusOr<Manifest> coded = ManifestFromFields(fields);
  ASSERT_TRUE(coded.ok()) << coded.status();
  EXPECT_EQ(coded->codec, ContainerCodec::kLarder);
  EXPECT_EQ(coded->levels, 2u);
}

TEST(CtlManifest, NamesTheFieldThatIsWrong) {
  EXPECT_THAT(FieldsError("layrs=2"), HasSubstr("layrs: no such field"));
  EXPECT_THAT(FieldsError("layers=3"), HasSubstr("layers: given twice"));
  EXPECT_THAT(FieldsError("layout_version=-1"), HasSubstr("layout_version: '-1'"));
  EXPECT_THAT(FieldsError("layout_version=4294967296"), HasSubstr("too large"));
  EXPECT_THAT(FieldsError("layout_version"), HasSubstr("layout_version: ''"));
  EXPECT_THAT(FieldsError("layout_version=9"), HasSubstr("layout"));
  EXPECT_THAT(ManifestFromFields({"element_type=bf16"}).status().message(),
              HasSubstr("'bf16' is none of bfloat16, float16"));
  EXPECT_THAT(ManifestFromFields({"element_type=unspecified"}).status().message(),
              HasSubstr("element_type: must be one of bfloat16"));
  EXPECT_THAT(FieldsError("codec=zip"), HasSubstr("codec: 'zip' is none of raw, lossless, larder"));
  EXPECT_THAT(FieldsError("levels=1"), HasSubstr("must be below the 1 of codec raw"));
  EXPECT_THAT(ManifestFromFields({"model=m"}).status().message(), HasSubstr("element_type"));
}

TEST(CtlManifest, ReadsWhatJsonOutputShows) {
  v1::Manifest message;
  message.set_model("m");
  message.set_element_type(v1::ELEMENT_TYPE_FLOAT8_E4M3);
  message.set_kind(v1::CACHE_KIND_LATENT);
  message.set_layers(4);
  message.set_heads(1);
  message.set_head_dim(576);
  message.set_tokens_per_chunk(64);
  message.set_hash_seed(UINT64_MAX);
  const std::string text = ToText(ToJson(message));
  EXPECT_THAT(text, HasSubstr("\"float8_e4m3\""));
  const absl::StatusOr<Manifest> manifest = ManifestFromJson(text);
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(*manifest, *ToManifest(message));
  EXPECT_EQ(manifest->hash_seed, UINT64_MAX);
  message.set_codec(v1::CODEC_KIVI);
  EXPECT_EQ(ManifestFromJson(ToText(ToJson(message)))->codec, ContainerCodec::kKivi);
  message.set_codec(static_cast<v1::Codec>(6));
  EXPECT_THAT(ToManifest(message).status().message(), HasSubstr("codec: must be one of raw"));
}

TEST(CtlManifest, RefusesWrongJson) {
  const auto error = [](absl::string_view text) {
    return std::string(ManifestFromJson(text).status().message());
  };
  EXPECT_THAT(error(""), HasSubstr("not a JSON object"));
  EXPECT_THAT(error("[1]"), HasSubstr("not a JSON object"));
  EXPECT_THAT(error("{\"layers\": 1"), HasSubstr("not a JSON object"));
  EXPECT_THAT(error("{\"layers\": \"1\"}"), HasSubstr("layers: must be a whole number"));
  EXPECT_THAT(error("{\"layers\": -1}"), HasSubstr("layers: must be a whole number"));
  EXPECT_THAT(error("{\"layers\": 1.5}"), HasSubstr("layers: must be a whole number"));
  EXPECT_THAT(error("{\"layers\": 4294967296}"), HasSubstr("layers: 4294967296 is too large"));
  EXPECT_THAT(error("{\"model\": 7}"), HasSubstr("model: must be a text"));
  EXPECT_THAT(error("{\"kind\": null}"), HasSubstr("kind: must be a text"));
  EXPECT_THAT(error("{\"modle\": \"m\"}"), HasSubstr("modle: no such field"));
}

TEST(CtlManifest, RefusesEnumsOfANewerDaemon) {
  v1::Manifest message;
  message.set_element_type(static_cast<v1::ElementType>(257));
  EXPECT_THAT(ToManifest(message).status().message(), HasSubstr("element_type"));
}

v1::SpaceStatus SpaceNamed(const std::string& id, const std::string& model) {
  v1::SpaceStatus space;
  space.set_space_id(id);
  space.mutable_description()->set_tenant("t");
  space.mutable_description()->mutable_manifest()->set_model(model);
  return space;
}

TEST(CtlSpaces, SelectsTheOneThatIsMeant) {
  const std::vector<v1::SpaceStatus> spaces = {SpaceNamed("aabb", "one"),
                                               SpaceNamed("aacc", "two")};
  EXPECT_EQ(SelectSpace(spaces, "aab")->space_id(), "aabb");
  EXPECT_EQ(SelectSpace(std::span(spaces).first(1), "")->space_id(), "aabb");

  const absl::Status several = SelectSpace(spaces, "aa").status();
  EXPECT_TRUE(absl::IsInvalidArgument(several));
  EXPECT_THAT(several.message(), HasSubstr("aabb (t, one), aacc (t, two)"));
  const absl::Status which = SelectSpace(spaces, "").status();
  EXPECT_TRUE(absl::IsInvalidArgument(which));
  EXPECT_THAT(which.message(), HasSubstr("which space?"));
  const absl::Status none = SelectSpace(spaces, "bb").status();
  EXPECT_TRUE(absl::IsNotFound(none));
  EXPECT_THAT(none.message(), HasSubstr("there are aabb (t, one)"));
  EXPECT_TRUE(absl::IsNotFound(SelectSpace({}, "").status()));
}

class CtlPayloadFile : public testing::Test {
 protected:
  CtlPayloadFile() {
    std::string pattern = testing::TempDir() + "ctl_XXXXXX";
    directory_ = mkdtemp(pattern.data());
  }
  ~CtlPayloadFile() override { std::filesystem::remove_all(directory_); }

  std::string MakeFile(const std::string& contents) {
    std::string path = directory_ + "/payload";
    std::ofstream(path, std::ios::binary) << contents;
    return path;
  }

  std::string directory_;
};

TEST_F(CtlPayloadFile, GivesOneChunkAfterTheOther) {
  absl::StatusOr<PayloadReader> reader = PayloadReader::Open(MakeFile("abcdef"), 3, 2);
  ASSERT_TRUE(reader.ok()) << reader.status();
  std::vector<uint8_t> chunk(3);
  ASSERT_TRUE(reader->Read(chunk).ok());
  EXPECT_EQ(chunk, (std::vector<uint8_t>{'a', 'b', 'c'}));
  EXPECT_THAT(reader->CheckEnd().message(), HasSubstr("more bytes"));
}

TEST_F(CtlPayloadFile, RefusesAnotherSize) {
  EXPECT_THAT(PayloadReader::Open(MakeFile("abcde"), 3, 2).status().message(),
              HasSubstr("has 5 bytes; 2 keys of 3 bytes a chunk need 6"));
  absl::StatusOr<PayloadReader> device = PayloadReader::Open("/dev/null", 3, 1);
  ASSERT_TRUE(device.ok()) << device.status();
  std::vector<uint8_t> chunk(3);
  EXPECT_THAT(device->Read(chunk).message(), HasSubstr("ends after 0 of 3 bytes"));
  EXPECT_TRUE(device->CheckEnd().ok());
}

TEST_F(CtlPayloadFile, RefusesWhatIsNoFile) {
  EXPECT_THAT(PayloadReader::Open(directory_ + "/none", 3, 1).status().message(),
              HasSubstr("/none: No such file"));
  EXPECT_THAT(PayloadReader::Open(directory_, 3, 1).status().message(), HasSubstr("directory"));
  EXPECT_FALSE(ReadTextFile(directory_).ok());
  EXPECT_THAT(ReadTextFile("/dev/zero").status().message(), HasSubstr("has more than"));
}

TEST_F(CtlPayloadFile, WritesAWholeFileOrNone) {
  const std::string path = MakeFile("what was there before");
  const std::vector<uint8_t> payload = {1, 2, 3};
  ASSERT_TRUE(WritePayload(path, payload).ok());
  EXPECT_EQ(ReadTextFile(path).value(), "\x01\x02\x03");
  EXPECT_THAT(WritePayload(directory_ + "/none/file", payload).message(),
              HasSubstr("No such file"));
  EXPECT_THAT(WritePayload("/dev/full", payload).message(), HasSubstr("No space left"));
  EXPECT_TRUE(std::filesystem::exists("/dev/full"));
}

}  // namespace
}  // namespace larder
