// The files in tests/golden/container are what version 1 shipped; this test only reads them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

#include "kernels/format/coded_container.h"
#include "tests/golden/container_goldens.h"

namespace larder {
namespace {

using ::testing::HasSubstr;

const std::filesystem::path kDirectory = std::filesystem::path(LARDER_GOLDEN_DIR) / "container";

std::vector<uint8_t> ReadGolden(const std::string& file_name) {
  std::ifstream file(kDirectory / file_name, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << file_name;
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

TEST(ContainerGoldenTest, ValidFilesReadBackAndAreWrittenTheSame) {
  for (const ValidGolden& golden : ValidGoldens()) {
    SCOPED_TRACE(golden.file_name);
    const std::vector<uint8_t> bytes = ReadGolden(golden.file_name);
    const absl::StatusOr<ContainerView> view = ContainerView::Parse(bytes);
    ASSERT_TRUE(view.ok()) << view.status();
    EXPECT_EQ(view->identity(), golden.identity);
    EXPECT_TRUE(view->VerifyBodies().ok());

    std::vector<uint8_t> payload(golden.payload.size());
    const Segment destination = {payload.data(), payload.size()};
    const absl::Status read =
        ReadRawContainer(*view, golden.manifest, golden.identity.part, {&destination, 1});
    ASSERT_TRUE(read.ok()) << read;
    EXPECT_EQ(payload, golden.payload);

    std::vector<uint8_t> written(bytes.size());
    const ConstSegment source = {payload.data(), payload.size()};
    const absl::Status write =
        WriteRawContainer(written, golden.manifest, golden.identity, {&source, 1});
    ASSERT_TRUE(write.ok()) << write;
    EXPECT_EQ(written, bytes);
  }
}

TEST(ContainerGoldenTest, CorruptFilesAreRefusedForTheirReason) {
  for (const CorruptGolden& golden : CorruptGoldens()) {
    SCOPED_TRACE(golden.file_name);
    const std::vector<uint8_t> bytes = ReadGolden(golden.file_name);
    const absl::StatusOr<ContainerView> view = ContainerView::Parse(bytes);
    const absl::Status status = view.ok() ? view->VerifyBodies() : view.status();
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(status.message(), HasSubstr(golden.error));
  }
}

TEST(ContainerGoldenTest, LevelsAndWhatIsLeftWhenSomeAreCutOff) {
  const ValidGolden golden = LevelsGolden();
  const std::vector<uint8_t> whole = ReadGolden(kLevelsGolden);
  const std::vector<uint8_t> cut = ReadGolden(kCutGolden);
  const ContainerCodecs codecs;
  const auto decode = [&](const std::vector<uint8_t>& bytes, uint32_t levels) {
    std::vector<uint8_t> decoded(golden.payload.size());
    const absl::StatusOr<ContainerView> view = ContainerView::Parse(bytes);
    EXPECT_TRUE(view.ok()) << view.status();
    if (!view.ok()) return decoded;
    EXPECT_EQ(view->identity(), golden.identity);
    EXPECT_TRUE(view->VerifyBodies().ok());
    const Segment destination = {decoded.data(), decoded.size()};
    const absl::Status read = ReadContainer(codecs, *view, golden.manifest, golden.identity.part,
                                            levels, {&destination, 1});
    EXPECT_TRUE(read.ok()) << read;
    return decoded;
  };
  EXPECT_EQ(ContainerView::Parse(whole)->level_count(), 4u);
  EXPECT_EQ(ContainerView::Parse(cut)->level_count(), 2u);
  EXPECT_EQ(decode(cut, 0), decode(whole, 2));
  EXPECT_NE(decode(cut, 0), decode(whole, 0));
  const absl::Status miscut = ContainerView::Parse(ReadGolden(kMiscutGolden)).status();
  EXPECT_EQ(miscut.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(miscut.message(), HasSubstr("none of its 4 levels ends there"));

  const ConstSegment source = {golden.payload.data(), golden.payload.size()};
  const auto written = EncodeContainer(codecs, ContainerCodec::kLarder, 0, golden.manifest,
                                       golden.identity, {&source, 1});
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_EQ(*written, whole);
}

TEST(ContainerGoldenTest, ManifestFile) {
  const absl::StatusOr<Manifest> manifest = Manifest::Parse(ReadGolden(kManifestGolden));
  ASSERT_TRUE(manifest.ok()) << manifest.status();
  EXPECT_EQ(DescribeDifference(*manifest, ValidGoldens().front().manifest), "");
  const std::vector<uint8_t> bytes = ReadGolden("valid_key_value.bin");
  const absl::StatusOr<ContainerView> view = ContainerView::Parse(bytes);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(view->identity().manifest, manifest->Id());

  const absl::StatusOr<Manifest> coded = Manifest::Parse(ReadGolden(kCodedManifestGolden));
  ASSERT_TRUE(coded.ok()) << coded.status();
  EXPECT_EQ(DescribeDifference(*manifest, *coded), "codec: raw and larder; levels: 0 and 2");
  EXPECT_EQ(coded->Serialize(), ReadGolden(kCodedManifestGolden));
}

// The fields of valid_key_value.bin as docs/formats/container.md explains them, without our parser.
TEST(ContainerGoldenTest, WorkedExampleOfThePage) {
  const std::vector<uint8_t> bytes = ReadGolden("valid_key_value.bin");
  ASSERT_EQ(bytes.size(), 448u);
  EXPECT_EQ(std::string(bytes.begin(), bytes.begin() + 8), "LARDCHNK");
  EXPECT_EQ(bytes[8], 1) << "version";
  EXPECT_EQ(bytes[20], 32) << "key length";
  EXPECT_EQ(bytes[56], 0xa0) << "first byte of the key";
  EXPECT_EQ(bytes[87], 0xbf) << "last byte of the key";
  EXPECT_EQ(bytes[120], 0x10) << "parent";
  EXPECT_EQ(bytes[136], 7) << "depth";
  EXPECT_EQ(bytes[140], 2) << "tokens";
  EXPECT_EQ(bytes[152], 2) << "entries";
  EXPECT_EQ(bytes[256], 0x40) << "first plane at 320";
  EXPECT_EQ(bytes[257], 0x01) << "first plane at 320";
  EXPECT_EQ(bytes[321], 0x3c) << "float16 1.0";
  EXPECT_EQ(bytes[385], 0x45) << "float16 5.0";
}

TEST(ContainerGoldenTest, EveryFileIsTested) {
  std::set<std::string> known = {kManifestGolden, kCodedManifestGolden, kLevelsGolden, kCutGolden,
                                 kMiscutGolden};
  for (const ValidGolden& golden : ValidGoldens()) known.insert(golden.file_name);
  for (const CorruptGolden& golden : CorruptGoldens()) known.insert(golden.file_name);
  std::set<std::string> found;
  for (const auto& entry : std::filesystem::directory_iterator(kDirectory)) {
    found.insert(entry.path().filename().string());
  }
  EXPECT_EQ(found, known);
}

}  // namespace
}  // namespace larder
