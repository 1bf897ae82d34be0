#include "storage/policy/departures.h"

#include <gtest/gtest.h>

#include "common/hash.h"

namespace larder {
namespace {

uint64_t KeyOf(uint64_t number) {
  return HashBytes({reinterpret_cast<const uint8_t*>(&number), sizeof(number)}).low;
}

TEST(DepartureLogTest, TheLatestDepartureOfAChunkIsKnown) {
  DepartureLog log(64);
  EXPECT_FALSE(log.Find(KeyOf(1)));
  log.Add(KeyOf(1), {.time = 5, .reason = 2});
  log.Add(KeyOf(1), {.time = 9, .reason = 3, .uses = 7});
  ASSERT_TRUE(log.Find(KeyOf(1)));
  EXPECT_EQ(log.Find(KeyOf(1))->reason, 3);
  EXPECT_EQ(log.Find(KeyOf(1))->uses, 7);
  EXPECT_EQ(log.overwritten(), 0u);
  log.Forget(KeyOf(1));
  EXPECT_FALSE(log.Find(KeyOf(1)));
}

TEST(DepartureLogTest, MemoryIsBoundedAndTheOldestGo) {
  DepartureLog log(1000);
  EXPECT_EQ(log.capacity(), 1024u);
  constexpr uint32_t kMany = 5000;
  for (uint32_t i = 0; i < kMany; ++i) log.Add(KeyOf(i), {.time = i, .reason = 1});
  uint32_t recent = 0, old = 0;
  for (uint32_t i = 0; i < kMany; ++i) {
    if (log.Find(KeyOf(i))) ++(i + 512 >= kMany ? recent : old);
  }
  EXPECT_GT(recent, 480u);
  EXPECT_LE(recent + old, 1024u);
  EXPECT_EQ(log.overwritten(), kMany - (recent + old));
}

TEST(DepartureLogTest, WithoutRecordsItRemembersNothing) {
  DepartureLog log(0);
  log.Add(1, {.time = 1});
  EXPECT_FALSE(log.Find(1));
  log.Forget(1);
  EXPECT_EQ(log.capacity(), 0u);
}

}  // namespace
}  // namespace larder
