#include "daemon/core/core.h"

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/daemon/core_testing.h"

namespace larder {
namespace {

using ::testing::HasSubstr;
using Kind = ReserveOutcome::Kind;

constexpr Part kWhole{0, 4, 0, 2}, kFirst{0, 2, 0, 2}, kSecond{2, 4, 0, 2}, kMiddle{1, 3, 0, 2};

class CoreTest : public testing::Test {
 protected:
  ReserveItem Item(uint64_t key, const Part& part = kWhole, uint64_t bytes = 4096) {
    return {.key = Key(key), .parent = {}, .depth = 0, .part = part, .bytes = bytes};
  }
  void Wait(absl::Duration duration) { harness_.now = harness_.now + duration; }
  uint64_t UsedBytes() { return core_.Stats().used_bytes; }
  // Fills what is free with chunks of one granule that are newer than all others.
  uint64_t Fill(uint64_t first_key) {
    uint64_t count = 0;
    while (core_.Stats().free_bytes > 0) {
      EXPECT_TRUE(harness_.Put(session_, space_, first_key + count++));
    }
    return count;
  }
  std::vector<KeyHash> Keys(std::initializer_list<uint64_t> numbers) {
    std::vector<KeyHash> keys;
    for (uint64_t number : numbers) keys.push_back(Key(number));
    return keys;
  }

