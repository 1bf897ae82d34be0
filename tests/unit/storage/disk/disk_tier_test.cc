#include "storage/disk/disk_tier.h"

#include <set>

#include "gtest/gtest.h"
#include "tests/unit/storage/disk/simulated_devices.h"

namespace larder {
namespace {

constexpr uint32_t kSpace = 3;
constexpr uint32_t kArea = 8;
constexpr uint64_t kSegmentBytes = uint64_t{1} << 20;
constexpr uint64_t kPayloadBytes = 60'000;

KeyHash KeyOf(uint64_t number) { return {number * 0x9e3779b97f4a7c15u, number}; }

DiskRecord RecordOf(uint64_t number, uint64_t payload_bytes = kPayloadBytes) {
  DiskRecord record;
  record.space = {7, 7};
  record.key = KeyOf(number);
  record.layer_end = 4;
  record.head_end = 2;
  record.payload_bytes = payload_bytes;
  return record;
}

class DiskTierTest : public ::testing::Test {
 protected:
  explicit DiskTierTest(const DiskTierOptions& options = {}) : tier_(options, now_) {}

  void AddDevice(uint32_t segments) {
    tier_.AddDevice({.device = {1, 1}, .segment_bytes = kSegmentBytes, .segments = segments}, {});
    tier_.Step(now_);
    Settle();
  }

  // Carries out orders until none comes any more; the reads and writes that have finished.
  std::vector<DiskTier::Finished> Settle() {
    std::vector<DiskTier::Finished> finished;
    for (int rounds = 0; rounds < 1000; ++rounds) {
      const std::vector<DiskResult> results = devices_.CarryOut(tier_, random_);
      if (results.empty()) return finished;
      for (const DiskResult& result : results) {
        if (const auto one = tier_.OnResult(result)) finished.push_back(*one);
        tier_.Step(now_);
      }
    }
    ADD_FAILURE() << "orders without end";
    return finished;
  }

  bool Write(const DiskRecord& record) {
    const DiskTier::Ordered ordered = tier_.Write(kSpace, record, kArea, 0, now_);
    if (ordered.token == 0) return false;
    const auto finished = Settle();
    return finished.size() == 1 && finished[0].token == ordered.token && finished[0].ok;
  }

  bool Holds(uint64_t number) const { return tier_.Find(kSpace, KeyOf(number), 0) != kNoDiskChunk; }

