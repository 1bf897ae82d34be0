// The core with a disk tier whose devices are simulated.
#include <set>

#include "gtest/gtest.h"
#include "tests/unit/daemon/core_testing.h"
#include "tests/unit/storage/disk/simulated_devices.h"

namespace larder {
namespace {

constexpr uint64_t kGranules = 64;

class CoreDiskTest : public ::testing::Test {
 protected:
  explicit CoreDiskTest(CoreOptions options = {.disk_ready_fraction = 0.25})
      : harness_(kGranules, options), space_(harness_.Open()), session_(harness_.OpenSession()) {
    AttachDisk(/*segments=*/16);
  }

  Core& core() { return harness_.core(); }

  void AttachDisk(uint32_t segments) {
    auto tier = std::make_unique<DiskTier>(DiskTierOptions{}, harness_.now);
    tier_ = tier.get();
    tier_->AddDevice({.device = {1, 1}, .segment_bytes = uint64_t{1} << 17, .segments = segments},
                     {});
    core().AttachDisk(std::move(tier));
    core().Tick(harness_.now);
    Settle();
  }

  // Lets the devices do all that was ordered, and all that follows from it.
  void Settle() {
    for (int rounds = 0; rounds < 1000; ++rounds) {
      const std::vector<DiskResult> results = devices_.CarryOut(*tier_, random_);
      if (results.empty()) return;
      for (const DiskResult& result : results) core().OnDiskResult(result, harness_.now);
    }
    ADD_FAILURE() << "orders without end";
  }

  void PutMany(uint64_t first, uint64_t count) {
    for (uint64_t key = first; key < first + count; ++key) {
      ASSERT_TRUE(harness_.Put(session_, space_, key));
      Settle();
    }
  }

  uint32_t InMemory(uint64_t key) {
    const KeyHash hash = Key(key);
    return core().Match(space_, {&hash, 1}, {}, harness_.now)->memory_chunks;
  }
  bool OnDisk(uint64_t key) {
    return core().Inspect(space_, Key(key)).value_or(ChunkInfo{}).on_disk;
  }

  Core::LoadResult Load(uint64_t key) {
    const KeyHash hash = Key(key);
    return core().Load(space_, {&hash, 1}, /*local_only=*/false, harness_.now);
  }

  bool Remove(uint64_t key) {
    const KeyHash hash = Key(key);
    return *core().Remove(space_, {&hash, 1}, RemovalCause::kRemoved) == 1;
  }

