#include "storage/disk/disk_repair.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/disk/disk_metadata.h"
#include "tests/unit/storage/disk_testing.h"
#include "tests/unit/storage/handmade_device.h"

namespace larder {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

struct VerifyOutcome {
  DiskVerification verification;
  std::vector<std::pair<DiskRecord, std::string>> problems;
};

VerifyOutcome VerifyAll(const HandmadeDevice& device, PayloadCheck check = PayloadCheck::kSum) {
  VerifyOutcome outcome;
  outcome.verification =
      VerifyDisk(*device.Open(), check, [&](const DiskRecord& record, absl::string_view what) {
        outcome.problems.emplace_back(record, what);
      });
  return outcome;
}

TEST(DiskVerifyTest, AllIsWell) {
  HandmadeDevice device;
  const std::vector<DiskRecord> records = FillDevice(device);
  device.Index(records);
  const auto [verification, problems] = VerifyAll(device);
  EXPECT_TRUE(verification.ok());
  EXPECT_EQ(verification.live_records, records.size());
  EXPECT_EQ(verification.live_payload_bytes, verification.device.payload_bytes);
  EXPECT_EQ(verification.unknown_records, 0u);
  EXPECT_THAT(problems, IsEmpty());
}

TEST(DiskVerifyTest, FindsAFlippedPayloadByte) {
  HandmadeDevice device;
  const std::vector<DiskRecord> records = FillDevice(device);
  device.Index(records);
  device.FlipBit(records[3].offset + kDiskBlockBytes + 19999);
  EXPECT_TRUE(VerifyAll(device, PayloadCheck::kSkip).verification.ok());
  const auto [verification, problems] = VerifyAll(device);
  EXPECT_FALSE(verification.ok());
  EXPECT_EQ(verification.damaged_live_records, 1u);
  EXPECT_EQ(verification.live_records, records.size());
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].first, records[3]);
}

// A payload that was still being written at a kill: nobody knows the record, nobody misses it.
TEST(DiskVerifyTest, DamageThatNobodyKnowsIsNoProblem) {
  HandmadeDevice device;
  std::vector<DiskRecord> records = FillDevice(device);
  device.FlipBit(records.back().offset + kDiskBlockBytes);
  records.pop_back();
  device.Index(records);
  const auto [verification, problems] = VerifyAll(device);
  EXPECT_TRUE(verification.ok());
  EXPECT_EQ(verification.device.damaged_payloads, 1u);
  EXPECT_EQ(verification.unknown_records, 1u);
}

TEST(DiskVerifyTest, TellsMissingFromOutdated) {
  HandmadeDevice device;
  std::vector<DiskRecord> records = FillDevice(device);
  std::vector<DiskRecord> indexed = records;
  // Of a generation that has passed, and of a segment beyond the device.
  indexed[0].generation = 4;
  indexed[1].segment = 77;
  // At a place where no record is, and under another name than the record there.
  indexed[2].offset += kDiskBlockBytes;
  indexed[3].depth += 1;
  // Two that cannot both be there.
  DiskRecord twin = records[4];
  twin.key.low = 1000;
  indexed.push_back(twin);
  device.Index(indexed);
  const auto [verification, problems] = VerifyAll(device);
  EXPECT_FALSE(verification.ok());
  EXPECT_EQ(verification.index_records, records.size() + 1);
  EXPECT_EQ(verification.outdated_entries, 2u);
  EXPECT_EQ(verification.missing_records, 3u);
  EXPECT_EQ(verification.live_records + verification.unknown_records, records.size());
  EXPECT_EQ(problems.size(), 3u);
}

TEST(DiskVerifyTest, SaysWhyThereIsNoIndex) {
  HandmadeDevice device;
  const std::vector<DiskRecord> records = FillDevice(device);
  DiskVerification verification = VerifyAll(device).verification;
  EXPECT_FALSE(verification.ok());
  EXPECT_THAT(verification.index_problem, HasSubstr("there is no index"));
  EXPECT_EQ(verification.unknown_records, records.size());
  device.Index(records, {99, 99});
  verification = VerifyAll(device).verification;
  EXPECT_FALSE(verification.ok());
  EXPECT_THAT(verification.index_problem, HasSubstr("belongs to device"));
}

