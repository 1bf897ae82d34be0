#include "storage/disk/disk_scan.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/storage/arena_testing.h"
#include "tests/unit/storage/handmade_device.h"

namespace larder {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct ScanOutcome {
  std::vector<DiskRecord> good, bad;
  DiskScanCounts counts;
};

ScanOutcome ScanAll(const HandmadeDevice& device, PayloadCheck check = PayloadCheck::kSum) {
  ScanOutcome outcome;
  device.Open()->Scan(
      check,
      [&](const DiskRecord& record, bool payload_ok) {
        (payload_ok ? outcome.good : outcome.bad).push_back(record);
      },
      &outcome.counts);
  return outcome;
}

TEST(DiskScanTest, FindsEveryRecordWithoutAnIndex) {
  HandmadeDevice device;
  const std::vector<DiskRecord> records = FillDevice(device);
  const ScanOutcome outcome = ScanAll(device);
  EXPECT_EQ(outcome.good, records);
  EXPECT_THAT(outcome.bad, IsEmpty());
  EXPECT_EQ(outcome.counts.records, records.size());
  EXPECT_EQ(outcome.counts.payload_bytes, 1u + 4096 + 4097 + 20000 + 100000 + 4095 + 8192);
  EXPECT_EQ(outcome.counts.damaged_headers, 0u);
}

TEST(DiskScanTest, TellsWhatTheDeviceIs) {
  HandmadeDevice device;
  FillDevice(device);
  const auto disk = device.Open();
  EXPECT_EQ(disk->superblock().owner, "node-1");
  EXPECT_EQ(disk->geometry().device, device.geometry().device);
  EXPECT_EQ(disk->geometry().segments, 4u);
  ASSERT_EQ(disk->segments().size(), 2u);
  EXPECT_EQ(disk->segments()[1].segment, 2u);
  EXPECT_EQ(disk->segments()[1].generation, 6u);
  EXPECT_EQ(disk->segments()[1].lifetime_class, 3u);
  EXPECT_EQ(disk->damaged_segments(), 0u);
}

// Writes are not ordered: a power loss may take a record and leave those after it.
TEST(DiskScanTest, GoesOnAfterAHole) {
  HandmadeDevice device;
  device.OpenSegment(1, 9);
  std::vector<DiskRecord> records = {device.Append(1, 5000)};
  device.SkipBlocks(7);
  records.push_back(device.Append(2, 5000));
  device.SkipBlocks(1);
  records.push_back(device.Append(3, 5000));
  EXPECT_EQ(ScanAll(device).good, records);
}

TEST(DiskScanTest, ADamagedHeaderCostsOneRecord) {
  HandmadeDevice device;
  std::vector<DiskRecord> records = FillDevice(device);
  device.FlipBit(records[1].offset + offsetof(RecordHeaderV1, key_low));
  records.erase(records.begin() + 1);
  const ScanOutcome outcome = ScanAll(device);
  EXPECT_EQ(outcome.good, records);
  EXPECT_EQ(outcome.counts.damaged_headers, 1u);
}

TEST(DiskScanTest, ADamagedPayloadIsFoundWhenSummed) {
  HandmadeDevice device;
  const std::vector<DiskRecord> records = FillDevice(device);
  device.FlipBit(records[4].offset + kDiskBlockBytes + 99999);
  EXPECT_EQ(ScanAll(device, PayloadCheck::kSkip).good, records);
  const ScanOutcome outcome = ScanAll(device);
  EXPECT_EQ(outcome.bad, std::vector<DiskRecord>{records[4]});
  EXPECT_EQ(outcome.counts.damaged_payloads, 1u);
  EXPECT_EQ(outcome.good.size(), records.size() - 1);
}

TEST(DiskScanTest, RecordsOfPastGenerationsAreNone) {
  HandmadeDevice device;
  const std::vector<DiskRecord> records = FillDevice(device);
  device.OpenSegment(0, 7);
  const DiskRecord fresh = device.Append(50, 1);
  const ScanOutcome outcome = ScanAll(device);
  ASSERT_EQ(outcome.good.size(), 4u);
  EXPECT_EQ(outcome.good[0], fresh);
  EXPECT_EQ(outcome.good[1], records[4]);
  EXPECT_EQ(outcome.counts.damaged_headers, 0u);
}

TEST(DiskScanTest, ADamagedSegmentHeaderHidesItsRecords) {
  HandmadeDevice device;
  const std::vector<DiskRecord> records = FillDevice(device);
  device.FlipBit(device.geometry().SegmentBegin(0) + offsetof(SegmentHeaderV1, generation));
  EXPECT_EQ(device.Open()->damaged_segments(), 1u);
  EXPECT_EQ(ScanAll(device).good, std::vector<DiskRecord>(records.begin() + 4, records.end()));
}

TEST(DiskScanTest, ATruncatedFileKeepsWhatIsLeft) {
  HandmadeDevice device;
  const std::vector<DiskRecord> records = FillDevice(device);
  // In the payload of record 5, not at a block's end.
  device.Truncate(records[5].offset + kDiskBlockBytes + 700);
  ScanOutcome outcome = ScanAll(device);
  EXPECT_EQ(outcome.good, std::vector<DiskRecord>(records.begin(), records.begin() + 5));
  EXPECT_EQ(outcome.bad, std::vector<DiskRecord>{records[5]});
  // In a segment's header.
  device.Truncate(device.geometry().SegmentBegin(2) + 10);
  outcome = ScanAll(device);
  EXPECT_EQ(outcome.good, std::vector<DiskRecord>(records.begin(), records.begin() + 4));
  device.Truncate(kSegmentsBegin);
  EXPECT_THAT(ScanAll(device).good, IsEmpty());
  device.Truncate(100);
  EXPECT_EQ(OfflineDisk::Open(device.path(), "").status().code(), absl::StatusCode::kDataLoss);
}

// Whatever is damaged, a scan ends, and what it calls good is as it was written.
TEST(DiskScanTest, FindsOnlyTrueRecordsInADamagedDevice) {
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    HandmadeDevice device;
    const std::vector<DiskRecord> records = FillDevice(device);
    for (int flips = 0; flips < 40; ++flips) {
      const bool in_headers = random.Below(2) == 0;
      const uint64_t begin =
          in_headers ? records[random.Below(records.size())].offset : kSegmentsBegin;
      const uint64_t range =
          in_headers ? sizeof(RecordHeaderV1) : device.geometry().end() - kSegmentsBegin;
      device.FlipBit(begin + random.Below(range));
    }
    const ScanOutcome outcome = ScanAll(device);
    for (const DiskRecord& record : outcome.good) {
      EXPECT_THAT(records, ::testing::Contains(record));
    }
  }
}