  MonotonicTime now_{1'000'000'000};
  SeededRandom random_{42};
  DiskTier tier_;
  SimulatedDevices devices_;
};

TEST_F(DiskTierTest, AChunkIsThereWhenAllOfItsPartsAre) {
  AddDevice(8);
  DiskRecord first = RecordOf(1), second = RecordOf(1);
  first.layer_end = 2;
  second.layer_begin = 2;
  ASSERT_TRUE(Write(first));
  EXPECT_FALSE(Holds(1));
  ASSERT_TRUE(Write(second));
  EXPECT_TRUE(Holds(1));
  EXPECT_EQ(tier_.PayloadBytes(tier_.Find(kSpace, KeyOf(1), 0)), 2 * kPayloadBytes);
  EXPECT_TRUE(tier_.Remove(kSpace, KeyOf(1)));
  EXPECT_FALSE(Holds(1));
  EXPECT_EQ(tier_.Stats().live_bytes, 0u);
}

TEST_F(DiskTierTest, SpacesAreApart) {
  AddDevice(8);
  ASSERT_TRUE(Write(RecordOf(1)));
  EXPECT_EQ(tier_.Find(kSpace + 1, KeyOf(1), 0), kNoDiskChunk);
}

TEST_F(DiskTierTest, AnExpiredChunkIsAMiss) {
  AddDevice(8);
  DiskRecord record = RecordOf(1);
  record.expiry_unix_ms = 1000;
  ASSERT_TRUE(Write(record));
  EXPECT_NE(tier_.Find(kSpace, KeyOf(1), 999), kNoDiskChunk);
  EXPECT_EQ(tier_.Find(kSpace, KeyOf(1), 1000), kNoDiskChunk);
}

TEST_F(DiskTierTest, AFailedWriteLeavesNothing) {
  AddDevice(8);
  devices_.failures.writes = true;
  EXPECT_FALSE(Write(RecordOf(1)));
  EXPECT_FALSE(Holds(1));
  EXPECT_EQ(tier_.Stats().failed_writes, 1u);
}

TEST_F(DiskTierTest, ACorruptChunkIsForgotten) {
  AddDevice(8);
  ASSERT_TRUE(Write(RecordOf(1)));
  devices_.failures.reads = true;
  const uint64_t token = tier_.Read(tier_.Find(kSpace, KeyOf(1), 0), 0, 0);
  const auto finished = Settle();
  ASSERT_EQ(finished.size(), 1u);
  EXPECT_EQ(finished[0].token, token);
  EXPECT_FALSE(finished[0].ok);
  EXPECT_FALSE(Holds(1));
  EXPECT_EQ(tier_.Stats().corrupt_records, 1u);
  EXPECT_EQ(devices_.forgotten(), 1u);
}

TEST_F(DiskTierTest, OldSegmentsMakeRoomAndUsedChunksStay) {
  AddDevice(8);
  ASSERT_TRUE(Write(RecordOf(1)));
  ASSERT_TRUE(Write(RecordOf(2)));
  for (uint64_t number = 100; number < 400; ++number) {
    tier_.MarkUsed(tier_.Find(kSpace, KeyOf(1), 0));
    ASSERT_TRUE(Write(RecordOf(number)));
  }
  EXPECT_TRUE(Holds(1));
  EXPECT_FALSE(Holds(2));
  EXPECT_TRUE(Holds(399));
  const DiskTierStats stats = tier_.Stats();
  EXPECT_GT(stats.reclaimed_segments, 5u);
  EXPECT_LE(stats.live_bytes, stats.capacity_bytes);
  EXPECT_GT(stats.kept_bytes, 0u);
  EXPECT_EQ(devices_.misplaced(), 0u);
  // Headers and padding of small records, and what was moved.
  EXPECT_LE(static_cast<double>(stats.device_bytes),
            1.25 * static_cast<double>(stats.written_bytes));
}

TEST_F(DiskTierTest, MovingIsBoundedEvenWhenEverythingIsUsed) {
  AddDevice(8);
  for (uint64_t number = 0; number < 1000; ++number) {
    ASSERT_TRUE(Write(RecordOf(number)));
    tier_.MarkUsed(tier_.Find(kSpace, KeyOf(number), 0));
  }
  const DiskTierStats stats = tier_.Stats();
  EXPECT_LE(static_cast<double>(stats.kept_bytes), 0.09 * static_cast<double>(stats.written_bytes));
}

TEST_F(DiskTierTest, TheNewerOfTwoRecordsCounts) {
  tier_.AddDevice({.device = {1, 1}, .segment_bytes = kSegmentBytes, .segments = 8},
                  std::vector<uint64_t>{5, 6});
  DiskRecord older = RecordOf(1), newer = RecordOf(1);
  older.sequence = 10;
  older.generation = 5;
  older.offset = kSegmentsBegin + kDiskBlockBytes;
  newer.sequence = 11;
  newer.segment = 1;
  newer.generation = 6;
  newer.offset = kSegmentsBegin + kSegmentBytes + kDiskBlockBytes;
  tier_.Restore(0, kSpace, newer, kArea);
  tier_.Restore(0, kSpace, older, kArea);
  std::vector<DiskRecord> records;
  tier_.AppendRecords(tier_.Find(kSpace, KeyOf(1), 0), &records);
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].sequence, 11u);
  EXPECT_EQ(tier_.Stats().records, 1u);
}

TEST_F(DiskTierTest, ADeviceOutOfServiceIsAMissAndTheOtherServes) {
  AddDevice(8);
  AddDevice(8);
  for (uint64_t number = 0; number < 40; ++number) ASSERT_TRUE(Write(RecordOf(number)));
  tier_.TakeOutOfService(0);
  uint64_t left = 0;
  for (uint64_t number = 0; number < 40; ++number) left += Holds(number) ? 1 : 0;
  EXPECT_GT(left, 5u);
  EXPECT_LT(left, 35u);
  for (uint64_t number = 0; number < 40; ++number) ASSERT_TRUE(Write(RecordOf(number)));
  for (uint64_t number = 0; number < 40; ++number) EXPECT_TRUE(Holds(number)) << number;
}

TEST_F(DiskTierTest, ASegmentThatCannotBeOpenedIsNotUsed) {
  devices_.failures.openings = true;
  AddDevice(3);
  EXPECT_FALSE(Write(RecordOf(1)));
  EXPECT_EQ(tier_.Stats().broken_segments, 3u);
  const DiskTier::Ordered refused = tier_.Write(kSpace, RecordOf(2), kArea, 0, now_);
  EXPECT_FALSE(refused.for_now);  // It never will.
}

TEST_F(DiskTierTest, ARecordLargerThanASegmentIsRefusedForGood) {
  AddDevice(8);
  const DiskTier::Ordered refused = tier_.Write(kSpace, RecordOf(1, kSegmentBytes), kArea, 0, now_);
  EXPECT_EQ(refused.token, 0u);
  EXPECT_FALSE(refused.for_now);
}

class BudgetTest : public DiskTierTest {
 protected:
  static constexpr uint64_t kBytesPerDay = 86'400'000;  // 1,000 a second
  BudgetTest() : DiskTierTest({.write_bytes_per_day = kBytesPerDay}) {}
};

TEST_F(BudgetTest, WritesStayWithinTheEnduranceBudget) {
  AddDevice(64);
  uint64_t written = 0;
  for (uint64_t number = 0; number < 2000; ++number) {
    now_ = now_ + absl::Seconds(10);
    if (Write(RecordOf(number))) ++written;
  }
  const double bytes = static_cast<double>(written * DiskRecordBytes(kPayloadBytes));
  // 20,000 seconds and one hour that was saved up.
  EXPECT_LE(bytes, 23'600.0 * 1000 + DiskRecordBytes(kPayloadBytes));
  EXPECT_GE(bytes, 20'000.0 * 1000);
  EXPECT_GT(tier_.Stats().refused_budget, 0u);
}

// Group 1 has kSpace, group 2 has kOther; nobody has quotas in the other tests.
class DiskQuotaTest : public DiskTierTest {
 protected:
  static constexpr uint32_t kOther = 4;
  static constexpr uint64_t kRecord = 65'536;  // DiskRecordBytes(kPayloadBytes)

  DiskQuotaTest()
      : DiskTierTest({.groups = {{.guaranteed = 10 * kRecord}, {.ceiling = 3 * kRecord}},
                      .capacity_bytes = 8 * kSegmentBytes}) {
    tier_.SetGroup(kSpace, 1);
    tier_.SetGroup(kOther, 2);
  }
  bool WriteOther(uint64_t number, uint32_t space) {
    const DiskTier::Ordered ordered = tier_.Write(space, RecordOf(number), kArea, 0, now_);
    if (ordered.token == 0) return false;
    (void)Settle();
    return true;
  }
};

TEST_F(DiskQuotaTest, ACeilingIsNotExceeded) {
  ASSERT_EQ(DiskRecordBytes(kPayloadBytes), kRecord);
  AddDevice(8);
  uint64_t written = 0;
  for (uint64_t number = 0; number < 10; ++number) written += WriteOther(number, kOther) ? 1 : 0;
  EXPECT_EQ(written, 3u);
  EXPECT_EQ(tier_.GroupBytes(2), 3 * kRecord);
  EXPECT_EQ(tier_.Stats().refused_ceiling, 7u);
  EXPECT_TRUE(tier_.Remove(kOther, KeyOf(0)));
  EXPECT_TRUE(WriteOther(11, kOther));
}

TEST_F(DiskQuotaTest, ReclaimingKeepsWhatIsGuaranteed) {
  AddDevice(8);
  for (uint64_t number = 0; number < 20; ++number) ASSERT_TRUE(Write(RecordOf(number)));
  uint64_t dropped_of_others = 0;
  for (uint64_t number = 1000; number < 2000; ++number) {
    EXPECT_TRUE(WriteOther(number, /*space=*/9));
    for (const DiskTier::Dropped& dropped : tier_.TakeDropped()) {
      EXPECT_FALSE(dropped.corrupt);
      if (dropped.space == 9) ++dropped_of_others;
    }
  }
  EXPECT_GE(tier_.GroupBytes(1), 9 * kRecord);
  EXPECT_LE(tier_.GroupBytes(1), 10 * kRecord);
  EXPECT_GT(dropped_of_others, 500u) << "who is told what went";
}

// Random operations against what a simple model says.
TEST_F(DiskTierTest, RandomOperationsNeverMisplaceARecord) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    DiskTier tier({.hash_seed = seed}, now_);
    SimulatedDevices devices;
    for (int i = 0; i < 3; ++i) {
      tier.AddDevice({.device = {1, 1}, .segment_bytes = kSegmentBytes, .segments = 6}, {});
    }
    std::set<uint64_t> removed;
    for (int step = 0; step < 1500; ++step) {
      const uint64_t number = random.Below(300);
      const DiskChunkIndex chunk = tier.Find(kSpace, KeyOf(number), 0);
      switch (random.Below(8)) {
        case 0:
        case 1:
        case 2:
          if (tier.Write(kSpace, RecordOf(number, 1 + random.Below(200'000)), kArea, 0, now_)
                  .token != 0) {
            removed.erase(number);
          }
          break;
        case 3:
          if (chunk != kNoDiskChunk) (void)tier.Read(chunk, 0, 0);
          break;
        case 4:
          if (chunk != kNoDiskChunk) tier.MarkUsed(chunk);
          break;
        case 5:
          (void)tier.Remove(kSpace, KeyOf(number));
          break;
        default:
          devices.failures.reads = random.Below(50) == 0;
          devices.failures.writes = random.Below(50) == 0;
          for (const DiskResult& result : devices.CarryOut(tier, random)) {
            (void)tier.OnResult(result);
            if (random.Below(2) == 0) tier.Step(now_);
          }
          tier.Step(now_);
          devices.failures = {};
      }
      ASSERT_EQ(devices.misplaced(), 0u);
      ASSERT_LE(tier.Stats().live_bytes, tier.Stats().capacity_bytes);
    }
    EXPECT_GT(tier.Stats().reclaimed_segments, 0u);
  }
}

}  // namespace
}  // namespace larder
