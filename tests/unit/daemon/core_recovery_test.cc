// What a new daemon finds in the block table of one that was killed.
#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "tests/unit/daemon/core_model.h"

namespace larder {
namespace {

TEST(CoreRecoveryTest, RandomRequestsAndRestartsMatchAModel) {
  for (uint64_t seed = 1; seed <= 120; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    CoreModel model(seed);
    for (int step = 0; step < 400; ++step) {
      SCOPED_TRACE(absl::StrCat("step ", step));
      model.Step();
      if (step % 40 == 39) model.Restart();
      if (testing::Test::HasFailure()) return;
    }
    model.Finish();
    if (testing::Test::HasFailure()) return;
  }
}

class CoreRecoveryScenarioTest : public testing::Test {
 protected:
  CoreHarness before_;
  SpaceHandle space_ = before_.Open();
  SessionId session_ = before_.OpenSession();
  Part whole_ = before_.Whole(space_);
};

TEST_F(CoreRecoveryScenarioTest, TheCommittedIsThereAndTheReservedIsNot) {
  ASSERT_TRUE(before_.Put(session_, space_, 1));
  before_.Reserve(session_, space_, {Key(2), {}, 0, whole_, 5000});
  RecoveryReport report;
  const auto after = before_.AfterKill(&report);
  EXPECT_EQ(report.chunks, 1u);
  EXPECT_EQ(report.bytes, kTestGranuleBytes);
  EXPECT_EQ(report.discarded_blocks, 1u);
  EXPECT_TRUE(after->IsVisible(space_, 1));
  EXPECT_FALSE(after->IsVisible(space_, 2));
  EXPECT_EQ(after->table().used_records(), 1u);
  // The writer may not know yet that its daemon is gone.
  EXPECT_EQ(after->core().Stats().used_bytes, 3 * kTestGranuleBytes);
  after->now = after->now + CoreOptions().orphan_grace;
  after->core().Tick(after->now);
  EXPECT_EQ(after->core().Stats().used_bytes, kTestGranuleBytes);
}

TEST_F(CoreRecoveryScenarioTest, WhatWasRemovedWhileLeasedIsGone) {
  ASSERT_TRUE(before_.Put(session_, space_, 1));
  ASSERT_TRUE(before_.Lease(session_, space_, 1));
  const KeyHash key = Key(1);
  ASSERT_TRUE(before_.core().Remove(space_, {&key, 1}, RemovalCause::kRemoved).ok());
  const auto after = before_.AfterKill();
  EXPECT_FALSE(after->IsVisible(space_, 1));
  EXPECT_TRUE(after->IsPristine());
}

TEST_F(CoreRecoveryScenarioTest, BlocksOfASpaceThatIsNotKnownAreDiscarded) {
  ASSERT_TRUE(before_.Put(session_, space_, 1));
  Core core({.data_bytes = before_.data_bytes(), .backed_bytes = before_.data_bytes()},
            &before_.table(), before_.now, kTestUnixMs);
  const RecoveryReport report = core.RecoverBlocks(before_.now);
  EXPECT_EQ(report.chunks, 0u);
  EXPECT_EQ(report.discarded_blocks, 1u);
  EXPECT_EQ(core.Stats().used_bytes, 0u);
}

TEST_F(CoreRecoveryScenarioTest, OlderCommitsLeaveFirstAndLeavesBeforeParents) {
  ASSERT_TRUE(before_.Put(session_, space_, 1));
  ASSERT_TRUE(before_.Put(session_, space_, 2, 1, 1));
  ASSERT_TRUE(before_.Put(session_, space_, 3));
  const auto after = before_.AfterKill();
  const SessionId session = after->OpenSession();
  const uint64_t free = 64 - 3;
  for (uint64_t i = 0; i < free; ++i) ASSERT_TRUE(after->Put(session, space_, 100 + i));
  for (const uint64_t next : {2, 1, 3}) {
    EXPECT_TRUE(after->IsVisible(space_, next));
    ASSERT_TRUE(after->Put(session, space_, 1000 + next));
    EXPECT_FALSE(after->IsVisible(space_, next));
  }
}

TEST_F(CoreRecoveryScenarioTest, TimeToLiveGoesOnThroughARestart) {
  ASSERT_TRUE(before_.Put(session_, space_, 1, 0, 0, {.ttl = absl::Seconds(10)}));
  before_.now.nanoseconds += 9'000'000'000;
  auto after = before_.AfterKill();
  EXPECT_TRUE(after->IsVisible(space_, 1));
  after->now.nanoseconds += 1'000'000'000;
  EXPECT_FALSE(after->IsVisible(space_, 1));
  after = after->AfterKill();
  EXPECT_TRUE(after->IsPristine());
}

// The parts of a chunk had expiry times of their own, so that a restart could find some of them.
TEST_F(CoreRecoveryScenarioTest, PartsWithDifferentTimesToLiveExpireTogether) {
  const Part first{0, 2, 0, 2}, second{2, 4, 0, 2};
  ASSERT_TRUE(
      before_.Put(session_, space_, {Key(1), {}, 0, first, 5000}, {.ttl = absl::Seconds(1)}));
  ASSERT_TRUE(
      before_.Put(session_, space_, {Key(1), {}, 0, second, 5000}, {.ttl = absl::Seconds(100)}));
  EXPECT_TRUE(before_.AfterKill()->IsVisible(space_, 1));
  before_.now.nanoseconds += 2'000'000'000;
  EXPECT_FALSE(before_.IsVisible(space_, 1));
  EXPECT_TRUE(before_.AfterKill()->IsPristine());
}

// A kill between the flags of two parts: only the second one says "pinned".
TEST_F(CoreRecoveryScenarioTest, AHalfWrittenPinIsAWholeOne) {
  const Part first{0, 2, 0, 2}, second{2, 4, 0, 2};
  ASSERT_TRUE(before_.Put(session_, space_, {Key(1), {}, 0, first, 5000}));
  ASSERT_TRUE(before_.Put(session_, space_, {Key(1), {}, 0, second, 5000}));
  before_.table().SetFlags(1, kBlockFlagPinned);
  const auto after = before_.AfterKill();
  EXPECT_EQ(after->core().Stats().pinned_bytes, 10'000u);
  EXPECT_TRUE(after->core().Inspect(space_, Key(1))->pinned);
  const KeyHash key = Key(1);
  ASSERT_TRUE(after->core().SetPinned(space_, {&key, 1}, false).ok());
  EXPECT_EQ(after->core().Stats().pinned_bytes, 0u);
  EXPECT_FALSE(after->AfterKill()->core().Inspect(space_, key)->pinned);
}

TEST_F(CoreRecoveryScenarioTest, AnExpiryBeyondAllClocksIsHarmless) {
  ASSERT_TRUE(before_.Put(session_, space_, 1));
  before_.table().SetExpiry(0, static_cast<int64_t>(kGuardedValueMax));
  const auto after = before_.AfterKill();
  EXPECT_TRUE(after->IsVisible(space_, 1));
}

// Two records that claim the same bytes, or the same part: the older one is believed.
TEST_F(CoreRecoveryScenarioTest, RecordsThatContradictEachOtherAreDiscarded) {
  ASSERT_TRUE(before_.Put(session_, space_, 1));
  BlockRecord twin = before_.table().Read(0);
  const auto commit = [this](const BlockRecord& record) {
    const uint32_t index = *before_.table().AllocateRecord();
    before_.table().WriteReserved(index, record);
    before_.table().Commit(index, 100);
  };
  commit(twin);  // same part, same bytes
  twin.key = Key(2);
  commit(twin);  // same bytes
  twin.key = Key(1);
  twin.offset = 10 * kTestGranuleBytes;
  commit(twin);  // same part
  twin.key = Key(3);
  twin.layer_end = 99;
  commit(twin);  // a part that the manifest does not have
  RecoveryReport report;
  const auto after = before_.AfterKill(&report);
  EXPECT_EQ(report.chunks, 1u);
  EXPECT_EQ(report.discarded_blocks, 4u);
  EXPECT_TRUE(after->IsVisible(space_, 1));
  EXPECT_EQ(after->core().Stats().used_bytes, kTestGranuleBytes);
  EXPECT_EQ(after->table().used_records(), 1u);
}

}  // namespace
}  // namespace larder
