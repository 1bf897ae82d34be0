#include "daemon/index/index_follower.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "daemon/index/event_log.h"
#include "tests/unit/daemon/index_testing.h"

namespace larder {
namespace {

using Phase = FollowBatch::Phase;
using Taken = IndexFollower::Taken;

constexpr uint64_t kEpoch = 11;

FollowBatch Deltas(uint64_t first, std::vector<ChunkEvent> events, uint64_t epoch = kEpoch) {
  return {.epoch = epoch,
          .phase = Phase::kDeltas,
          .first_sequence = first,
          .next_sequence = first + events.size(),
          .events = std::move(events)};
}

FollowBatch Snapshot(uint64_t part, Phase phase, uint64_t next, std::vector<ChunkEvent> events,
                     uint64_t epoch = kEpoch) {
  return {.epoch = epoch,
          .phase = phase,
          .first_sequence = next,
          .next_sequence = next,
          .part = part,
          .events = std::move(events)};
}

TEST(EventLogTest, EventsAreReadByNumberUntilTheyAreOverwritten) {
  EventLog log(kEpoch, 10);
  std::vector<ChunkEvent> events;
  EXPECT_EQ(log.Read(0, 100, &events), EventLog::ReadResult::kOk);
  EXPECT_TRUE(events.empty());
  EXPECT_EQ(log.Read(1, 100, &events), EventLog::ReadResult::kTooOld);
  for (uint64_t i = 0; i < 25; ++i) log.Append(Held(i));
  EXPECT_EQ(log.first_sequence(), 15u);
  EXPECT_EQ(log.next_sequence(), 25u);
  EXPECT_EQ(log.Read(14, 100, &events), EventLog::ReadResult::kTooOld);
  EXPECT_EQ(log.Read(15, 3, &events), EventLog::ReadResult::kOk);
  EXPECT_EQ(events, (std::vector<ChunkEvent>{Held(15), Held(16), Held(17)}));
  events.clear();
  EXPECT_EQ(log.Read(23, 100, &events), EventLog::ReadResult::kOk);
  EXPECT_EQ(events, (std::vector<ChunkEvent>{Held(23), Held(24)}));
  EXPECT_EQ(log.Read(25, 100, &events), EventLog::ReadResult::kOk);
}

class IndexFollowerTest : public testing::Test {
 protected:
  bool Known(uint64_t key) { return index_->Contains(SpaceOf(0), KeyOf(key)); }
  void Work() {
    while (follower_.Step(1000)) {
    }
  }
  // Takes a batch, working as often as it takes.
  Taken Take(const FollowBatch& batch) {
    Taken taken = follower_.OnBatch(batch);
    if (taken == Taken::kLater) {
      Work();
      taken = follower_.OnBatch(batch);
    }
    return taken;
  }
  void Sync(std::vector<ChunkEvent> events, uint64_t next) {
    EXPECT_EQ(Take(Snapshot(0, Phase::kSnapshotEnd, next, std::move(events))), Taken::kTaken);
  }

