#include "common/hash.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"

namespace larder {
namespace {

std::span<const uint8_t> BytesOf(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

std::string HexOf(const Sha256Digest& digest) {
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest.data()), digest.size()});
}

std::string HexOf(const Hash128& hash) { return ToHex(hash.high, hash.low); }

// Expected values: xxhash.xxh3_128(data, seed).hexdigest() of Python's xxhash package.
TEST(HashTest, HashBytesIsXxh3) {
  EXPECT_EQ(HexOf(HashBytes({})), "99aa06d3014798d86001c324468d497f");
  EXPECT_EQ(HexOf(HashBytes(BytesOf("larder"))), "7fb8acf4b9b3968499e126190611c8d6");
  EXPECT_EQ(HexOf(HashBytes(BytesOf("larder"), 7)), "c4ecf8dbfae991f1521cca4d7d3b5da5");
  std::vector<uint8_t> long_input(512);
  for (size_t i = 0; i < long_input.size(); ++i) long_input[i] = static_cast<uint8_t>(i);
  EXPECT_EQ(HexOf(HashBytes(long_input)), "111d5771df64cbcb1059105ad19bfa09");
}

TEST(HashTest, HashKeyIsTheHashOfItsBytes) {
  EXPECT_EQ(ToString(HashKey(BytesOf("larder"))), "7fb8acf4b9b3968499e126190611c8d6");
  EXPECT_NE(HashKey(BytesOf("larder")), HashKey(BytesOf("larder2")));
  EXPECT_FALSE(HashKey({}).IsZero());
}

// Examples of FIPS 180-2, appendix B.1, and the empty message.
TEST(HashTest, Sha256) {
  EXPECT_EQ(HexOf(Sha256(BytesOf("abc"))),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(HexOf(Sha256({})), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

// Expected values computed with Python's hashlib:
//   key = b""; key = sha256(key + struct.pack("<4I", *chunk)).digest() for each chunk.
TEST(HashTest, TokenChunksFormAChain) {
  const std::vector<uint32_t> tokens = {0, 1, 2, 3, 0xdeadbeefu, 5, 6, 0xffffffffu, 8, 9, 10};
  const std::vector<Sha256Digest> keys = HashTokenChunks(tokens, 4);
  ASSERT_EQ(keys.size(), 2u);  // The partial third chunk has no key.
  EXPECT_EQ(HexOf(keys[0]), "baed642339816affb3fe8719792d0e4ce82f12db72b7373d244eaa65445800fe");
  EXPECT_EQ(HexOf(keys[1]), "67201d5b7bcb2ed11a3863a313d3bb0fe4139455a899ed3802bc74af0c053f91");
}

TEST(HashTest, AnEarlierTokenChangesEveryLaterKey) {
  std::vector<uint32_t> tokens(12, 1);
  const std::vector<Sha256Digest> before = HashTokenChunks(tokens, 4);
  tokens[5] = 2;
  const std::vector<Sha256Digest> after = HashTokenChunks(tokens, 4);
  ASSERT_EQ(before.size(), 3u);
  ASSERT_EQ(after.size(), 3u);
  EXPECT_EQ(before[0], after[0]);
  EXPECT_NE(before[1], after[1]);
  EXPECT_NE(before[2], after[2]);
}

TEST(HashTest, FewerTokensThanAChunkHaveNoKey) {
  EXPECT_TRUE(HashTokenChunks({}, 4).empty());
  const std::vector<uint32_t> tokens = {1, 2, 3};
  EXPECT_TRUE(HashTokenChunks(tokens, 4).empty());
  EXPECT_EQ(HashTokenChunks(tokens, 3).size(), 1u);
}

}  // namespace
}  // namespace larder
