#include "storage/disk/disk_scan.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "common/crc32c.h"
#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/disk/disk_metadata.h"
#include "storage/disk/disk_repair.h"
#include "tests/unit/storage/arena_testing.h"
#include "tests/unit/storage/disk_testing.h"

namespace larder {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A device as the tier would have left it, written by hand.
class HandmadeDevice {
 public:
  static constexpr uint64_t kSegmentBytes = uint64_t{256} << 10;

  HandmadeDevice() {
    std::filesystem::create_directory(path());
    std::filesystem::permissions(path(), std::filesystem::perms::owner_all);
    file_ = FileDescriptor(open((path() + "/segments").c_str(), O_RDWR | O_CREAT, 0600));
    EXPECT_EQ(ftruncate(file_.get(), static_cast<off_t>(geometry_.end())), 0);
    Write(0, EncodeSuperblock({geometry_.device, kSegmentBytes, "node-1"}));
  }

  std::string path() const { return scratch_.path() + "/device"; }
  std::string index() const { return path() + "/metadata"; }
  const DiskGeometry& geometry() const { return geometry_; }

  void OpenSegment(uint32_t segment, uint64_t generation) {
    Write(geometry_.SegmentBegin(segment),
          EncodeSegmentHeader(geometry_, {segment, generation, /*lifetime_class=*/3}));
    segment_ = segment;
    generation_ = generation;
    end_ = geometry_.SegmentBegin(segment) + kDiskBlockBytes;
  }

  // At the end of the segment that was opened last.
  DiskRecord Append(uint64_t key, uint64_t payload_bytes) {
    DiskRecord record;
    record.space = {7, 8};
    record.key = {key, 9};
    record.layer_end = record.head_end = 1;
    record.segment = segment_;
    record.generation = generation_;
    record.offset = end_;
    record.payload_bytes = payload_bytes;
    record.sequence = ++sequence_;
    std::vector<uint8_t> payload(payload_bytes);
    for (uint8_t& byte : payload) byte = static_cast<uint8_t>(random_.Next());
    record.payload_crc = Crc32c(payload);
    Write(record.offset, EncodeRecordHeader(geometry_, record));
    WriteBytes(record.offset + kDiskBlockBytes, payload);
    end_ += DiskRecordBytes(payload_bytes);
    return record;
  }
  void SkipBlocks(uint64_t blocks) { end_ += blocks * kDiskBlockBytes; }

  void FlipBit(uint64_t offset) {
    uint8_t byte = 0;
    ASSERT_EQ(pread(file_.get(), &byte, 1, static_cast<off_t>(offset)), 1);
    byte ^= 4;
    WriteBytes(offset, {&byte, 1});
  }
  void Truncate(uint64_t bytes) { ASSERT_EQ(ftruncate(file_.get(), static_cast<off_t>(bytes)), 0); }
  template <typename T>
  void Write(uint64_t offset, const T& value) {
    WriteBytes(offset, {reinterpret_cast<const uint8_t*>(&value), sizeof value});
  }

  void Index(const std::vector<DiskRecord>& records, DiskDeviceId device) {
    auto index = DiskMetadata::Open(this->index(), {.device = device});
    ASSERT_EQ(index.status(), absl::OkStatus());
    for (const DiskRecord& record : records) {
      ASSERT_EQ((*index)->Queue({.record = record}), absl::OkStatus());
    }
  }
  void Index(const std::vector<DiskRecord>& records) { Index(records, geometry_.device); }

  std::unique_ptr<OfflineDisk> Open() const {
    auto disk = OfflineDisk::Open(path(), "");
    EXPECT_EQ(disk.status(), absl::OkStatus());
    return disk.ok() ? *std::move(disk) : nullptr;
  }

 private:
  void WriteBytes(uint64_t offset, std::span<const uint8_t> bytes) {
    ASSERT_EQ(pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes.size()));
  }

  ScratchDirectory scratch_;
  const DiskGeometry geometry_{.device = {11, 12}, .segment_bytes = kSegmentBytes, .segments = 4};
  FileDescriptor file_;
  SeededRandom random_{1};
  uint32_t segment_ = 0;
  uint64_t generation_ = 0, end_ = 0, sequence_ = 0;
};

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