DiskRecordsByPart IndexOf(const HandmadeDevice& device) {
  DiskRecordsByPart records;
  uint64_t damaged = 0;
  EXPECT_EQ(
      DiskMetadata::Read(
          device.index(), device.geometry().device,
          [&](const DiskRecord& record) { records.emplace(PartOf(record), record); }, &damaged),
      absl::OkStatus());
  EXPECT_EQ(damaged, 0u);
  return records;
}

DiskRecordsByPart ByPart(const std::vector<DiskRecord>& records) {
  DiskRecordsByPart result;
  for (const DiskRecord& record : records) result[PartOf(record)] = record;
  return result;
}

TEST(DiskRebuildTest, GivesTheSameRecordsAsBefore) {
  HandmadeDevice device;
  const std::vector<DiskRecord> records = FillDevice(device);
  device.Index(records);
  const DiskRecordsByPart before = IndexOf(device);
  std::filesystem::remove_all(device.index());
  const auto rebuild = RebuildDiskMetadata(*device.Open(), PayloadCheck::kSum);
  ASSERT_EQ(rebuild.status(), absl::OkStatus());
  EXPECT_EQ(rebuild->index_records, records.size());
  EXPECT_EQ(IndexOf(device), before);
  EXPECT_EQ(before, ByPart(records));
  EXPECT_TRUE(VerifyAll(device).verification.ok());
  EXPECT_EQ(DiskMetadata::Open(device.index(), {.device = device.geometry().device}).status(),
            absl::OkStatus());
}

TEST(DiskRebuildTest, ReplacesADamagedIndex) {
  HandmadeDevice device;
  const std::vector<DiskRecord> records = FillDevice(device);
  device.Index({});
  std::ofstream(device.index() + "/CURRENT") << "nonsense";
  // What a rebuild that was cut short has left.
  std::filesystem::create_directory(device.index() + ".new");
  std::ofstream(device.index() + ".new/CURRENT") << "nonsense";
  EXPECT_FALSE(VerifyAll(device).verification.ok());
  ASSERT_EQ(RebuildDiskMetadata(*device.Open(), PayloadCheck::kSkip).status(), absl::OkStatus());
  EXPECT_EQ(IndexOf(device), ByPart(records));
  EXPECT_FALSE(std::filesystem::exists(device.index() + ".new"));
}

TEST(DiskRebuildTest, AFailureLeavesTheOldIndex) {
  HandmadeDevice device;
  const std::vector<DiskRecord> records = FillDevice(device);
  device.Index({records[0]});
  {
    const FileSizeLimit limit(100);
    EXPECT_FALSE(RebuildDiskMetadata(*device.Open(), PayloadCheck::kSkip).ok());
  }
  EXPECT_EQ(IndexOf(device), ByPart({records[0]}));
  EXPECT_FALSE(std::filesystem::exists(device.index() + ".new"));
}

TEST(DiskRebuildTest, TheHighestSequenceOfAPartCounts) {
  HandmadeDevice device;
  device.OpenSegment(3, 1);
  DiskRecord first = device.Append(1, 100);
  // In front of the older ones, as after a segment's reclaim.
  device.OpenSegment(0, 2);
  const DiskRecord moved = device.Append(1, 100);
  const DiskRecord other = device.Append(2, 100);
  ASSERT_GT(moved.sequence, first.sequence);
  const auto rebuild = RebuildDiskMetadata(*device.Open(), PayloadCheck::kSum);
  ASSERT_EQ(rebuild.status(), absl::OkStatus());
  EXPECT_EQ(rebuild->replaced_records, 1u);
  EXPECT_EQ(IndexOf(device), ByPart({moved, other}));
}

TEST(DiskRebuildTest, LeavesOutDamagedPayloadsWhenAsked) {
  HandmadeDevice device;
  std::vector<DiskRecord> records = FillDevice(device);
  device.FlipBit(records[2].offset + kDiskBlockBytes);
  ASSERT_EQ(RebuildDiskMetadata(*device.Open(), PayloadCheck::kSkip).status(), absl::OkStatus());
  EXPECT_EQ(IndexOf(device), ByPart(records));
  ASSERT_EQ(RebuildDiskMetadata(*device.Open(), PayloadCheck::kSum).status(), absl::OkStatus());
  records.erase(records.begin() + 2);
  EXPECT_EQ(IndexOf(device), ByPart(records));
}

}  // namespace
}  // namespace larder
