#include "daemon/node/spaces_file.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "common/byte_order.h"
#include "common/crc32c.h"
#include "daemon/node/spaces_format.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/daemon/core_testing.h"
#include "tests/unit/transport/temporary_directory.h"

namespace larder {
namespace {

using ::testing::HasSubstr;
using Bytes = std::vector<uint8_t>;

std::vector<SpaceDescription> SomeSpaces() {
  std::vector<SpaceDescription> spaces = {TestSpace("a"), TestSpace("b", 7), TestSpace("a")};
  spaces[0].tenant = "";
  spaces[1].salt = std::string("\0\xff salt", 7);
  spaces[2].tenant.assign(64, 't');
  spaces[2].manifest.codec = ContainerCodec::kLarder;
  spaces[2].manifest.levels = 3;
  return spaces;
}

void ExpectSame(const std::vector<SpaceDescription>& a, const std::vector<SpaceDescription>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].tenant, b[i].tenant);
    EXPECT_EQ(a[i].salt, b[i].salt);
    EXPECT_EQ(a[i].manifest, b[i].manifest);
  }
}

void WriteFile(const std::string& path, const Bytes& bytes) {
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

// Makes the checksum right again, so that what comes after it is looked at.
Bytes Repaired(Bytes bytes) {
  const size_t summed = bytes.size() - sizeof(uint32_t);
  StoreLittleEndian(&bytes[summed], Crc32c(std::span(bytes).first(summed)));
  return bytes;
}

void ExpectDataLoss(const Bytes& bytes, const char* message) {
  const auto decoded = DecodeSpaces(bytes);
  EXPECT_TRUE(absl::IsDataLoss(decoded.status())) << decoded.status();
  EXPECT_THAT(decoded.status().message(), HasSubstr(message));
}

TEST(SpacesFileTest, WhatIsWrittenIsReadAgain) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/spaces";
  for (const auto& spaces : {SomeSpaces(), std::vector<SpaceDescription>()}) {
    ASSERT_TRUE(WriteSpacesFile(path, spaces).ok());
    const auto read = ReadSpacesFile(path);
    ASSERT_TRUE(read.ok()) << read.status();
    ExpectSame(*read, spaces);
  }
  EXPECT_FALSE(std::filesystem::exists(path + ".new"));
}

// docs/formats/spaces.md takes this file apart.
TEST(SpacesFileTest, TheGoldenFileIsReadAndWrittenAsItIs) {
  const std::string path = LARDER_GOLDEN_DIR "/spaces/one_space.bin";
  const auto spaces = ReadSpacesFile(path);
  ASSERT_TRUE(spaces.ok()) << spaces.status();
  ASSERT_EQ(spaces->size(), 1u);
  EXPECT_EQ(spaces->front().tenant, "acme");
  EXPECT_EQ(spaces->front().salt, "s1");
  EXPECT_EQ(spaces->front().manifest.model, "example/tiny");
  std::ifstream file(path, std::ios::binary);
  EXPECT_EQ(EncodeSpaces(*spaces), Bytes(std::istreambuf_iterator<char>(file), {}));
}

TEST(SpacesFileTest, AMissingFileIsEmpty) {
  const TemporaryDirectory directory;
  const auto read = ReadSpacesFile(directory.path() + "/spaces");
  ASSERT_TRUE(read.ok());
  EXPECT_TRUE(read->empty());
}

TEST(SpacesFileTest, ErrorsNameThePath) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/spaces";
  WriteFile(path, {1, 2, 3});
  const auto read = ReadSpacesFile(path);
  EXPECT_TRUE(absl::IsDataLoss(read.status()));
  EXPECT_THAT(read.status().message(), HasSubstr(path));
  EXPECT_FALSE(WriteSpacesFile(directory.path() + "/none/spaces", {}).ok());
  EXPECT_FALSE(ReadSpacesFile(directory.path()).ok());  // a directory
}

TEST(SpacesFileTest, EveryTruncationIsDataLoss) {
  const Bytes whole = EncodeSpaces(SomeSpaces());
  for (size_t size = 0; size < whole.size(); ++size) {
    EXPECT_TRUE(absl::IsDataLoss(DecodeSpaces(std::span(whole).first(size)).status())) << size;
  }
}

TEST(SpacesFileTest, EveryFlippedBitIsDataLoss) {
  Bytes bytes = EncodeSpaces(SomeSpaces());
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
    EXPECT_TRUE(absl::IsDataLoss(DecodeSpaces(bytes).status())) << "bit " << bit;
    bytes[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
  }
}

// With a checksum that fits, the fields themselves must be found wrong.
TEST(SpacesFileTest, ImpossibleFieldsAreDataLoss) {
  const Bytes whole = EncodeSpaces(SomeSpaces());
  const auto with = [&whole](size_t offset, uint32_t value) {
    Bytes bytes = whole;
    StoreLittleEndian(&bytes[offset], value);
    return Repaired(bytes);
  };
  ExpectDataLoss(with(0, 0), "foreign magic");
  ExpectDataLoss(with(8, 2), "version 2");
  ExpectDataLoss(with(12, 2), "too many");
  ExpectDataLoss(with(12, 4), "entry 3");
  ExpectDataLoss(with(12, 0xffffffff), "entry 3");
  constexpr size_t kEntry = sizeof(SpacesHeader);
  for (size_t field = 0; field < sizeof(SpacesEntryHeader); field += sizeof(uint32_t)) {
    ExpectDataLoss(with(kEntry + field, 0xffffffff), "entry 0");
    ExpectDataLoss(with(kEntry + field, 1), "entry 0");
  }
  Bytes longer = whole;
  longer.insert(longer.end() - 4, 8, 0);
  ExpectDataLoss(Repaired(longer), "8 bytes too many");
}

TEST(SpacesFileTest, AVeryLargeFileIsNotRead) {
  const TemporaryDirectory directory;
  const std::string path = directory.path() + "/spaces";
  WriteFile(path, {});
  std::filesystem::resize_file(path, uint64_t{1} << 40);  // sparse
  EXPECT_THAT(ReadSpacesFile(path).status().message(), HasSubstr("more than any spaces file"));
}

}  // namespace
}  // namespace larder