  std::unique_ptr<GlobalIndex> index_ = MakeIndex(10'000);
  IndexFollower follower_{index_.get(), 4};
};

TEST_F(IndexFollowerTest, ASnapshotThenDeltas) {
  EXPECT_EQ(follower_.OnStreamOpen(), FollowPosition{});
  EXPECT_EQ(follower_.OnBatch(Snapshot(0, Phase::kSnapshot, 7, {Held(1), Held(2)})), Taken::kTaken);
  EXPECT_FALSE(follower_.stats().in_sync);
  EXPECT_EQ(follower_.OnBatch(Deltas(7, {Gone(1), Held(5)})), Taken::kTaken);
  EXPECT_EQ(follower_.OnBatch(Snapshot(1, Phase::kSnapshot, 9, {Held(3)})), Taken::kTaken);
  EXPECT_EQ(follower_.OnBatch(Snapshot(2, Phase::kSnapshotEnd, 9, {})), Taken::kTaken);
  EXPECT_TRUE(follower_.stats().in_sync);
  EXPECT_EQ(follower_.OnBatch(Deltas(9, {Held(6)})), Taken::kTaken);
  Work();
  EXPECT_FALSE(Known(1));
  for (uint64_t key : {2, 3, 5, 6}) EXPECT_TRUE(Known(key)) << key;
  FollowBatch heartbeat = Deltas(10, {});
  heartbeat.next_sequence = 12;
  EXPECT_EQ(follower_.OnBatch(heartbeat), Taken::kTaken);
  EXPECT_EQ(follower_.stats().lag, 2u);
  EXPECT_FALSE(follower_.stats().in_sync);
  EXPECT_EQ(follower_.OnStreamOpen(), (FollowPosition{kEpoch, 10}));
}

TEST_F(IndexFollowerTest, AGapEndsTheStreamAndItGoesOnWhereItWas) {
  Sync({Held(1)}, 5);
  EXPECT_EQ(follower_.OnBatch(Deltas(6, {Held(2)})), Taken::kResync);
  EXPECT_EQ(follower_.OnBatch(Deltas(4, {Held(2)})), Taken::kResync);
  EXPECT_FALSE(Known(2));
  EXPECT_EQ(follower_.stats().gaps, 2u);
  follower_.OnStreamEnd(/*broken=*/false);
  EXPECT_EQ(follower_.OnStreamOpen(), (FollowPosition{kEpoch, 5}));
  EXPECT_EQ(follower_.OnBatch(Deltas(5, {Held(2)})), Taken::kTaken);
  EXPECT_TRUE(Known(1) && Known(2));
}

TEST_F(IndexFollowerTest, ALostPartOfASnapshotIsNoticed) {
  EXPECT_EQ(Take(Snapshot(0, Phase::kSnapshot, 5, {Held(1)})), Taken::kTaken);
  EXPECT_EQ(Take(Snapshot(2, Phase::kSnapshotEnd, 5, {Held(3)})), Taken::kResync);
  EXPECT_EQ(follower_.OnStreamOpen(), FollowPosition{});
  EXPECT_EQ(Take(Snapshot(1, Phase::kSnapshotEnd, 5, {Held(2)})), Taken::kResync);
  EXPECT_FALSE(follower_.stats().in_sync);
}

TEST_F(IndexFollowerTest, AnotherSnapshotKeepsWhatItNamesVisibleAllTheTime) {
  Sync({Held(1), Held(2)}, 5);
  EXPECT_EQ(Take(Snapshot(0, Phase::kSnapshot, 50, {Held(2)})), Taken::kTaken);
  follower_.Step(1000);  // nothing is forgotten yet
  EXPECT_TRUE(Known(1) && Known(2));
  EXPECT_EQ(Take(Snapshot(1, Phase::kSnapshotEnd, 50, {Held(3)})), Taken::kTaken);
  Work();
  EXPECT_FALSE(Known(1));
  EXPECT_TRUE(Known(2) && Known(3));
  EXPECT_EQ(follower_.stats().snapshots, 2u);
}

TEST_F(IndexFollowerTest, ARemovalThatIsOlderThanTheEventsIsNotHeeded) {
  Sync({Held(1), Held(2), Held(3)}, 5);
  EXPECT_EQ(Take(Deltas(5, {Held(1), Held(2)})), Taken::kTaken);
  follower_.OnRemoval(Gone(1), {.epoch = kEpoch, .sequence = 6});
  EXPECT_TRUE(Known(1));
  follower_.OnRemoval(Gone(1), {.epoch = kEpoch - 1, .sequence = 70});
  EXPECT_TRUE(Known(1));
  follower_.OnRemoval(Gone(1), {.epoch = kEpoch, .sequence = 7});
  EXPECT_FALSE(Known(1));
  // What the node has logged since overrules it.
  follower_.OnRemoval(Gone(2), {.epoch = kEpoch, .sequence = 9});
  EXPECT_FALSE(Known(2));
  EXPECT_EQ(Take(Deltas(7, {Held(9), Held(2)})), Taken::kTaken);
  EXPECT_TRUE(Known(2));
}

TEST_F(IndexFollowerTest, ASnapshotThatBreaksOffBeginsAnew) {
  Sync({Held(1), Held(2)}, 5);
  EXPECT_EQ(Take(Snapshot(0, Phase::kSnapshot, 50, {Held(3)})), Taken::kTaken);
  follower_.OnStreamEnd(/*broken=*/false);
  EXPECT_EQ(follower_.OnStreamOpen(), FollowPosition{});
  EXPECT_TRUE(Known(1));
  // What the first one did not name goes before the second begins.
  EXPECT_EQ(follower_.OnBatch(Snapshot(0, Phase::kSnapshot, 60, {Held(4)})), Taken::kLater);
  EXPECT_TRUE(follower_.has_work());
  EXPECT_EQ(Take(Snapshot(0, Phase::kSnapshot, 60, {Held(4)})), Taken::kTaken);
  EXPECT_EQ(Take(Snapshot(1, Phase::kSnapshotEnd, 60, {})), Taken::kTaken);
  Work();
  EXPECT_TRUE(Known(4));
  EXPECT_FALSE(Known(1) || Known(2) || Known(3));
}

TEST_F(IndexFollowerTest, ARestartedNodeIsHiddenUntilItHasSpoken) {
  Sync({Held(1)}, 5);
  EXPECT_EQ(follower_.OnBatch(Snapshot(0, Phase::kSnapshot, 0, {Held(2)}, kEpoch + 1)),
            Taken::kLater);
  EXPECT_FALSE(Known(1));
  EXPECT_EQ(follower_.OnStreamOpen(), FollowPosition{});
  Work();
  EXPECT_EQ(Take(Snapshot(0, Phase::kSnapshotEnd, 0, {Held(2)}, kEpoch + 1)), Taken::kTaken);
  EXPECT_TRUE(Known(2));
  EXPECT_EQ(follower_.stats().epoch, kEpoch + 1);
  // Deltas of an epoch of which nothing is known.
  EXPECT_EQ(follower_.OnBatch(Deltas(0, {Held(9)}, kEpoch + 2)), Taken::kResync);
  EXPECT_FALSE(Known(2) || Known(9));
}

TEST_F(IndexFollowerTest, NothingIsBelievedOfANodeThatSendsGarbage) {
  Sync({Held(1)}, 5);
  follower_.OnStreamEnd(/*broken=*/true);
  EXPECT_FALSE(Known(1));
  EXPECT_EQ(follower_.OnStreamOpen(), FollowPosition{});
  Work();
  Sync({Held(1)}, 5);
  EXPECT_TRUE(Known(1));
}

TEST_F(IndexFollowerTest, AMemberThatLeftFreesItsSlot) {
  Sync({Held(1)}, 5);
  follower_.Hide();
  EXPECT_FALSE(Known(1));
  Work();
  EXPECT_FALSE(follower_.has_work());
  EXPECT_EQ(index_->NodeStats(4).entries, 0u);
  EXPECT_EQ(index_->stats().entries, 0u);
}

// A node and one that follows it over streams that break anywhere, with a log that is too short at
// times and restarts of the node: when all is quiet, both know the same.
class FollowedNode {
 public:
  explicit FollowedNode(uint64_t seed) : random_(seed) {}