  CoreHarness harness_;
  SpaceHandle space_;
  SessionId session_;
  DiskTier* tier_ = nullptr;
  SimulatedDevices devices_;
  SeededRandom random_{7};
};

TEST_F(CoreDiskTest, WhatLeavesMemoryIsStillThere) {
  PutMany(1, 3 * kGranules);
  for (uint64_t key = 1; key <= 3 * kGranules; ++key) {
    EXPECT_TRUE(harness_.IsVisible(space_, key)) << key;
  }
  EXPECT_EQ(InMemory(1), 0u);
  EXPECT_EQ(InMemory(3 * kGranules), 1u);
  EXPECT_EQ(core().Stats().dropped_before_demotion, 0u);
  EXPECT_GT(core().Stats().removed_chunks[static_cast<size_t>(RemovalCause::kDemoted)], kGranules);
}

TEST_F(CoreDiskTest, ALoadedChunkCanBeLeased) {
  PutMany(1, 2 * kGranules);
  ASSERT_EQ(InMemory(1), 0u);
  const Core::LoadResult load = Load(1);
  EXPECT_EQ(load.in_memory, 0u);
  EXPECT_EQ(load.coming, 1u);
  const uint64_t ended = core().loads_ended();
  Settle();
  EXPECT_EQ(core().loads_ended(), ended + 1);
  EXPECT_EQ(InMemory(1), 1u);
  EXPECT_TRUE(harness_.Lease(session_, space_, 1));
  EXPECT_TRUE(OnDisk(1));  // It is in both.
}

TEST_F(CoreDiskTest, ConcurrentReadersShareOneLoad) {
  PutMany(1, 2 * kGranules);
  EXPECT_EQ(Load(1).coming, 1u);
  EXPECT_EQ(Load(1).coming, 1u);
  const std::vector<DiskOrder> orders = core().TakeDiskOrders();
  size_t reads = 0;
  for (const DiskOrder& order : orders) reads += order.command.kind == DiskCommand::Kind::kRead;
  EXPECT_EQ(reads, 1u);
}

TEST_F(CoreDiskTest, AChunkThatIsDamagedOnDiskIsAMiss) {
  PutMany(1, 2 * kGranules);
  devices_.failures.reads = true;
  EXPECT_EQ(Load(1).coming, 1u);
  Settle();
  EXPECT_FALSE(harness_.IsVisible(space_, 1));
  EXPECT_EQ(Load(1).coming, 0u);
  EXPECT_EQ(core().Stats().disk_loads_failed, 1u);
  // It can be put again.
  EXPECT_TRUE(harness_.Put(session_, space_, 1));
}

TEST_F(CoreDiskTest, ADiskSlowerThanPutsNeverHoldsThemUp) {
  for (uint64_t key = 1; key <= 10 * kGranules; ++key) {
    ASSERT_TRUE(harness_.Put(session_, space_, key)) << key;
  }
  EXPECT_GT(core().Stats().dropped_before_demotion, 0u);
  Settle();
  EXPECT_EQ(core().Stats().demoting_bytes, 0u);
}

TEST_F(CoreDiskTest, WhatIsRemovedWhileItIsWrittenStaysRemoved) {
  for (uint64_t key = 1; key <= kGranules; ++key) ASSERT_TRUE(harness_.Put(session_, space_, key));
  ASSERT_GT(core().Stats().demoting_bytes, 0u);
  for (uint64_t key = 1; key <= kGranules; ++key) EXPECT_TRUE(Remove(key));
  Settle();
  for (uint64_t key = 1; key <= kGranules; ++key) EXPECT_FALSE(harness_.IsVisible(space_, key));
  core().CloseSession(session_);
  EXPECT_TRUE(harness_.IsPristine());
  EXPECT_EQ(tier_->Stats().chunks, 0u);
}

TEST_F(CoreDiskTest, WhatIsRemovedWhileItIsLoadedStaysRemoved) {
  PutMany(1, 2 * kGranules);
  ASSERT_EQ(Load(1).coming, 1u);
  EXPECT_TRUE(Remove(1));
  Settle();
  EXPECT_FALSE(harness_.IsVisible(space_, 1));
  EXPECT_EQ(core().Stats().loading_bytes, 0u);
}

TEST_F(CoreDiskTest, APutOfWhatIsOnDiskIsDoneAlready) {
  PutMany(1, 2 * kGranules);
  ASSERT_EQ(InMemory(1), 0u);
  const ReserveItem item{
      .key = Key(1), .parent = {}, .part = harness_.Whole(space_), .bytes = kTestGranuleBytes};
  EXPECT_EQ(harness_.Reserve(session_, space_, item).kind, ReserveOutcome::Kind::kExists);
}

TEST_F(CoreDiskTest, ADeviceThatFailsCostsMissesOnly) {
  PutMany(1, 2 * kGranules);
  ASSERT_EQ(Load(1).coming, 1u);
  core().OnDeviceOutOfService(0);
  EXPECT_FALSE(harness_.IsVisible(space_, 1));
  EXPECT_TRUE(harness_.IsVisible(space_, 2 * kGranules));
  Settle();
  EXPECT_TRUE(harness_.Put(session_, space_, 1000));
}

TEST_F(CoreDiskTest, ARestartFindsWhatIsOnDisk) {
  PutMany(1, 2 * kGranules);
  std::vector<DiskRecord> records;
  for (DiskChunkIndex i = 0; i < tier_->end_index(); ++i) {
    if (tier_->ListAt(i)) tier_->AppendRecords(i, &records);
  }
  ASSERT_FALSE(records.empty());
  const auto next = harness_.AfterKill();
  auto tier = std::make_unique<DiskTier>(DiskTierOptions{}, next->now);
  tier->AddDevice({.device = {1, 1}, .segment_bytes = uint64_t{1} << 17, .segments = 16},
                  std::vector<uint64_t>(16, 1));
  next->core().AttachDisk(std::move(tier));
  DiskRecord stranger = records[0];
  stranger.space = {9, 9};
  next->core().RestoreDiskRecord(0, stranger);
  for (const DiskRecord& record : records) next->core().RestoreDiskRecord(0, record);
  for (uint64_t key = 1; key <= 2 * kGranules; ++key) {
    EXPECT_TRUE(next->IsVisible(space_, key)) << key;
  }
  EXPECT_EQ(next->core().disk()->Stats().records, records.size());
}

TEST_F(CoreDiskTest, ARestartOpensNoSegmentThatHoldsSomething) {
  PutMany(1, 2 * kGranules);
  std::vector<DiskRecord> records;
  for (DiskChunkIndex i = 0; i < tier_->end_index(); ++i) {
    if (tier_->ListAt(i)) tier_->AppendRecords(i, &records);
  }
  std::set<uint32_t> occupied;
  for (const DiskRecord& record : records) occupied.insert(record.segment);
  ASSERT_TRUE(occupied.contains(0));
  constexpr uint64_t kHighestGeneration = 1000;
  const auto next = harness_.AfterKill();
  auto tier = std::make_unique<DiskTier>(DiskTierOptions{}, next->now);
  tier->AddDevice({.device = {1, 1}, .segment_bytes = uint64_t{1} << 17, .segments = 16},
                  std::vector<uint64_t>(16, 1), kHighestGeneration);
  next->core().AttachDisk(std::move(tier));
  for (const DiskRecord& record : records) next->core().RestoreDiskRecord(0, record);
  next->core().Tick(next->now);
  const std::vector<DiskOrder> orders = next->core().TakeDiskOrders();
  ASSERT_EQ(orders.size(), 1u);
  EXPECT_EQ(orders[0].command.kind, DiskCommand::Kind::kOpenSegment);
  EXPECT_FALSE(occupied.contains(orders[0].command.record.segment));
  EXPECT_GT(orders[0].command.record.generation, kHighestGeneration);
}

TEST(CoreReadOnlyDiskTest, OrdersNothing) {
  CoreHarness harness(kGranules, {.disk_mode = DiskMode::kReadOnly, .disk_ready_fraction = 0.25});
  auto tier = std::make_unique<DiskTier>(DiskTierOptions{}, harness.now);
  tier->AddDevice({.device = {1, 1}, .segment_bytes = uint64_t{1} << 17, .segments = 1}, {});
  harness.core().AttachDisk(std::move(tier));
  const SpaceHandle space = harness.Open();
  const SessionId session = harness.OpenSession();
  for (uint64_t key = 1; key <= 2 * kGranules; ++key) {
    ASSERT_TRUE(harness.Put(session, space, key));
    harness.core().Tick(harness.now);
  }
  EXPECT_TRUE(harness.core().TakeDiskOrders().empty());
}

TEST_F(CoreDiskTest, ListsAndClearsBothTiers) {
  PutMany(1, 2 * kGranules);
  std::set<KeyHash> listed;
  std::optional<ChunkIndex> cursor = 0;
  while (cursor) {
    std::vector<ChunkInfo> infos;
    cursor = core().ListStep(space_, *cursor, 10, &infos);
    for (const ChunkInfo& info : infos) EXPECT_TRUE(listed.insert(info.key).second);
  }
  EXPECT_EQ(listed.size(), 2 * kGranules);
  harness_.ClearAll();
  Settle();
  core().CloseSession(session_);
  EXPECT_TRUE(harness_.IsPristine());
  EXPECT_EQ(tier_->Stats().chunks, 0u);
}

class ReadOnlyDiskTest : public CoreDiskTest {
 protected:
  ReadOnlyDiskTest() : CoreDiskTest({.disk_mode = DiskMode::kReadOnly}) {}
};

TEST_F(ReadOnlyDiskTest, NothingIsWritten) {
  PutMany(1, 2 * kGranules);
  EXPECT_EQ(tier_->Stats().records, 0u);
}

class SecondSightTest : public CoreDiskTest {
 protected:
  SecondSightTest()
      : CoreDiskTest(
            {.disk_admission = DiskAdmissionKind::kSecondSight, .disk_ready_fraction = 0.25}) {}
};

TEST_F(SecondSightTest, OnlyWhatWasUsedOrComesAgainIsWritten) {
  for (uint64_t key = 1; key <= 8; ++key) {
    ASSERT_TRUE(harness_.Put(session_, space_, key));
    if (key % 2 == 0) {
      const KeyHash hash = Key(key);
      ASSERT_EQ(core().Match(space_, {&hash, 1}, {.touch = true}, harness_.now)->chunks, 1u);
    }
  }
  PutMany(100, 2 * kGranules);
  for (uint64_t key = 1; key <= 8; ++key) {
    EXPECT_EQ(harness_.IsVisible(space_, key), key % 2 == 0) << key;
  }
  ASSERT_TRUE(harness_.Put(session_, space_, 1));  // It was refused once.
  PutMany(1000, 2 * kGranules);
  EXPECT_TRUE(harness_.IsVisible(space_, 1));
  EXPECT_GT(core().Stats().refused_admission, kGranules);
}

class ScoreTest : public CoreDiskTest {
 protected:
  ScoreTest()
      : CoreDiskTest({.disk_admission = DiskAdmissionKind::kScore, .disk_ready_fraction = 0.25}) {}
};

TEST_F(ScoreTest, KindsThatNobodyAsksForAgainAreNotWritten) {
  constexpr uint64_t kCount = 1500, kShallow = 10'000, kDeep = 20'000;
  for (uint64_t i = 0; i < kCount; ++i) {
    ASSERT_TRUE(harness_.Put(session_, space_, kShallow + i));
    ASSERT_TRUE(harness_.Put(session_, space_, kDeep + i, 0, /*depth=*/5));
    Settle();
    if (i < kGranules) continue;
    const KeyHash left = Key(kDeep + i - kGranules);  // memory, but not disk
    (void)core().Match(space_, {&left, 1}, {.touch = true}, harness_.now);
  }
  EXPECT_GT(core().Stats().refused_admission, kCount / 3);
  uint64_t shallow = 0, deep = 0;
  for (uint64_t i = kCount - 200; i < kCount - kGranules; ++i) {
    shallow += OnDisk(kShallow + i) ? 1 : 0;
    deep += OnDisk(kDeep + i) ? 1 : 0;
  }
  EXPECT_GT(deep, 5 * shallow);
  EXPECT_GT(shallow, 0u) << "a few are tried all the same";
}

class WriteThroughTest : public CoreDiskTest {
 protected:
  WriteThroughTest() : CoreDiskTest({.disk_mode = DiskMode::kWriteThrough}) {}
};

TEST_F(WriteThroughTest, WhatFindsNoRoomOnTheWayIsWrittenLater) {
  for (uint64_t key = 1; key <= kGranules / 2; ++key) {
    ASSERT_TRUE(harness_.Put(session_, space_, key));
  }
  EXPECT_LE(core().Stats().demoting_bytes, harness_.data_bytes() / 4 + kTestGranuleBytes);
  Settle();
  for (uint64_t key = 1; key <= kGranules / 2; ++key) EXPECT_TRUE(OnDisk(key)) << key;
}

// A single long prefix has one leaf: that this is being written must not keep its ancestors.
TEST_F(WriteThroughTest, ALongPrefixIsStoredWhileTheDiskIsSlow) {
  for (uint64_t key = 1; key <= 4 * kGranules; ++key) {
    ASSERT_TRUE(harness_.Put(session_, space_, key, key - 1, static_cast<uint32_t>(key))) << key;
    if (key % 24 == 0) Settle();
  }
}

TEST_F(CoreDiskTest, ALongPrefixIsStoredWhileTheDiskIsSlow) {
  for (uint64_t key = 1; key <= 4 * kGranules; ++key) {
    ASSERT_TRUE(harness_.Put(session_, space_, key, key - 1, static_cast<uint32_t>(key))) << key;
    if (key % 24 == 0) Settle();
  }
  EXPECT_GT(core().Stats().demotions, kGranules);
}

TEST_F(WriteThroughTest, AChunkIsOnDiskAsSoonAsItIsStored) {
  PutMany(1, 3);
  EXPECT_TRUE(OnDisk(1));
  EXPECT_EQ(InMemory(1), 1u);
}

// Whatever happens, nothing leaks: at the end every byte, record, lease and load is accounted for.
TEST_F(CoreDiskTest, RandomOperationsLeaveNothingBehind) {
  for (uint64_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    std::vector<LeaseId> leases;
    for (int step = 0; step < 3000; ++step) {
      const uint64_t key = 1 + random.Below(4 * kGranules);
      const uint64_t parent = key > 4 ? key - 4 : 0;
      switch (random.Below(9)) {
        case 0:
        case 1:
        case 2:
          (void)harness_.Put(session_, space_, key, parent, static_cast<uint32_t>(key / 4));
          break;
        case 3:
          (void)Load(key);
          break;
        case 4:
          if (leases.size() < kGranules / 4) {
            if (const LeaseId lease = harness_.Lease(session_, space_, key))
              leases.push_back(lease);
          }
          break;
        case 5:
          if (!leases.empty()) {
            ASSERT_TRUE(core().Release(session_, leases.back()).ok());
            leases.pop_back();
          }
          break;
        case 6:
          if (random.Below(4) == 0) (void)Remove(key);
          break;
        default:
          devices_.failures.reads = random.Below(20) == 0;
          devices_.failures.writes = random.Below(20) == 0;
          for (const DiskResult& result : devices_.CarryOut(*tier_, random)) {
            core().OnDiskResult(result, harness_.now);
          }
          devices_.failures = {};
          core().Tick(harness_.now);
      }
      ASSERT_EQ(devices_.misplaced(), 0u);
    }
    for (const LeaseId lease : leases) ASSERT_TRUE(core().Release(session_, lease).ok());
    Settle();
    harness_.ClearAll();
    Settle();
    const CoreStats stats = core().Stats();
    EXPECT_EQ(stats.used_bytes, 0u);
    EXPECT_EQ(stats.leases, 0u);
    EXPECT_EQ(stats.loading_bytes + stats.demoting_bytes, 0u);
    EXPECT_EQ(harness_.table().used_records(), 0u);
    EXPECT_EQ(tier_->Stats().chunks, 0u);
  }
}

}  // namespace
}  // namespace larder