  CoreHarness harness_{16};
  Core& core_ = harness_.core();
  SpaceHandle space_ = harness_.Open();
  SessionId session_ = harness_.OpenSession();
  SessionId other_ = harness_.OpenSession();
};

// --- visibility ---------------------------------------------------------------------------------

TEST_F(CoreTest, AChunkIsVisibleWhenAllItsPartsAreCommitted) {
  const ReserveOutcome second = harness_.Reserve(other_, space_, Item(1, kSecond));
  const ReserveOutcome first = harness_.Reserve(session_, space_, Item(1, kFirst));
  EXPECT_FALSE(harness_.IsVisible(space_, 1));
  ASSERT_TRUE(harness_.Commit(other_, second.id).ok());
  EXPECT_FALSE(harness_.IsVisible(space_, 1));
  EXPECT_FALSE(harness_.Lease(session_, space_, 1));
  ASSERT_TRUE(harness_.Commit(session_, first.id).ok());
  EXPECT_TRUE(harness_.IsVisible(space_, 1));
  EXPECT_EQ(core_.FindSpace(space_)->stats.stored_chunks, 1u);
}

TEST_F(CoreTest, MatchCountsThePrefixInChunksTokensAndBytes) {
  for (uint64_t key : {1, 2, 4}) ASSERT_TRUE(harness_.Put(session_, space_, key));
  const auto result = core_.Match(space_, Keys({1, 2, 3, 4}), {}, harness_.now);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->chunks, 2u);
  EXPECT_EQ(result->tokens, 8u);
  EXPECT_EQ(result->bytes, 2u * 4 * 2 * 2 * 16);
  const SpaceStats& stats = core_.FindSpace(space_)->stats;
  EXPECT_EQ(stats.hit_chunks, 2u);
  EXPECT_EQ(stats.miss_chunks, 2u);
}

TEST_F(CoreTest, AcquireTellsOnlyTheExtentsThatAreWanted) {
  ASSERT_TRUE(harness_.Put(session_, space_, Item(1, kFirst)));
  ASSERT_TRUE(harness_.Put(session_, space_, Item(1, kSecond, 9000)));
  const auto keys = Keys({1});
  const auto both = core_.Acquire(session_, space_, keys, kMiddle, harness_.now);
  ASSERT_TRUE(both.ok());
  EXPECT_EQ(both->extents.size(), 2u);
  const auto one = core_.Acquire(session_, space_, keys, {3, 4, 1, 2}, harness_.now);
  ASSERT_TRUE(one.ok());
  ASSERT_EQ(one->extents.size(), 1u);
  EXPECT_EQ(one->extents[0].part, kSecond);
  EXPECT_EQ(one->extents[0].bytes, 9000u);
}

TEST_F(CoreTest, ASpaceWithAnotherManifestSeesNothing) {
  ASSERT_TRUE(harness_.Put(session_, space_, 1));
  const SpaceHandle other = harness_.Open(TestSpace("test/other"));
  ASSERT_NE(other, space_);
  EXPECT_FALSE(harness_.IsVisible(other, 1));
  EXPECT_FALSE(harness_.Lease(session_, other, 1));
  EXPECT_EQ(*core_.Remove(other, Keys({1}), RemovalCause::kRemoved), 0u);
  EXPECT_TRUE(harness_.Put(session_, other, 1));
  EXPECT_EQ(*core_.Remove(other, Keys({1}), RemovalCause::kRemoved), 1u);
  EXPECT_TRUE(harness_.IsVisible(space_, 1));
  EXPECT_EQ(harness_.Open(), space_);
}

// --- two writers --------------------------------------------------------------------------------

TEST_F(CoreTest, AStoredPartExistsAndAnotherSplitOverlaps) {
  ASSERT_TRUE(harness_.Put(session_, space_, Item(1, kFirst)));
  EXPECT_EQ(harness_.Reserve(other_, space_, Item(1, kFirst)).kind, Kind::kExists);
  EXPECT_EQ(harness_.Reserve(other_, space_, Item(1, kWhole)).kind, Kind::kOverlaps);
  EXPECT_EQ(harness_.Reserve(other_, space_, Item(1, kMiddle)).kind, Kind::kOverlaps);
  EXPECT_EQ(harness_.Reserve(other_, space_, Item(1, kSecond)).kind, Kind::kGranted);
}

TEST_F(CoreTest, ASecondWriterIsBusyUntilTheFirstGivesUp) {
  const ReserveOutcome first = harness_.Reserve(session_, space_, Item(1));
  EXPECT_EQ(harness_.Reserve(other_, space_, Item(1)).kind, Kind::kBusy);
  EXPECT_EQ(harness_.Reserve(session_, space_, Item(1)).kind, Kind::kBusy);
  ASSERT_TRUE(core_.Abort(session_, first.id).ok());
  EXPECT_EQ(harness_.Reserve(other_, space_, Item(1)).kind, Kind::kGranted);
}

// Both were granted, and two committed parts whose areas added up to the whole made a chunk visible
// that lacked a layer.
TEST_F(CoreTest, ReservationsOfOverlappingPartsAreBusy) {
  ASSERT_EQ(harness_.Reserve(session_, space_, Item(1, kFirst)).kind, Kind::kGranted);
  EXPECT_EQ(harness_.Reserve(other_, space_, Item(1, kMiddle)).kind, Kind::kBusy);
  EXPECT_EQ(harness_.Reserve(other_, space_, Item(1, kWhole)).kind, Kind::kBusy);
  EXPECT_EQ(harness_.Reserve(other_, space_, Item(1, kSecond)).kind, Kind::kGranted);
  EXPECT_EQ(harness_.Reserve(other_, space_, Item(2, kMiddle)).kind, Kind::kGranted);
}

// --- deadlines ----------------------------------------------------------------------------------

TEST_F(CoreTest, ALateWriterKeepsItsExtentAndCannotCommit) {
  const ReserveOutcome late =
      harness_.Reserve(session_, space_, Item(1), {.deadline = absl::Seconds(1)});
  Wait(absl::Seconds(1));
  core_.Tick(harness_.now);
  EXPECT_EQ(core_.Stats().void_reservations, 1u);
  EXPECT_EQ(core_.Stats().expired_reservations, 1u);
  const ReserveOutcome next = harness_.Reserve(other_, space_, Item(1));
  ASSERT_EQ(next.kind, Kind::kGranted);  // no longer busy,
  EXPECT_NE(next.offset, late.offset);   // but somewhere else: the late one may still write
  EXPECT_EQ(UsedBytes(), 8192u);
  EXPECT_TRUE(absl::IsDeadlineExceeded(harness_.Commit(session_, late.id)));
  EXPECT_EQ(UsedBytes(), 4096u);
  EXPECT_TRUE(harness_.Commit(other_, next.id).ok());
  EXPECT_TRUE(harness_.IsVisible(space_, 1));
}

TEST_F(CoreTest, ACommitAfterTheDeadlineIsRefusedEvenBeforeTheTick) {
  const ReserveOutcome late =
      harness_.Reserve(session_, space_, Item(1), {.deadline = absl::Seconds(1)});
  Wait(absl::Seconds(1));
  EXPECT_TRUE(absl::IsDeadlineExceeded(harness_.Commit(session_, late.id)));
  EXPECT_EQ(UsedBytes(), 0u);
  core_.Tick(harness_.now);
  EXPECT_EQ(core_.Stats().void_reservations, 0u);
}

TEST_F(CoreTest, VoidExtentsAreFreedByAbortAndByTheSessionsEnd) {
  const ReserveOutcome aborted = harness_.Reserve(session_, space_, Item(1));
  harness_.Reserve(session_, space_, Item(2));
  Wait(absl::Minutes(2));  // longer than any reservation may last
  core_.Tick(harness_.now);
  EXPECT_EQ(UsedBytes(), 8192u);
  ASSERT_TRUE(core_.Abort(session_, aborted.id).ok());
  EXPECT_EQ(UsedBytes(), 4096u);
  core_.CloseSession(session_);
  core_.CloseSession(other_);
  EXPECT_TRUE(harness_.IsPristine());
}

TEST_F(CoreTest, DeadlinesAndTimesToLiveMustBePositive) {
  const ReserveItem item = Item(1);
  for (const ReserveOptions& options : {ReserveOptions{.deadline = absl::ZeroDuration()},
                                        ReserveOptions{.ttl = -absl::Seconds(1)}}) {
    const auto refused = core_.Reserve(session_, space_, {&item, 1}, options, harness_.now);
    EXPECT_THAT(refused.status().message(), HasSubstr("must be positive"));
  }
  EXPECT_TRUE(harness_.Put(session_, space_, 1, 0, 0, {.ttl = absl::Hours(24 * 365 * 10'000)}));
  EXPECT_FALSE(core_.Inspect(space_, Key(1))->expiry);
}

// --- eviction -----------------------------------------------------------------------------------

TEST_F(CoreTest, TheLeastRecentlyUsedGoesFirst) {
  for (uint64_t key : {1, 2, 3}) ASSERT_TRUE(harness_.Put(session_, space_, key));
  Fill(100);
  ASSERT_TRUE(core_.Match(space_, Keys({1}), {.touch = true}, harness_.now).ok());
  ASSERT_TRUE(harness_.Put(session_, space_, 50));
  EXPECT_TRUE(harness_.IsVisible(space_, 1));
  EXPECT_FALSE(harness_.IsVisible(space_, 2));
  EXPECT_TRUE(harness_.IsVisible(space_, 3));
  EXPECT_EQ(core_.Stats().removed_chunks[0], 1u);
}

TEST_F(CoreTest, OfAPrefixTheDeepestChunkGoesFirst) {
  std::vector<ReserveItem> items{Item(1), Item(2), Item(3)};
  for (uint32_t i = 1; i < 3; ++i) {
    items[i].parent = items[i - 1].key;
    items[i].depth = i;
  }
  const auto outcomes = core_.Reserve(session_, space_, items, {}, harness_.now);
  ASSERT_TRUE(outcomes.ok());
  std::vector<ReservationId> ids;
  for (const ReserveOutcome& outcome : *outcomes) ids.push_back(outcome.id);
  for (const absl::Status& status : core_.Commit(session_, ids, harness_.now)) {
    ASSERT_TRUE(status.ok());
  }
  harness_.now = harness_.now + absl::Seconds(1);
  Fill(100);
  for (uint64_t left : {2, 1, 0}) {
    ASSERT_TRUE(harness_.Put(session_, space_, 200 + left));
    EXPECT_EQ(core_.Match(space_, Keys({1, 2, 3}), {}, harness_.now)->chunks, left);
  }
}

TEST_F(CoreTest, PinnedAndLeasedChunksStay) {
  ASSERT_TRUE(harness_.Put(session_, space_, 1, 0, 0, {.pin = true}));
  ASSERT_TRUE(harness_.Put(session_, space_, 2));
  const LeaseId lease = harness_.Lease(session_, space_, 2);
  ASSERT_TRUE(lease);
  const uint64_t others = Fill(100);
  for (uint64_t i = 0; i < 2 * others; ++i) ASSERT_TRUE(harness_.Put(session_, space_, 500 + i));
  EXPECT_TRUE(harness_.IsVisible(space_, 1));
  EXPECT_TRUE(harness_.IsVisible(space_, 2));
  ASSERT_TRUE(core_.Release(session_, lease).ok());
  ASSERT_TRUE(core_.SetPinned(space_, Keys({1}), false).ok());
  for (uint64_t i = 0; i < 2; ++i) ASSERT_TRUE(harness_.Put(session_, space_, 900 + i));
  EXPECT_FALSE(harness_.IsVisible(space_, 1));
  EXPECT_FALSE(harness_.IsVisible(space_, 2));
}

TEST_F(CoreTest, WithoutAnyVictimThereIsNoSpace) {
  for (uint64_t key = 1; key <= 16; ++key) {
    ASSERT_EQ(harness_.Reserve(session_, space_, Item(key)).kind, Kind::kGranted);
  }
  EXPECT_EQ(harness_.Reserve(other_, space_, Item(17)).kind, Kind::kNoSpace);
  EXPECT_EQ(core_.Stats().reserve_no_space, 1u);
}

// It evicted everything in the hope of room that could not be there.
TEST_F(CoreTest, AContainerLargerThanTheBackedArenaEvictsNothing) {
  CoreHarness harness(16, {.backed_bytes = 8 * kTestGranuleBytes});
  const SpaceHandle space = harness.Open();
  const SessionId session = harness.OpenSession();
  ASSERT_TRUE(harness.Put(session, space, 1));
  const ReserveItem large = Item(2, kWhole, 12 * kTestGranuleBytes);
  EXPECT_EQ(harness.Reserve(session, space, large).kind, Kind::kNoSpace);
  EXPECT_TRUE(harness.IsVisible(space, 1));
  harness.core().GrowBackedBytes(16 * kTestGranuleBytes);
  EXPECT_EQ(harness.Reserve(session, space, large).kind, Kind::kGranted);
  EXPECT_TRUE(harness.IsVisible(space, 1));
}

// --- removal and leases -------------------------------------------------------------------------

TEST_F(CoreTest, ALeasedChunkKeepsItsBytesAfterItsRemoval) {
  ASSERT_TRUE(harness_.Put(session_, space_, 1));
  const LeaseId first = harness_.Lease(session_, space_, 1);
  const LeaseId second = harness_.Lease(other_, space_, 1);
  ASSERT_EQ(*core_.Remove(space_, Keys({1}), RemovalCause::kRemoved), 1u);
  EXPECT_FALSE(harness_.IsVisible(space_, 1));
  EXPECT_EQ(core_.Stats().chunks, 0u);
  ASSERT_TRUE(harness_.Put(session_, space_, 1));  // a new one, elsewhere
  EXPECT_EQ(UsedBytes(), 8192u);
  ASSERT_TRUE(core_.Release(session_, first).ok());
  EXPECT_EQ(UsedBytes(), 8192u);
  core_.CloseSession(other_);
  EXPECT_EQ(UsedBytes(), 4096u);
  EXPECT_TRUE(absl::IsUnavailable(core_.Release(other_, second)));
  EXPECT_TRUE(harness_.IsVisible(space_, 1));
}

TEST_F(CoreTest, TimeToLiveEndsWithoutAndWithATick) {
  ASSERT_TRUE(harness_.Put(session_, space_, 1, 0, 0, {.ttl = absl::Seconds(10)}));
  Wait(absl::Seconds(9));
  EXPECT_TRUE(harness_.IsVisible(space_, 1));
  const LeaseId lease = harness_.Lease(session_, space_, 1);
  Wait(absl::Seconds(1));
  EXPECT_FALSE(harness_.IsVisible(space_, 1));
  EXPECT_EQ(core_.Stats().chunks, 1u);
  core_.Tick(harness_.now);
  EXPECT_EQ(core_.Stats().chunks, 0u);
  EXPECT_EQ(UsedBytes(), 4096u);  // until the reader has finished
  ASSERT_TRUE(core_.Release(session_, lease).ok());
  EXPECT_EQ(UsedBytes(), 0u);
}

TEST_F(CoreTest, AnExpiredChunkCanBePutAgainAtOnce) {
  ASSERT_TRUE(harness_.Put(session_, space_, 1, 0, 0, {.ttl = absl::Seconds(1)}));
  Wait(absl::Seconds(1));
  EXPECT_TRUE(harness_.Put(session_, space_, 1));
  EXPECT_TRUE(harness_.IsVisible(space_, 1));
  EXPECT_EQ(core_.Stats().removed_chunks[static_cast<size_t>(RemovalCause::kExpired)], 1u);
}

// The new part joined the dead chunk and went with it at the next tick.
TEST_F(CoreTest, APartCommittedAfterItsChunkExpiredStartsANewChunk) {
  ASSERT_TRUE(harness_.Put(session_, space_, Item(1, kFirst), {.ttl = absl::Seconds(1)}));
  const ReserveOutcome second = harness_.Reserve(session_, space_, Item(1, kSecond));
  Wait(absl::Seconds(2));
  ASSERT_TRUE(harness_.Commit(session_, second.id).ok());
  core_.Tick(harness_.now);
  ASSERT_TRUE(harness_.Put(session_, space_, Item(1, kFirst)));
  EXPECT_TRUE(harness_.IsVisible(space_, 1));
}

TEST_F(CoreTest, PinsTakeNoMoreThanTheirShare) {
  for (uint64_t key = 1; key <= 9; ++key) ASSERT_TRUE(harness_.Put(session_, space_, key));
  const auto pinned = core_.SetPinned(space_, Keys({1, 2, 3, 4, 5, 6, 7, 8, 9}), true);
  EXPECT_TRUE(absl::IsResourceExhausted(pinned.status()));
  EXPECT_THAT(pinned.status().message(), HasSubstr("after 8 chunks"));
  EXPECT_EQ(core_.Stats().pinned_bytes, 8 * kTestGranuleBytes);
  ASSERT_TRUE(harness_.Put(session_, space_, 10, 0, 0, {.pin = true}));  // stored all the same
  EXPECT_FALSE(core_.Inspect(space_, Key(10))->pinned);
  ASSERT_EQ(*core_.Remove(space_, Keys({1}), RemovalCause::kRemoved), 1u);
  EXPECT_EQ(core_.Stats().pinned_bytes, 7 * kTestGranuleBytes);
}

TEST_F(CoreTest, ClearAndListGoInBoundedSteps) {
  constexpr uint64_t kChunks = 5000;
  CoreHarness harness(kChunks);
  const SessionId session = harness.OpenSession();
  const SpaceHandle first = harness.Open(), second = harness.Open(TestSpace("test/second"));
  for (uint64_t key = 1; key <= kChunks; ++key) {
    ASSERT_TRUE(harness.Put(session, key % 2 == 0 ? first : second, key));
  }
  std::set<KeyHash> listed;
  int pages = 0;
  for (std::optional<ChunkIndex> at = 0; at; ++pages) {
    std::vector<ChunkInfo> page;
    at = harness.core().ListStep(first, *at, 100, &page);
    EXPECT_LE(page.size(), 100u);
    for (const ChunkInfo& info : page) EXPECT_TRUE(listed.insert(info.key).second);
  }
  EXPECT_EQ(listed.size(), kChunks / 2);
  EXPECT_GE(pages, 25);
  uint64_t removed = 0;
  std::optional<ChunkIndex> at = harness.core().ClearStep(first, 0, &removed);
  ASSERT_TRUE(at) << "one step looked at everything";
  while (at) at = harness.core().ClearStep(first, *at, &removed);
  EXPECT_EQ(removed, kChunks / 2);
  EXPECT_EQ(harness.core().Stats().chunks, kChunks / 2);
  EXPECT_FALSE(harness.core().ClearStep(first, 0xffffffffu, &removed));
  harness.ClearAll();
  harness.core().CloseSession(session);
  EXPECT_TRUE(harness.IsPristine());
}

}  // namespace
}  // namespace larder
