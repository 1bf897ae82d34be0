#include "common/ids.h"

#include <gtest/gtest.h>

#include <type_traits>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"

namespace larder {
namespace {

static_assert(!std::is_convertible_v<ManifestId, SpaceId>);
static_assert(!std::is_convertible_v<LeaseId, ReservationId>);

TEST(IdsTest, HexIsHighWordFirst) {
  const SpaceId id{.low = 0xfedcba9876543210u, .high = 0x0123456789abcdefu};
  EXPECT_EQ(ToString(id), "0123456789abcdeffedcba9876543210");
  EXPECT_EQ(ToHex(0, 1), "00000000000000000000000000000001");
}

TEST(IdsTest, HexRoundTrip) {
  uint64_t high = 0, low = 0;
  ASSERT_TRUE(ParseHex128("0123456789abcdeffedcba9876543210", &high, &low).ok());
  EXPECT_EQ(high, 0x0123456789abcdefu);
  EXPECT_EQ(low, 0xfedcba9876543210u);
  ASSERT_TRUE(ParseHex128("ffffffffffffffff8000000000000000", &high, &low).ok());
  EXPECT_EQ(ToHex(high, low), "ffffffffffffffff8000000000000000");
}

TEST(IdsTest, BadHexIsNamed) {
  for (const char* bad :
       {"", "12", "0123456789abcdeffedcba987654321", "0123456789abcdeffedcba98765432100",
        "g123456789abcdeffedcba9876543210", "0123456789abcdeffedcba987654321-"}) {
    uint64_t high, low;
    const absl::Status status = ParseHex128(bad, &high, &low);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << bad;
    EXPECT_NE(status.message().find(bad), absl::string_view::npos) << status;
  }
}

TEST(IdsTest, ZeroMeansNone) {
  EXPECT_TRUE(KeyHash{}.IsZero());
  EXPECT_FALSE((KeyHash{.low = 0, .high = 1}).IsZero());
  EXPECT_FALSE((KeyHash{.low = 1, .high = 0}).IsZero());
  EXPECT_FALSE(LeaseId{});
  EXPECT_TRUE(LeaseId{1});
}

TEST(IdsTest, BothWordsCountInHashingAndComparison) {
  const absl::flat_hash_set<KeyHash> keys = {{1, 2}, {2, 1}, {1, 1}, {1, 2}};
  EXPECT_EQ(keys.size(), 3u);
  EXPECT_TRUE(keys.contains(KeyHash{2, 1}));
  EXPECT_FALSE(keys.contains(KeyHash{2, 2}));
  const absl::flat_hash_set<SessionId> sessions = {{1}, {2}, {1}};
  EXPECT_EQ(sessions.size(), 2u);
  EXPECT_LT((KeyHash{1, 5}), (KeyHash{2, 0}));
}

}  // namespace
}  // namespace larder