  void Run(int steps) {
    for (int i = 0; i < steps; ++i) {
      for (uint64_t changes = random_.Below(20); changes > 0; --changes) Change();
      if (random_.Below(200) == 0) Restart();
      if (random_.Below(20) == 0) EndStream();
      if (random_.Below(3) != 0) SendOne(/*lose=*/random_.Below(30) == 0);
      if (random_.Below(2) == 0) follower_.Step(50);
    }
    for (int i = 0; !Synced(); ++i) {
      ASSERT_LT(i, 1000);
      SendOne(/*lose=*/false);
      follower_.Step(10'000);
    }
    while (follower_.Step(10'000)) {
    }
    for (uint64_t key = 0; key < kKeys; ++key) {
      ASSERT_EQ(index_->Contains(SpaceOf(0), KeyOf(key)), held_.contains(key)) << key;
    }
  }

 private:
  static constexpr uint64_t kKeys = 300;
  static constexpr size_t kLogCapacity = 120;

  bool Synced() const {
    const IndexFollowerStats stats = follower_.stats();
    return stats.in_sync && stats.epoch == log_->epoch() &&
           stats.next_sequence == log_->next_sequence();
  }
  void Change() {
    const uint64_t key = random_.Below(kKeys);
    const uint8_t tiers = static_cast<uint8_t>(random_.Below(4));
    const ChunkEvent event = tiers == 0 ? Gone(key) : Held(key, tiers);
    held_.erase(key);
    if (tiers != 0) held_.emplace(key, event);
    log_->Append(event);
  }
  void Restart() {
    if (random_.Below(2) == 0) held_.clear();
    log_ = std::make_unique<EventLog>(log_->epoch() + 1, kLogCapacity);
    EndStream();
  }
  void EndStream() {
    if (open_) follower_.OnStreamEnd(/*broken=*/random_.Below(10) == 0);
    open_ = false;
  }

  void Open() {
    const FollowPosition from = follower_.OnStreamOpen();
    open_ = true;
    waiting_.reset();
    walked_ = kKeys;
    std::vector<ChunkEvent> ignored;
    next_ = from.sequence;
    if (from.epoch != log_->epoch() ||
        log_->Read(next_, 0, &ignored) == EventLog::ReadResult::kTooOld) {
      next_ = log_->next_sequence();
      walked_ = 0;
      part_ = 0;
    }
  }

  FollowBatch NextBatch() {
    FollowBatch batch;
    batch.epoch = log_->epoch();
    batch.first_sequence = next_;
    // A snapshot's first part comes before all deltas.
    if (walked_ == 0 || (walked_ < kKeys && random_.Below(2) == 0)) {
      batch.part = part_++;
      batch.phase = Phase::kSnapshot;
      const uint64_t end = std::min(kKeys, walked_ + 1 + random_.Below(100));
      for (auto chunk = held_.lower_bound(walked_); chunk != held_.end() && chunk->first < end;
           ++chunk) {
        batch.events.push_back(chunk->second);
      }
      walked_ = end;
      if (walked_ == kKeys) batch.phase = Phase::kSnapshotEnd;
    } else {
      too_old_ = log_->Read(next_, 50, &batch.events) == EventLog::ReadResult::kTooOld;
      next_ += batch.events.size();
    }
    batch.next_sequence = log_->next_sequence();
    return batch;
  }

  void SendOne(bool lose) {
    if (!open_) Open();
    if (!waiting_) {
      waiting_ = NextBatch();
      if (too_old_) {
        too_old_ = false;
        return EndStream();
      }
    }
    if (lose) return waiting_.reset();
    const Taken taken = follower_.OnBatch(*waiting_);
    if (taken == Taken::kResync) return EndStream();
    if (taken == Taken::kTaken) waiting_.reset();
  }

  SeededRandom random_;
  std::unique_ptr<GlobalIndex> index_ = MakeIndex(10'000);
  IndexFollower follower_{index_.get(), 0};
  std::unique_ptr<EventLog> log_ = std::make_unique<EventLog>(1, kLogCapacity);
  std::map<uint64_t, ChunkEvent> held_;
  bool open_ = false, too_old_ = false;
  uint64_t next_ = 0;
  uint64_t walked_ = 0;
  uint64_t part_ = 0;
  std::optional<FollowBatch> waiting_;
};

TEST(IndexFollowerModelTest, ConvergesWheneverTheFaultsStop) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    FollowedNode(seed).Run(600);
    if (testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace larder
