// What the core refuses: strangers' handles, impossible items, more than its limits.
#include <cstdint>
#include <limits>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/daemon/core_testing.h"

namespace larder {
namespace {

using ::testing::HasSubstr;
using Kind = ReserveOutcome::Kind;

constexpr Part kWhole{0, 4, 0, 2};

ReserveItem Item(uint64_t key, const Part& part = kWhole, uint64_t bytes = 4096) {
  return {.key = Key(key), .parent = {}, .depth = 0, .part = part, .bytes = bytes};
}

class CoreLimitsTest : public testing::Test {
 protected:
  CoreHarness harness_{16};
  Core& core_ = harness_.core();
  SpaceHandle space_ = harness_.Open();
  SessionId session_ = harness_.OpenSession();
  SessionId other_ = harness_.OpenSession();
};

TEST_F(CoreLimitsTest, HandlesBelongToTheirSession) {
  ASSERT_TRUE(harness_.Put(session_, space_, 1));
  const LeaseId lease = harness_.Lease(session_, space_, 1);
  const ReserveOutcome reserved = harness_.Reserve(session_, space_, Item(2));
  EXPECT_TRUE(absl::IsNotFound(core_.Release(other_, lease)));
  EXPECT_TRUE(absl::IsNotFound(core_.Abort(other_, reserved.id)));
  EXPECT_TRUE(absl::IsNotFound(harness_.Commit(other_, reserved.id)));
  EXPECT_EQ(core_.FindReservation(other_, reserved.id), nullptr);
  EXPECT_NE(core_.FindReservation(session_, reserved.id), nullptr);
  EXPECT_TRUE(harness_.Commit(session_, reserved.id).ok());
  EXPECT_TRUE(absl::IsNotFound(harness_.Commit(session_, reserved.id)));
  EXPECT_TRUE(core_.Release(session_, lease).ok());
  EXPECT_TRUE(absl::IsNotFound(core_.Release(session_, lease)));
}

TEST_F(CoreLimitsTest, SpacesThatAreNotThereAreRefusedByEveryCall) {
  const KeyHash key = Key(1);
  const std::span<const KeyHash> keys(&key, 1);
  const ReserveItem item = Item(1);
  constexpr SpaceHandle kNone = 7;
  for (const absl::Status& status :
       {core_.Match(kNone, keys, {.touch = true}, harness_.now).status(),
        core_.Acquire(session_, kNone, keys, kWhole, harness_.now).status(),
        core_.Touch(kNone, keys, harness_.now).status(),
        core_.SetPinned(kNone, keys, true).status(),
        core_.Remove(kNone, keys, RemovalCause::kRemoved).status(),
        core_.Reserve(session_, kNone, {&item, 1}, {}, harness_.now).status()}) {
    EXPECT_TRUE(absl::IsNotFound(status));
    EXPECT_THAT(status.message(), HasSubstr("no space has the handle 7"));
  }
}

TEST_F(CoreLimitsTest, ImpossibleItemsAreRefusedAndNothingIsReserved) {
  const struct {
    ReserveItem item;
    const char* message;
  } kCases[] = {
      {{.key = {}, .parent = {}, .depth = 0, .part = kWhole, .bytes = 4096}, "key hash is zero"},
      {Item(1, {0, 5, 0, 2}), "layer range"},
      {Item(1, {0, 4, 1, 1}), "head range"},
      {Item(1, {3, 2, 0, 2}), "layer range"},
      {Item(1, kWhole, 0), "too short"},
      {Item(1, kWhole, 17 * kTestGranuleBytes), "exceeds the arena"},
      {Item(1, kWhole, std::numeric_limits<uint64_t>::max()), "exceeds the arena"},
  };
  for (const auto& [item, message] : kCases) {
    const ReserveItem items[] = {Item(9), item};
    const auto refused = core_.Reserve(session_, space_, items, {}, harness_.now);
    EXPECT_TRUE(absl::IsInvalidArgument(refused.status()));
    EXPECT_THAT(refused.status().message(), HasSubstr(message));
    EXPECT_EQ(core_.Stats().reservations, 0u);
  }
}

// Looking at all parts of a chunk must stay cheap however a client cuts it.
TEST_F(CoreLimitsTest, PartsHaveALeastSize) {
  SpaceDescription description = TestSpace("test/large", 1024);
  description.manifest.heads = 1024;
  description.manifest.head_dim = description.manifest.tokens_per_chunk = 1;
  const SpaceHandle large = harness_.Open(description);
  const ReserveItem small = Item(1, {0, 1, 0, 1023});
  const auto refused = core_.Reserve(session_, large, {&small, 1}, {}, harness_.now);
  EXPECT_THAT(refused.status().message(), HasSubstr("less than 1/1024"));
  EXPECT_EQ(harness_.Reserve(session_, large, Item(1, {0, 1, 0, 1024})).kind, Kind::kGranted);
}

TEST_F(CoreLimitsTest, SessionsAndSpacesAreCounted) {
  CoreHarness harness(16, {.sessions_max = 2, .spaces_max = 2});
  Core& core = harness.core();
  const SessionId first = harness.OpenSession();
  ASSERT_TRUE(core.OpenSession().ok());
  EXPECT_THAT(core.OpenSession().status().message(), HasSubstr("sessions_max"));
  core.CloseSession(first);
  EXPECT_TRUE(core.OpenSession().ok());
  harness.Open(TestSpace("a"));
  harness.Open(TestSpace("b"));
  EXPECT_TRUE(absl::IsResourceExhausted(core.OpenSpace(TestSpace("c")).status()));
  EXPECT_TRUE(core.OpenSpace(TestSpace("a")).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(core.OpenSpace(TestSpace("")).status()));
}

TEST_F(CoreLimitsTest, LeasesOfASessionAreCounted) {
  CoreHarness harness(16, {.leases_per_session_max = 3, .leased_chunks_per_session_max = 4});
  Core& core = harness.core();
  const SpaceHandle space = harness.Open();
  const SessionId session = harness.OpenSession(), other = harness.OpenSession();
  for (uint64_t key : {1, 2}) ASSERT_TRUE(harness.Put(session, space, key));
  const std::vector<KeyHash> keys = {Key(1), Key(2), Key(1)};
  const auto three = core.Acquire(session, space, keys, kWhole, harness.now);
  ASSERT_TRUE(three.ok());
  const auto refused = core.Acquire(session, space, keys, kWhole, harness.now);
  EXPECT_THAT(refused.status().message(), HasSubstr("leased_chunks_per_session_max"));
  EXPECT_TRUE(core.Acquire(other, space, keys, kWhole, harness.now).ok());
  ASSERT_TRUE(core.Release(session, three->lease).ok());
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(harness.Lease(session, space, 1));
  const KeyHash key = Key(1);
  EXPECT_THAT(core.Acquire(session, space, {&key, 1}, kWhole, harness.now).status().message(),
              HasSubstr("leases_per_session_max"));
  for (SessionId ended : {session, other}) core.CloseSession(ended);
  harness.ClearAll();
  EXPECT_TRUE(harness.IsPristine());
}

TEST_F(CoreLimitsTest, ALookAtAChunkCostsItsSessionNoLeases) {
  CoreHarness harness(16, {.leased_chunks_per_session_max = 2});
  Core& core = harness.core();
  const SpaceHandle space = harness.Open();
  const SessionId session = harness.OpenSession();
  for (uint64_t key : {1, 2}) ASSERT_TRUE(harness.Put(session, space, key));
  const std::vector<KeyHash> keys = {Key(1), Key(2)};
  const auto looked = core.AcquireUncounted(session, space, Key(1));
  ASSERT_TRUE(looked.ok()) << looked.status();
  EXPECT_FALSE(core.Acquire(session, space, keys, kWhole, harness.now).ok());
  ASSERT_TRUE(core.Release(session, looked->lease).ok());
  const auto both = core.Acquire(session, space, keys, kWhole, harness.now);
  ASSERT_TRUE(both.ok()) << both.status();
  EXPECT_FALSE(core.Acquire(session, space, keys, kWhole, harness.now).ok());
}

TEST_F(CoreLimitsTest, ReservationsOfASessionAreCounted) {
  CoreHarness harness(16, {.reservations_per_session_max = 2});
  const SpaceHandle space = harness.Open();
  const SessionId session = harness.OpenSession();
  const std::vector<ReserveItem> items = {Item(1), Item(2), Item(3)};
  const auto refused = harness.core().Reserve(session, space, items, {}, harness.now);
  EXPECT_THAT(refused.status().message(), HasSubstr("reservations_per_session_max"));
  EXPECT_TRUE(
      harness.core().Reserve(session, space, std::span(items).first(2), {}, harness.now).ok());
  EXPECT_FALSE(
      harness.core().Reserve(session, space, std::span(items).last(1), {}, harness.now).ok());
}

TEST_F(CoreLimitsTest, ARevokedSessionLosesItsLeasesAndKeepsItsExtents) {
  ASSERT_TRUE(harness_.Put(session_, space_, 1));
  const LeaseId lease = harness_.Lease(session_, space_, 1);
  const ReserveOutcome reserved = harness_.Reserve(session_, space_, Item(2));
  core_.RevokeSession(session_);
  core_.RevokeSession(session_);
  EXPECT_EQ(core_.Stats().leases, 0u);
  EXPECT_EQ(core_.Stats().void_reservations, 1u);
  EXPECT_EQ(core_.Stats().used_bytes, 8192u);
  EXPECT_TRUE(absl::IsUnavailable(core_.Release(session_, lease)));
  const KeyHash key = Key(1);
  EXPECT_TRUE(absl::IsUnavailable(
      core_.Acquire(session_, space_, {&key, 1}, kWhole, harness_.now).status()));
  const ReserveItem item = Item(3);
  EXPECT_TRUE(
      absl::IsUnavailable(core_.Reserve(session_, space_, {&item, 1}, {}, harness_.now).status()));
  EXPECT_EQ(harness_.Reserve(other_, space_, Item(2)).kind, Kind::kGranted);
  EXPECT_EQ(core_.Stats().used_bytes, 12288u);
  core_.CloseSession(session_);
  EXPECT_EQ(core_.Stats().used_bytes, 8192u);
  EXPECT_TRUE(absl::IsNotFound(harness_.Commit(session_, reserved.id)));
}

TEST_F(CoreLimitsTest, WhileDrainingReadsGoOnAndReservationsEnd) {
  ASSERT_TRUE(harness_.Put(session_, space_, 1));
  const ReserveOutcome reserved = harness_.Reserve(session_, space_, Item(2));
  core_.StartDraining();
  EXPECT_TRUE(harness_.IsVisible(space_, 1));
  EXPECT_TRUE(harness_.Lease(session_, space_, 1));
  const ReserveItem item = Item(3);
  const auto refused = core_.Reserve(session_, space_, {&item, 1}, {}, harness_.now);
  EXPECT_TRUE(absl::IsUnavailable(refused.status()));
  EXPECT_THAT(refused.status().message(), HasSubstr("draining"));
  EXPECT_TRUE(harness_.Commit(session_, reserved.id).ok());
  EXPECT_TRUE(harness_.IsVisible(space_, 2));
}

TEST_F(CoreLimitsTest, ClosingASessionThatIsNotThereDoesNothing) {
  core_.CloseSession(SessionId{12345});
  core_.RevokeSession(SessionId{12345});
  EXPECT_EQ(core_.Stats().sessions, 2u);
}

// Every chunk of a long prefix but the last is passed over in the search for a victim.
TEST(CoreLongPrefixTest, APrefixThatFillsTheArenaGoesOn) {
  constexpr uint64_t kGranules = 10'000;
  CoreHarness harness(kGranules);
  const SpaceHandle space = harness.Open();
  const SessionId session = harness.OpenSession();
  for (uint64_t key = 1; key <= kGranules + 10; ++key) {
    ASSERT_TRUE(harness.Put(session, space, key, key - 1, static_cast<uint32_t>(key))) << key;
  }
}

}  // namespace
}  // namespace larder
