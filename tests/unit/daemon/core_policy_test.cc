// What the core makes of tenants, hints and worth, and what it says of chunks that are not there.
#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/daemon/core_testing.h"

namespace larder {
namespace {

using ::testing::ElementsAre;
using Kind = ReserveOutcome::Kind;

constexpr uint64_t kGranules = 40;
constexpr uint64_t kGranule = kTestGranuleBytes;

SpaceDescription SpaceOf(const std::string& tenant, const std::string& salt = "") {
  SpaceDescription space = TestSpace();
  space.tenant = tenant;
  space.salt = salt;
  return space;
}

class CorePolicyTest : public testing::Test {
 protected:
  explicit CorePolicyTest(const CoreOptions& options = {}) : harness_(kGranules, options) {}

  Core& core() { return harness_.core(); }
  void Wait(absl::Duration duration) {
    harness_.now = harness_.now + duration;
    core().Tick(harness_.now);
  }
  bool Put(SpaceHandle space, uint64_t key, uint64_t parent = 0, uint32_t depth = 0) {
    harness_.now = harness_.now + absl::Milliseconds(2);
    return harness_.Put(session_, space, key, parent, depth);
  }
  // How many of the keys [first, first + count) were stored.
  uint64_t PutMany(SpaceHandle space, uint64_t first, uint64_t count) {
    uint64_t stored = 0;
    for (uint64_t key = first; key < first + count; ++key) stored += Put(space, key) ? 1 : 0;
    return stored;
  }
  // Whether it was there.
  bool Read(SpaceHandle space, uint64_t key) {
    const LeaseId lease = harness_.Lease(session_, space, key);
    return lease && core().Release(session_, lease).ok();
  }
  uint64_t Resident(SpaceHandle space) { return core().FindSpace(space)->stats.resident_chunks; }
  HintReport Hint(SpaceHandle space, std::initializer_list<uint64_t> numbers, const Hints& hints) {
    std::vector<KeyHash> keys;
    for (uint64_t number : numbers) keys.push_back(Key(number));
    const auto report = core().Hint(space, keys, hints, harness_.now);
    EXPECT_TRUE(report.ok()) << report.status();
    return report.value_or(HintReport{});
  }
  Explanation Explain(SpaceHandle space, uint64_t number) {
    const KeyHash key = Key(number);
    const auto explanations = core().Explain(space, {&key, 1}, harness_.now);
    EXPECT_TRUE(explanations.ok()) << explanations.status();
    return explanations->front();
  }
  AbsenceReason Reason(SpaceHandle space, uint64_t number) {
    const Explanation explanation = Explain(space, number);
    EXPECT_FALSE(explanation.chunk.has_value());
    EXPECT_TRUE(explanation.departure.has_value());
    return static_cast<AbsenceReason>(explanation.departure.value_or(Departure{}).reason);
  }

  CoreHarness harness_;
  SessionId session_ = harness_.OpenSession();
};

// --- tenants ------------------------------------------------------------------------------------

CoreOptions Quotas() {
  CoreOptions options;
  options.tenants = {
      {.tenant = "sure", .memory = {.guaranteed = 10 * kGranule}, .disk = {}},
      {.tenant = "small", .memory = {.guaranteed = 0, .ceiling = 5 * kGranule}, .disk = {}}};
  return options;
}

class TenantsTest : public CorePolicyTest {
 protected:
  TenantsTest() : CorePolicyTest(Quotas()) {}