TEST(DiskScanTest, RefusesWhatIsNoDevice) {
  const ScratchDirectory scratch;
  const auto open = [](const std::string& path, const std::string& metadata = "") {
    const absl::Status status = OfflineDisk::Open(path, metadata).status();
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
    return status.code();
  };
  EXPECT_EQ(open(scratch.path() + "/none"), absl::StatusCode::kNotFound);
  EXPECT_EQ(open(scratch.path()), absl::StatusCode::kNotFound);
  std::ofstream(scratch.path() + "/segments") << std::string(10000, 'x');
  EXPECT_EQ(open(scratch.path() + "/segments"), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(open(scratch.path()), absl::StatusCode::kFailedPrecondition);
  // Nothing was left in the stranger's directory.
  EXPECT_FALSE(std::filesystem::exists(scratch.path() + "/lock"));
  HandmadeDevice device;
  EXPECT_EQ(open(device.path(), scratch.path()), absl::StatusCode::kInvalidArgument);
  device.FlipBit(offsetof(SuperblockV1, segment_bytes));
  EXPECT_EQ(open(device.path()), absl::StatusCode::kDataLoss);
  device.FlipBit(offsetof(SuperblockV1, version));
  EXPECT_EQ(open(device.path()), absl::StatusCode::kFailedPrecondition);
}

TEST(DiskScanTest, RefusesADeviceInUse) {
  HandmadeDevice device;
  const auto first = device.Open();
  const absl::Status status = OfflineDisk::Open(device.path(), "").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr(absl::StrCat("process ", getpid())));
}

}  // namespace
}  // namespace larder
