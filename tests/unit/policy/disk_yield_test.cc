#include "storage/policy/disk_yield.h"

#include <gtest/gtest.h>

#include "common/random.h"

namespace larder {
namespace {

constexpr DiskYield::Kind kGood = 3, kFair = 7, kPoor = 12;

// Of so many writes of each kind, a half, a quarter and a hundredth are read back.
DiskYield Experienced() {
  DiskYield yield;
  for (int i = 0; i < 4000; ++i) {
    for (const DiskYield::Kind kind : {kGood, kFair, kPoor}) yield.Wrote(kind);
    if (i % 2 == 0) yield.ReadBack(kGood);
    if (i % 4 == 0) yield.ReadBack(kFair);
    if (i % 100 == 0) yield.ReadBack(kPoor);
  }
  return yield;
}

TEST(DiskYieldTest, KindsThatAreHardlyReadBackAreNotWritten) {
  const DiskYield yield = Experienced();
  EXPECT_TRUE(yield.Admits(kGood, 1));
  EXPECT_TRUE(yield.Admits(kFair, 1));
  EXPECT_FALSE(yield.Admits(kPoor, 1));
}

TEST(DiskYieldTest, TheScarcerTheBudgetTheFewerKindsAre) {
  const DiskYield yield = Experienced();
  EXPECT_TRUE(yield.Admits(kFair, 1, /*budget_left=*/0.9));
  EXPECT_FALSE(yield.Admits(kFair, 1, /*budget_left=*/0));
  EXPECT_TRUE(yield.Admits(kGood, 1, /*budget_left=*/0));
}

TEST(DiskYieldTest, AnUnknownKindIsTriedAndAPoorOneNowAndThen) {
  DiskYield yield = Experienced();
  EXPECT_TRUE(yield.Admits(20, 1)) << "never written yet";
  SeededRandom random(1);
  int tried = 0;
  for (int i = 0; i < 16'000; ++i) tried += yield.Admits(kPoor, random.Next()) ? 1 : 0;
  EXPECT_NEAR(tried, 1000, 150);
  // Its time comes: what is tried is read back.
  for (int i = 0; i < 4000; ++i) {
    yield.Wrote(kPoor);
    yield.ReadBack(kPoor);
  }
  EXPECT_TRUE(yield.Admits(kPoor, 1));
  yield.ReadBack(DiskYield::kNoKind);
}

TEST(DiskYieldTest, KindsAreByUsesDepthAndCategory) {
  EXPECT_EQ(DiskYield::KindOf(1, 4, 0), DiskYield::KindOf(1, 7, 0));
  EXPECT_NE(DiskYield::KindOf(1, 4, 0), DiskYield::KindOf(1, 8, 0));
  EXPECT_NE(DiskYield::KindOf(1, 4, 0), DiskYield::KindOf(2, 4, 0));
  EXPECT_EQ(DiskYield::KindOf(4, 4, 0), DiskYield::KindOf(200, 4, 0));
  EXPECT_NE(DiskYield::KindOf(1, 4, 0), DiskYield::KindOf(1, 4, 1));
  EXPECT_LT(DiskYield::KindOf(255, 0xffffffff, 3), DiskYield::kNoKind);
}

}  // namespace
}  // namespace larder