  SpaceHandle sure_ = harness_.Open(SpaceOf("sure"));
  SpaceHandle small_ = harness_.Open(SpaceOf("small"));
  SpaceHandle anyone_ = harness_.Open(SpaceOf("anyone"));
};

TEST_F(TenantsTest, AFloodTakesNothingThatIsGuaranteed) {
  EXPECT_EQ(PutMany(sure_, 1, 10), 10u);
  EXPECT_EQ(PutMany(anyone_, 1, 500), 500u);
  EXPECT_EQ(Resident(sure_), 10u);
  EXPECT_EQ(Resident(anyone_), kGranules - 10);
}

TEST_F(TenantsTest, WhatIsNotUsedIsLentAndTakenBack) {
  EXPECT_EQ(PutMany(anyone_, 1, 100), 100u);
  EXPECT_EQ(Resident(anyone_), kGranules) << "all of it is lent";
  EXPECT_EQ(PutMany(sure_, 1, 10), 10u);
  EXPECT_EQ(Resident(sure_), 10u);
  EXPECT_EQ(Resident(anyone_), kGranules - 10);
}

TEST_F(TenantsTest, AboveTheGuaranteeSurplusesBecomeEqual) {
  for (uint64_t round = 0; round < 200; ++round) {
    EXPECT_TRUE(Put(sure_, 1 + round));
    EXPECT_TRUE(Put(anyone_, 1 + round));
  }
  EXPECT_EQ(Resident(sure_), 25u);
  EXPECT_EQ(Resident(anyone_), 15u);
}

TEST_F(TenantsTest, AtItsCeilingATenantEvictsItself) {
  EXPECT_EQ(PutMany(small_, 1, 20), 20u);
  EXPECT_EQ(Resident(small_), 5u);
  EXPECT_EQ(core().Stats().free_bytes, (kGranules - 5) * kGranule);
  EXPECT_EQ(Reason(small_, 1), AbsenceReason::kQuota);
  for (uint64_t key = 16; key <= 20; ++key) ASSERT_TRUE(harness_.Lease(session_, small_, key));
  const ReserveOutcome outcome = harness_.Reserve(session_, small_,
                                                  {.key = Key(99),
                                                   .parent = {},
                                                   .depth = 0,
                                                   .part = harness_.Whole(small_),
                                                   .bytes = kGranule});
  EXPECT_EQ(outcome.kind, Kind::kQuota);
  EXPECT_EQ(core().Stats().reserve_over_quota, 1u);
}

TEST_F(TenantsTest, PinsAndHintsAreSharesOfTheTenantsOwn) {
  EXPECT_EQ(PutMany(sure_, 1, 10), 10u);
  std::vector<KeyHash> keys;
  for (uint64_t key = 1; key <= 10; ++key) keys.push_back(Key(key));
  EXPECT_FALSE(core().SetPinned(sure_, keys, true).ok());
  EXPECT_EQ(core().Stats().pinned_bytes, 5 * kGranule) << "half of what is guaranteed";
  const HintReport report = Hint(sure_, {6, 7, 8, 9}, {.keep = absl::Seconds(60)});
  EXPECT_EQ(report.accepted, 2u) << "a quarter of it";
  EXPECT_EQ(report.refused, 2u);
}

TEST_F(TenantsTest, TheirBytesAreCountedThroughARestart) {
  EXPECT_EQ(PutMany(sure_, 1, 7), 7u);
  EXPECT_EQ(PutMany(anyone_, 1, 3), 3u);
  const auto after = harness_.AfterKill();
  const std::vector<CoreStats::Group> groups = after->core().Stats().groups;
  ASSERT_EQ(groups.size(), 3u);
  EXPECT_EQ(groups[0].memory_bytes, 3 * kGranule);
  EXPECT_EQ(groups[1].tenant, "sure");
  EXPECT_EQ(groups[1].memory_bytes, 7 * kGranule);
}

// Random puts, reads, hints and removals by all tenants: nobody is ever above its ceiling, nor
// loses what is guaranteed to another, and all bytes are accounted for in the end.
TEST_F(TenantsTest, QuotasHoldWhateverHappens) {
  SeededRandom random(11);
  const std::vector<SpaceHandle> spaces{sure_, small_, anyone_};
  for (int step = 0; step < 20'000; ++step) {
    const SpaceHandle space = spaces[random.Below(3)];
    const uint64_t key = 1 + random.Below(60);
    const uint64_t sure_before = Resident(sure_);
    const bool by_sure = space == sure_;
    switch (random.Below(8)) {
      case 0:
        (void)Hint(space, {key}, {.keep = absl::Milliseconds(1 + random.Below(1000))});
        break;
      case 1:
        (void)Hint(space, {key}, {.no_next_use = true});
        break;
      case 2:
        (void)Read(space, key);
        break;
      case 3:
        Wait(absl::Milliseconds(random.Below(50)));
        break;
      default:
        (void)Put(space, key, random.Below(2) == 0 ? key - 1 : 0, static_cast<uint32_t>(key));
    }
    ASSERT_LE(Resident(small_), 5u) << "step " << step;
    if (!by_sure && sure_before <= 10) {
      ASSERT_EQ(Resident(sure_), sure_before) << "step " << step;
    }
  }
  std::optional<ChunkIndex> cursor = 0;
  uint64_t removed = 0;
  while (cursor) cursor = core().ClearStep(std::nullopt, *cursor, &removed);
  EXPECT_GT(removed, 0u);
  for (const CoreStats::Group& group : core().Stats().groups) {
    EXPECT_EQ(group.memory_bytes, 0u) << group.tenant;
    EXPECT_EQ(group.kept_bytes, 0u) << group.tenant;
  }
}

// --- hints --------------------------------------------------------------------------------------

class HintsTest : public CorePolicyTest {
 protected:
  SpaceHandle space_ = harness_.Open();
};

TEST_F(HintsTest, ASoftPinKeepsWhatWouldHaveGone) {
  EXPECT_EQ(PutMany(space_, 1, kGranules), kGranules);
  const HintReport report = Hint(space_, {1, 2, 99}, {.keep = absl::Seconds(30)});
  EXPECT_EQ(report.found, 2u);
  EXPECT_EQ(report.accepted, 2u);
  EXPECT_EQ(PutMany(space_, 100, 2 * kGranules), 2 * kGranules);
  EXPECT_TRUE(harness_.IsVisible(space_, 1));
  EXPECT_TRUE(harness_.IsVisible(space_, 2));
  Wait(absl::Seconds(31));
  EXPECT_EQ(PutMany(space_, 300, 2 * kGranules), 2 * kGranules);
  EXPECT_FALSE(harness_.IsVisible(space_, 1)) << "a hint decays";
}

TEST_F(HintsTest, KeepingForLongIsClippedAndForMuchRefused) {
  EXPECT_EQ(PutMany(space_, 1, kGranules), kGranules);
  EXPECT_EQ(Hint(space_, {1}, {.keep = absl::Hours(5)}).clipped, 1u);
  std::vector<KeyHash> keys;
  for (uint64_t key = 1; key <= kGranules; ++key) keys.push_back(Key(key));
  const auto report = core().Hint(space_, keys, {.next_use = absl::Seconds(20)}, harness_.now);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->accepted, kGranules / 4);
  EXPECT_EQ(report->refused, kGranules - kGranules / 4);
  EXPECT_EQ(core().Stats().hints_refused, report->refused);
  EXPECT_EQ(core().Stats().hints_clipped, 1u);
}

// Who keeps all it may and asks for more every second cannot hold others up.
TEST_F(HintsTest, AbuseStarvesNobody) {
  EXPECT_EQ(PutMany(space_, 1, kGranules), kGranules);
  for (uint64_t round = 0; round < 50; ++round) {
    std::vector<KeyHash> keys;
    for (uint64_t key = 1; key <= 1000; ++key) keys.push_back(Key(key));
    ASSERT_TRUE(core().Hint(space_, keys, {.keep = absl::Hours(9)}, harness_.now).ok());
    EXPECT_EQ(PutMany(space_, 2000 + 100 * round, 30), 30u);
    Wait(absl::Seconds(1));
  }
}

TEST_F(HintsTest, TheEndOfASessionSparesWhatOthersShare) {
  ASSERT_TRUE(Put(space_, 1));
  ASSERT_TRUE(Put(space_, 2, 1, 1));
  ASSERT_TRUE(Put(space_, 3, 2, 2));
  ASSERT_TRUE(Put(space_, 13, 2, 2));
  ASSERT_TRUE(Put(space_, 14, 13, 3));
  EXPECT_EQ(PutMany(space_, 100, kGranules - 5), kGranules - 5);
  const HintReport report = Hint(space_, {1, 2, 13, 14}, {.session_end = true});
  EXPECT_EQ(report.accepted, 4u);
  EXPECT_EQ(PutMany(space_, 200, 2), 2u);
  EXPECT_FALSE(harness_.IsVisible(space_, 14));
  EXPECT_FALSE(harness_.IsVisible(space_, 13));
  EXPECT_TRUE(harness_.IsVisible(space_, 3));
  EXPECT_EQ(Explain(space_, 14).departure->standing.rule, StandingRule::kGoesFirst);
}

TEST_F(HintsTest, TimeToLiveAndPinCanBeSaidLater) {
  ASSERT_TRUE(Put(space_, 1));
  ASSERT_TRUE(Put(space_, 2));
  EXPECT_EQ(Hint(space_, {1}, {.ttl = absl::Seconds(5)}).accepted, 1u);
  EXPECT_EQ(Hint(space_, {2}, {.pin = true}).accepted, 1u);
  Wait(absl::Seconds(6));
  EXPECT_EQ(Reason(space_, 1), AbsenceReason::kExpired);
  EXPECT_EQ(PutMany(space_, 100, 3 * kGranules), 3 * kGranules);
  EXPECT_TRUE(harness_.IsVisible(space_, 2));
}

TEST_F(HintsTest, WhatContradictsItselfIsRefusedWithAReason) {
  ASSERT_TRUE(Put(space_, 1));
  const KeyHash key = Key(1);
  const auto hint = [&](const Hints& hints) {
    return core().Hint(space_, {&key, 1}, hints, harness_.now).status();
  };
  EXPECT_TRUE(absl::IsInvalidArgument(hint({.keep = absl::ZeroDuration()})));
  EXPECT_TRUE(absl::IsInvalidArgument(hint({.keep = absl::Seconds(1), .no_next_use = true})));
  EXPECT_TRUE(absl::IsInvalidArgument(hint({.session_end = true, .pin = true})));
  EXPECT_TRUE(absl::IsNotFound(core().Hint(77, {&key, 1}, {}, harness_.now).status()));
}

// --- explanations -------------------------------------------------------------------------------

class ExplainTest : public CorePolicyTest {
 protected:
  SpaceHandle space_ = harness_.Open();
};

TEST_F(ExplainTest, SaysHowEachChunkWent) {
  EXPECT_EQ(PutMany(space_, 1, kGranules), kGranules);
  EXPECT_TRUE(Explain(space_, 1).chunk->visible);
  Wait(absl::Seconds(10));
  ASSERT_TRUE(Put(space_, 100));
  Wait(absl::Seconds(5));
  EXPECT_EQ(Reason(space_, 1), AbsenceReason::kCapacity);
  const Explanation evicted = Explain(space_, 1);
  EXPECT_NEAR(absl::ToDoubleSeconds(evicted.gone_for), 5, 0.1);
  EXPECT_NEAR(evicted.departure->idle / kTicksPerSecond, 10, 0.2);
  EXPECT_EQ(evicted.departure->uses, 1);
  EXPECT_EQ(evicted.departure->standing.rule, StandingRule::kLeastRecent);
  const KeyHash second = Key(2), third = Key(3);
  ASSERT_TRUE(core().Remove(space_, {&second, 1}, RemovalCause::kRemoved).ok());
  EXPECT_EQ(Reason(space_, 2), AbsenceReason::kRemoved);
  ASSERT_TRUE(core().Remove(space_, {&third, 1}, RemovalCause::kCorrupt).ok());
  EXPECT_EQ(Reason(space_, 3), AbsenceReason::kCorrupt);
  EXPECT_FALSE(Explain(space_, 9999).departure.has_value()) << "never stored";
}

TEST_F(ExplainTest, FindsTheKeyInOtherSpaces) {
  const SpaceHandle salted = harness_.Open(SpaceOf("tenant", "salt"));
  const SpaceHandle other = harness_.Open(TestSpace("other/model"));
  ASSERT_TRUE(Put(salted, 1));
  ASSERT_TRUE(Put(other, 1));
  EXPECT_THAT(Explain(space_, 1).elsewhere, ElementsAre(salted, other));
  EXPECT_FALSE(Explain(space_, 1).departure.has_value());
}

TEST_F(ExplainTest, IsBounded) {
  std::vector<KeyHash> keys(Core::kExplainKeysMax + 1, Key(1));
  EXPECT_TRUE(absl::IsResourceExhausted(core().Explain(space_, keys, harness_.now).status()));
  EXPECT_TRUE(absl::IsNotFound(core().Explain(55, {}, harness_.now).status()));
}

// The order wants keys that are spread evenly, as hashes are.
uint64_t Spread(uint64_t number) { return number * 0x9e3779b97f4a7c15; }

// --- worth --------------------------------------------------------------------------------------

// A loop larger than the arena: plain LRU would hit nothing. Once that is learned, newcomers are
// not let in.
class WorthTest : public testing::Test {
 protected:
  static constexpr uint64_t kLoop = 400, kRoom = 300;

