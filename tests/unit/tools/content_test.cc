#include "tools/workload/content.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/random.h"

namespace larder {
namespace {

constexpr KeyHash kKey = {0x0123456789abcdef, 0xfedcba9876543210};

std::vector<uint8_t> Content(KeyHash key, uint64_t offset, size_t size) {
  std::vector<uint8_t> bytes(size);
  FillContent(key, offset, bytes);
  return bytes;
}

TEST(Content, EveryRangeIsAPieceOfTheWhole) {
  constexpr size_t kSize = 200;
  constexpr uint64_t kBase = (uint64_t{1} << 40) + 3;
  const std::vector<uint8_t> whole = Content(kKey, kBase, kSize);
  for (size_t begin = 0; begin <= kSize; ++begin) {
    for (size_t end = begin; end <= kSize; ++end) {
      const std::vector<uint8_t> expected(whole.begin() + static_cast<ptrdiff_t>(begin),
                                          whole.begin() + static_cast<ptrdiff_t>(end));
      ASSERT_EQ(Content(kKey, kBase + begin, end - begin), expected) << begin << " to " << end;
    }
  }
}

TEST(Content, WritesNothingOutsideItsRange) {
  std::vector<uint8_t> bytes(64, 0xaa);
  FillContent(kKey, 5, std::span<uint8_t>(bytes).subspan(3, 41));
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i < 3 || i >= 44) {
      ASSERT_EQ(bytes[i], 0xaa) << i;
    }
  }
  EXPECT_EQ(CheckContent(kKey, 5, std::span<uint8_t>(bytes).subspan(3, 41)), 41u);
}

TEST(Content, ChecksRandomRangesAndFindsOneWrongByteAnywhere) {
  constexpr uint64_t kSeed = 99;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  SeededRandom random(kSeed);
  for (int round = 0; round < 2000; ++round) {
    const KeyHash key = {random.Next(), random.Next()};
    const uint64_t offset = random.Below(uint64_t{1} << 33);
    std::vector<uint8_t> bytes = Content(key, offset, 1 + random.Below(6000));
    ASSERT_EQ(CheckContent(key, offset, bytes), bytes.size());
    const size_t wrong = random.Below(bytes.size());
    bytes[wrong] ^= static_cast<uint8_t>(1u << random.Below(8));
    ASSERT_EQ(CheckContent(key, offset, bytes), wrong);
    // A second wrong byte behind the first does not hide it.
    bytes.back() ^= 0x80;
    ASSERT_LE(CheckContent(key, offset, bytes), bytes.size() - 1);
  }
}

TEST(Content, OtherKeyOrOtherOffsetIsFoundAtOnce) {
  constexpr size_t kSize = 4096;
  const std::vector<uint8_t> bytes = Content(kKey, 0, kSize);
  EXPECT_LT(CheckContent({kKey.low + 1, kKey.high}, 0, bytes), 8u);
  EXPECT_LT(CheckContent({kKey.low, kKey.high ^ 1}, 0, bytes), 16u);
  for (const uint64_t offset : {1u, 7u, 8u, 512u, 4096u, 1u << 20}) {
    EXPECT_LT(CheckContent(kKey, offset, bytes), 8u) << offset;
  }
}

TEST(Content, LooksRandom) {
  const std::vector<uint8_t> bytes = Content(kKey, 0, 256 << 10);
  std::array<int, 256> counts = {};
  for (const uint8_t byte : bytes) ++counts[byte];
  // 1,024 expected with a standard deviation of 32.
  EXPECT_THAT(counts, testing::Each(testing::AllOf(testing::Gt(824), testing::Lt(1224))));

  const std::vector<uint8_t> other = Content({kKey.low + 1, kKey.high}, 0, bytes.size());
  int equal = 0;
  for (size_t i = 0; i < bytes.size(); ++i) equal += bytes[i] == other[i] ? 1 : 0;
  EXPECT_LT(equal, 1224);
}

TEST(KeyBytes, DependOnNameSpaceAndId) {
  std::set<Sha256Digest> keys;
  for (uint64_t id = 0; id < 1000; ++id) {
    keys.insert(KeyBytes("a", id));
    keys.insert(KeyBytes("b", id));
  }
  EXPECT_EQ(keys.size(), 2000u);
  EXPECT_EQ(KeyBytes("a", 5), KeyBytes("a", 5));
  // sha256("larder" || 01 02 03 00 00 00 00 00), by sha256sum.
  const Sha256Digest digest = KeyBytes("larder", 0x030201);
  std::string hex;
  for (const uint8_t byte : digest) absl::StrAppend(&hex, absl::Hex(byte, absl::kZeroPad2));
  EXPECT_EQ(hex, "7e2c4f469143c9793ef394a319d07cb79a21fb3246f3af7ff4f3437a2f71d622");
}

}  // namespace
}  // namespace larder