// Three segments, the last never opened; records of several sizes.
std::vector<DiskRecord> Fill(HandmadeDevice& device) {
  std::vector<DiskRecord> records;
  device.OpenSegment(0, 5);
  for (const uint64_t bytes : {1, 4096, 4097, 20000}) {
    records.push_back(device.Append(records.size(), bytes));
  }
  device.OpenSegment(2, 6);
  for (const uint64_t bytes : {100000, 4095, 8192}) {
    records.push_back(device.Append(records.size(), bytes));
  }
  return records;
}

TEST(DiskScanTest, FindsEveryRecordWithoutAnIndex) {
  HandmadeDevice device;
  const std::vector<DiskRecord> records = Fill(device);
  const ScanOutcome outcome = ScanAll(device);
  EXPECT_EQ(outcome.good, records);
  EXPECT_THAT(outcome.bad, IsEmpty());
  EXPECT_EQ(outcome.counts.records, records.size());
  EXPECT_EQ(outcome.counts.payload_bytes, 1u + 4096 + 4097 + 20000 + 100000 + 4095 + 8192);
  EXPECT_EQ(outcome.counts.damaged_headers, 0u);
}

TEST(DiskScanTest, TellsWhatTheDeviceIs) {
  HandmadeDevice device;
  Fill(device);
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
  std::vector<DiskRecord> records = Fill(device);
  device.FlipBit(records[1].offset + offsetof(RecordHeaderV1, key_low));
  records.erase(records.begin() + 1);
  const ScanOutcome outcome = ScanAll(device);
  EXPECT_EQ(outcome.good, records);
  EXPECT_EQ(outcome.counts.damaged_headers, 1u);
}

TEST(DiskScanTest, ADamagedPayloadIsFoundWhenSummed) {
  HandmadeDevice device;
  const std::vector<DiskRecord> records = Fill(device);
  device.FlipBit(records[4].offset + kDiskBlockBytes + 99999);
  EXPECT_EQ(ScanAll(device, PayloadCheck::kSkip).good, records);
  const ScanOutcome outcome = ScanAll(device);
  EXPECT_EQ(outcome.bad, std::vector<DiskRecord>{records[4]});
  EXPECT_EQ(outcome.counts.damaged_payloads, 1u);
  EXPECT_EQ(outcome.good.size(), records.size() - 1);
}

TEST(DiskScanTest, RecordsOfPastGenerationsAreNone) {
  HandmadeDevice device;
  const std::vector<DiskRecord> records = Fill(device);
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
  const std::vector<DiskRecord> records = Fill(device);
  device.FlipBit(device.geometry().SegmentBegin(0) + offsetof(SegmentHeaderV1, generation));
  EXPECT_EQ(device.Open()->damaged_segments(), 1u);
  EXPECT_EQ(ScanAll(device).good, std::vector<DiskRecord>(records.begin() + 4, records.end()));
}

TEST(DiskScanTest, ATruncatedFileKeepsWhatIsLeft) {
  HandmadeDevice device;
  const std::vector<DiskRecord> records = Fill(device);
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
    const std::vector<DiskRecord> records = Fill(device);
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

TEST(DiskVerifyTest, AllIsWell) {
  HandmadeDevice device;
  const std::vector<DiskRecord> records = Fill(device);
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
  const std::vector<DiskRecord> records = Fill(device);
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
  std::vector<DiskRecord> records = Fill(device);
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
  std::vector<DiskRecord> records = Fill(device);
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
  const std::vector<DiskRecord> records = Fill(device);
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
  const std::vector<DiskRecord> records = Fill(device);
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
  const std::vector<DiskRecord> records = Fill(device);
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
  const std::vector<DiskRecord> records = Fill(device);
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
  std::vector<DiskRecord> records = Fill(device);
  device.FlipBit(records[2].offset + kDiskBlockBytes);
  ASSERT_EQ(RebuildDiskMetadata(*device.Open(), PayloadCheck::kSkip).status(), absl::OkStatus());
  EXPECT_EQ(IndexOf(device), ByPart(records));
  ASSERT_EQ(RebuildDiskMetadata(*device.Open(), PayloadCheck::kSum).status(), absl::OkStatus());
  records.erase(records.begin() + 2);
  EXPECT_EQ(IndexOf(device), ByPart(records));
}

}  // namespace
}  // namespace larder