  WorthTest() : harness_(kRoom), space_(harness_.Open()), session_(harness_.OpenSession()) {}

  ReserveItem Item(uint64_t number, uint64_t parent = 0, uint32_t depth = 0) {
    return {.key = Key(Spread(number)),
            .parent = parent == 0 ? KeyHash{} : Key(Spread(parent)),
            .depth = depth,
            .part = harness_.Whole(space_),
            .bytes = kGranule};
  }
  void GoRound(uint64_t number) {
    harness_.now = harness_.now + absl::Milliseconds(100);
    if (const LeaseId lease = harness_.Lease(session_, space_, Spread(number))) {
      ++hits_;
      ASSERT_TRUE(harness_.core().Release(session_, lease).ok());
      return;
    }
    const ReserveOutcome outcome = harness_.Reserve(session_, space_, Item(number));
    if (outcome.kind == Kind::kRefused) {
      ++refused_;
    } else {
      ASSERT_TRUE(harness_.Commit(session_, outcome.id).ok());
    }
  }

  CoreHarness harness_;
  SpaceHandle space_;
  SessionId session_;
  uint64_t hits_ = 0, refused_ = 0;
};

TEST_F(WorthTest, WhatIsWorthLessIsRefusedAndSaidSo) {
  constexpr uint64_t kRounds = 60;
  for (uint64_t i = 0; i < kLoop * kRounds; ++i) GoRound(1 + i % kLoop);
  EXPECT_GT(hits_, kLoop * kRounds / 4);
  EXPECT_GT(refused_, kLoop);
  const CoreStats stats = harness_.core().Stats();
  EXPECT_EQ(stats.reserve_refused, refused_);
  EXPECT_TRUE(stats.groups[0].policy.learned_order);

  uint64_t said = 0;
  for (uint64_t number = 1; number <= kLoop; ++number) {
    const KeyHash key = Key(Spread(number));
    const auto explained = harness_.core().Explain(space_, {&key, 1}, harness_.now);
    ASSERT_TRUE(explained.ok());
    const std::optional<Departure>& departure = explained->front().departure;
    if (departure && departure->reason == static_cast<uint8_t>(AbsenceReason::kRefused)) ++said;
  }
  EXPECT_GT(said, 0u);
}

TEST_F(WorthTest, WhatComesAfterARefusedChunkIsRefused) {
  for (uint64_t i = 0; i < kLoop * 60; ++i) GoRound(1 + i % kLoop);
  // As long as the arena: somewhere what would have to go is worth more.
  std::vector<ReserveItem> items;
  for (uint32_t i = 0; i < kRoom; ++i) items.push_back(Item(5000 + i, i == 0 ? 0 : 4999 + i, i));
  const auto outcomes = harness_.core().Reserve(session_, space_, items, {}, harness_.now);
  ASSERT_TRUE(outcomes.ok());
  auto outcome = std::find_if(outcomes->begin(), outcomes->end(),
                              [](const ReserveOutcome& one) { return one.kind == Kind::kRefused; });
  ASSERT_NE(outcome, outcomes->end());
  for (; outcome != outcomes->end(); ++outcome) EXPECT_EQ(outcome->kind, Kind::kRefused);
}

}  // namespace
}  // namespace larder
