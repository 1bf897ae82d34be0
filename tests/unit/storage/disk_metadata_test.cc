#include "storage/disk/disk_metadata.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"
#include "storage/disk/disk_metadata_format.h"
#include "tests/unit/storage/arena_testing.h"
#include "tests/unit/storage/disk_testing.h"

namespace larder {
namespace {

using Kind = DiskMetadataChange::Kind;

constexpr DiskDeviceId kDevice{.low = 1, .high = 2};
constexpr absl::Duration kLong = absl::Seconds(60);

class DiskMetadataTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<DiskMetadata>> Open(const std::string& directory,
                                                     DiskDeviceId device = kDevice) {
    return DiskMetadata::Open(directory, {.device = device});
  }

  std::unique_ptr<DiskMetadata> MustOpen() {
    auto metadata = Open(directory_);
    EXPECT_EQ(metadata.status(), absl::OkStatus());
    return metadata.ok() ? *std::move(metadata) : nullptr;
  }

  void Change(DiskMetadata& metadata, Kind kind, const DiskRecord& record) {
    ASSERT_EQ(metadata.Queue({.kind = kind, .record = record}), absl::OkStatus());
  }

  // Changes entries behind the index's back.
  void Tamper(absl::FunctionRef<void(rocksdb::DB*)> change) {
    rocksdb::DB* opened = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open(rocksdb::Options(), directory_, &opened).ok());
    const std::unique_ptr<rocksdb::DB> database(opened);
    change(database.get());
  }

  void TamperWithIdentity(size_t at, char value) {
    Tamper([&](rocksdb::DB* database) {
      std::string identity;
      ASSERT_TRUE(database->Get(rocksdb::ReadOptions(), kDiskMetadataIdentityKey, &identity).ok());
      identity[at] = value;
      ASSERT_TRUE(database->Put(rocksdb::WriteOptions(), kDiskMetadataIdentityKey, identity).ok());
    });
  }

  // What a kill at this moment would leave.
  std::string CopyFiles() {
    std::string copy = scratch_.path() + "/copy";
    std::filesystem::copy(directory_, copy);
    return copy;
  }

  SeededRandom random_{42};
  ScratchDirectory scratch_;
  const std::string directory_ = scratch_.path() + "/metadata";
};

std::vector<std::filesystem::path> FilesWith(const std::string& directory,
                                             absl::string_view extension) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().extension() == std::string(extension)) files.push_back(entry.path());
  }
  return files;
}

TEST_F(DiskMetadataTest, KeepsEveryFieldOfARecord) {
  const DiskRecord record = RandomDiskRecord(random_, 10);
  {
    auto metadata = MustOpen();
    Change(*metadata, Kind::kPut, record);
  }
  auto metadata = MustOpen();
  EXPECT_EQ(AllRecords(*metadata), (DiskRecordsByPart{{PartOf(record), record}}));
  using std::filesystem::perms;
  EXPECT_EQ(std::filesystem::status(directory_).permissions(), perms::owner_all);
}

TEST_F(DiskMetadataTest, PartsOfAChunkAreRecordsOfTheirOwn) {
  DiskRecord first = RandomDiskRecord(random_, 10);
  DiskRecord second = first;
  second.head_begin = first.head_end + 1;
  second.head_end = first.head_end + 2;
  auto metadata = MustOpen();
  Change(*metadata, Kind::kPut, first);
  Change(*metadata, Kind::kPut, second);
  ASSERT_EQ(metadata->Flush(false, kLong), absl::OkStatus());
  EXPECT_EQ(AllRecords(*metadata).size(), 2u);
  Change(*metadata, Kind::kRemove, first);
  ASSERT_EQ(metadata->Flush(false, kLong), absl::OkStatus());
  EXPECT_EQ(AllRecords(*metadata), (DiskRecordsByPart{{PartOf(second), second}}));
}

// The record has moved: forgetting it at its old place must not lose it at its new one.
TEST_F(DiskMetadataTest, RemovesOnlyWhatIsAtThatPlace) {
  const DiskRecord old_place = RandomDiskRecord(random_, 10);
  for (uint64_t DiskRecord::*field : {&DiskRecord::offset, &DiskRecord::generation}) {
    for (const bool in_one_batch : {true, false}) {
      auto metadata = MustOpen();
      DiskRecord new_place = old_place;
      new_place.*field += kDiskBlockBytes;
      Change(*metadata, Kind::kPut, old_place);
      Change(*metadata, Kind::kPut, new_place);
      if (!in_one_batch) {
        ASSERT_EQ(metadata->Flush(false, kLong), absl::OkStatus());
      }
      Change(*metadata, Kind::kRemove, old_place);
      ASSERT_EQ(metadata->Flush(false, kLong), absl::OkStatus());
      EXPECT_EQ(AllRecords(*metadata), (DiskRecordsByPart{{PartOf(new_place), new_place}}));
      Change(*metadata, Kind::kRemove, new_place);
      ASSERT_EQ(metadata->Flush(false, kLong), absl::OkStatus());
      EXPECT_TRUE(AllRecords(*metadata).empty());
    }
  }
}

TEST_F(DiskMetadataTest, AgreesWithAModelAcrossRestarts) {
  constexpr uint64_t kSeed = 20240611;
  SCOPED_TRACE(kSeed);
  SeededRandom random(kSeed);
  DiskRecordsByPart model;
  for (int round = 0; round < 6; ++round) {
    auto metadata = MustOpen();
    ASSERT_NE(metadata, nullptr);
    EXPECT_EQ(AllRecords(*metadata), model);
    for (int step = 0; step < 20000; ++step) {
      DiskRecord record = RandomDiskRecord(random, 3000);
      const auto known = model.find(PartOf(record));
      const bool remove = random.Below(3) == 0;
      // Most removals name the place that is known.
      if (remove && known != model.end() && random.Below(4) != 0) record = known->second;
      if (!remove) {
        model.insert_or_assign(PartOf(record), record);
      } else if (known != model.end() && known->second == record) {
        model.erase(known);
      }
      Change(*metadata, remove ? Kind::kRemove : Kind::kPut, record);
      if (random.Below(4000) == 0) {
        ASSERT_EQ(metadata->Flush(random.Below(2) == 0, kLong), absl::OkStatus());
      }
    }
  }
  EXPECT_EQ(AllRecords(*MustOpen()), model);
}

TEST_F(DiskMetadataTest, WhatWasFlushedSurvivesAKill) {
  const DiskRecord record = RandomDiskRecord(random_, 10);
  auto metadata = MustOpen();
  Change(*metadata, Kind::kPut, record);
  ASSERT_EQ(metadata->Flush(/*sync=*/false, kLong), absl::OkStatus());
  auto copy = Open(CopyFiles());
  ASSERT_EQ(copy.status(), absl::OkStatus());
  EXPECT_EQ(AllRecords(**copy).size(), 1u);
}

// A power loss may cut the log anywhere: what is left is what an earlier moment knew.
TEST_F(DiskMetadataTest, ALogThatIsCutOffLosesOnlyItsEnd) {
  constexpr size_t kRecords = 50;
  auto metadata = MustOpen();
  for (size_t i = 0; i < kRecords; ++i) {
    DiskRecord record = RandomDiskRecord(random_, 10);
    record.key = {i, 0};
    Change(*metadata, Kind::kPut, record);
    ASSERT_EQ(metadata->Flush(false, kLong), absl::OkStatus());
  }
  const std::string copy = CopyFiles();
  const auto logs = FilesWith(copy, ".log");
  ASSERT_EQ(logs.size(), 1u);
  size_t known_before = kRecords;
  for (uint64_t bytes = std::filesystem::file_size(logs[0]); bytes > 800; bytes -= 700) {
    const std::string cut = scratch_.path() + "/cut";
    std::filesystem::remove_all(cut);
    std::filesystem::copy(copy, cut);
    std::filesystem::resize_file(cut / logs[0].filename(), bytes - 1);
    auto rest = Open(cut);
    ASSERT_EQ(rest.status(), absl::OkStatus()) << bytes;
    const DiskRecordsByPart records = AllRecords(**rest);
    EXPECT_LT(records.size(), known_before);
    known_before = records.size();
    for (const auto& [part, record] : records) EXPECT_LT(record.key.low, records.size());
    // What is written from now on does not get lost behind the cut.
    DiskRecord later = RandomDiskRecord(random_, 10);
    later.key = {kRecords, 0};
    Change(**rest, Kind::kPut, later);
    rest->reset();
    rest = Open(cut);
    ASSERT_EQ(rest.status(), absl::OkStatus()) << bytes;
    EXPECT_EQ(AllRecords(**rest).size(), records.size() + 1);
  }
  EXPECT_LT(known_before, kRecords / 2);
}

TEST_F(DiskMetadataTest, DamagedEntriesAreCountedOnceAndDropped) {
  const DiskRecord good = RandomDiskRecord(random_, 1);
  DiskRecord bad = good;
  bad.key.low = 77;
  {
    auto metadata = MustOpen();
    Change(*metadata, Kind::kPut, good);
    Change(*metadata, Kind::kPut, bad);
  }
  Tamper([&](rocksdb::DB* database) {
    DiskMetadataValueV1 value = EncodeDiskMetadataValue(bad);
    value.offset ^= 1;
    const DiskMetadataKeyV1 key = EncodeDiskMetadataKey(bad);
    ASSERT_TRUE(database
                    ->Put(rocksdb::WriteOptions(),
                          {reinterpret_cast<const char*>(&key), sizeof key},
                          {reinterpret_cast<const char*>(&value), sizeof value})
                    .ok());
    ASSERT_TRUE(database->Put(rocksdb::WriteOptions(), "a stranger", "what?").ok());
  });
  const DiskRecordsByPart expected{{PartOf(good), good}};
  EXPECT_EQ(AllRecords(*MustOpen(), /*damaged_expected=*/2), expected);
  EXPECT_EQ(AllRecords(*MustOpen(), /*damaged_expected=*/0), expected);
}

TEST_F(DiskMetadataTest, RefusesAnotherDevicesIndex) {
  MustOpen();
  const absl::Status status = Open(directory_, {.low = 3, .high = 4}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), ToString(kDevice))) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), directory_)) << status;
}

TEST_F(DiskMetadataTest, RefusesAnotherVersion) {
  MustOpen();
  TamperWithIdentity(offsetof(DiskMetadataIdentityV1, version), 2);
  const absl::Status status = Open(directory_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "version 2")) << status;
}

TEST_F(DiskMetadataTest, RefusesADamagedIdentity) {
  MustOpen();
  TamperWithIdentity(offsetof(DiskMetadataIdentityV1, device_low), 'x');
  EXPECT_EQ(Open(directory_).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(DiskMetadataTest, RefusesEntriesWithoutAnIdentity) {
  {
    auto metadata = MustOpen();
    Change(*metadata, Kind::kPut, RandomDiskRecord(random_, 10));
  }
  Tamper([](rocksdb::DB* database) {
    ASSERT_TRUE(database->Delete(rocksdb::WriteOptions(), kDiskMetadataIdentityKey).ok());
  });
  EXPECT_EQ(Open(directory_).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(DiskMetadataTest, RefusesASecondOpener) {
  auto metadata = MustOpen();
  EXPECT_EQ(Open(directory_).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(DiskMetadataTest, RefusesDamagedFiles) {
  {
    auto metadata = MustOpen();
    Change(*metadata, Kind::kPut, RandomDiskRecord(random_, 10));
  }
  // Opened without avoiding it, RocksDB makes a table of the log.
  Tamper([](rocksdb::DB* database) { ASSERT_TRUE(database->Flush(rocksdb::FlushOptions()).ok()); });
  const auto tables = FilesWith(directory_, ".sst");
  ASSERT_FALSE(tables.empty());
  const std::string table_copy = scratch_.path() + "/table";
  std::filesystem::copy(tables[0], table_copy);

  std::filesystem::resize_file(tables[0], std::filesystem::file_size(tables[0]) / 2);
  EXPECT_EQ(Open(directory_).status().code(), absl::StatusCode::kDataLoss);
  std::filesystem::remove(tables[0]);
  EXPECT_EQ(Open(directory_).status().code(), absl::StatusCode::kDataLoss);
  std::filesystem::copy(table_copy, tables[0]);
  EXPECT_EQ(Open(directory_).status(), absl::OkStatus());
  std::filesystem::remove(directory_ + "/CURRENT");
  EXPECT_EQ(Open(directory_).status().code(), absl::StatusCode::kDataLoss);
}

TEST_F(DiskMetadataTest, RefusesWhatIsNoDirectory) {
  std::ofstream(directory_) << "a file";
  EXPECT_FALSE(Open(directory_).ok());
  EXPECT_FALSE(Open(scratch_.path() + "/missing/metadata").ok());
}

TEST_F(DiskMetadataTest, AFullQueueRefusesAtOnce) {
  auto metadata = DiskMetadata::Open(directory_, {.queued_changes_max = 1, .device = kDevice});
  ASSERT_EQ(metadata.status(), absl::OkStatus());
  const DiskMetadataChange change{.record = RandomDiskRecord(random_, 10)};
  absl::Status status;
  for (int tries = 0; status.ok() && tries < 1000000; ++tries) status = (*metadata)->Queue(change);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  ASSERT_EQ((*metadata)->Flush(false, kLong), absl::OkStatus());
  EXPECT_EQ((*metadata)->Queue(change), absl::OkStatus());
}

TEST_F(DiskMetadataTest, FlushWithoutWaitingStillSyncs) {
  auto metadata = MustOpen();
  Change(*metadata, Kind::kPut, RandomDiskRecord(random_, 10));
  const absl::Status status = metadata->Flush(/*sync=*/true, absl::ZeroDuration());
  EXPECT_THAT(status.code(),
              ::testing::AnyOf(absl::StatusCode::kDeadlineExceeded, absl::StatusCode::kOk));
  EXPECT_EQ(metadata->Flush(true, absl::InfiniteDuration()), absl::OkStatus());
}

TEST_F(DiskMetadataTest, AfterAFailedWriteEverythingIsRefused) {
  for (const rlim_t limit_bytes : {1, 100000, 3000000}) {
    SCOPED_TRACE(limit_bytes);
    auto metadata = MustOpen();
    ASSERT_NE(metadata, nullptr);
    const DiskMetadataChange change{.record = RandomDiskRecord(random_, 1)};
    std::vector<absl::Status> failures;
    {
      const FileSizeLimit limit(limit_bytes);
      absl::Status flushed;
      for (int tries = 0; flushed.ok() && tries < 100000; ++tries) {
        for (int i = 0; i < 100; ++i) metadata->Queue(change).IgnoreError();
        flushed = metadata->Flush(/*sync=*/tries % 10 == 0, kLong);
      }
      failures = {flushed, metadata->Queue(change), metadata->Flush(true, kLong)};
      metadata.reset();
    }
    for (const absl::Status& status : failures) {
      EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
      EXPECT_TRUE(absl::StrContains(status.message(), directory_)) << status;
    }
  }
  EXPECT_EQ(AllRecords(*MustOpen()).size(), 1u);
}

TEST_F(DiskMetadataTest, ReadingChangesNothing) {
  const DiskRecord record = RandomDiskRecord(random_, 10);
  uint64_t damaged = 0;
  const auto ignore = [](const DiskRecord&) {};
  EXPECT_FALSE(DiskMetadata::Read(directory_, kDevice, ignore, &damaged).ok());
  {
    auto metadata = MustOpen();
    Change(*metadata, Kind::kPut, record);
  }
  const auto names = [&] {
    std::vector<std::pair<std::string, uint64_t>> files;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) {
      files.emplace_back(entry.path(), entry.file_size());
    }
    return files;
  };
  const auto before = names();
  std::vector<DiskRecord> records;
  ASSERT_EQ(DiskMetadata::Read(
                directory_, kDevice, [&](const DiskRecord& found) { records.push_back(found); },
                &damaged),
            absl::OkStatus());
  EXPECT_EQ(records, std::vector<DiskRecord>{record});
  EXPECT_EQ(damaged, 0u);
  EXPECT_THAT(names(), ::testing::UnorderedElementsAreArray(before));
  EXPECT_EQ(DiskMetadata::Read(directory_, {.low = 5, .high = 6}, ignore, &damaged).code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(DiskMetadataTest, ItsFilesStaySmall) {
  auto metadata = MustOpen();
  constexpr uint64_t kParts = 1000;
  constexpr int kChanges = 200000;
  for (int i = 0; i < kChanges; ++i) {
    const DiskRecord record = RandomDiskRecord(random_, kParts);
    while (!metadata->Queue({.record = record}).ok()) {
      ASSERT_EQ(metadata->Flush(false, kLong), absl::OkStatus());
    }
  }
  ASSERT_EQ(metadata->Flush(true, kLong), absl::OkStatus());
  EXPECT_GT(metadata->DiskBytes(), kParts * sizeof(DiskMetadataValueV1));
  EXPECT_LT(metadata->DiskBytes(), uint64_t{32} << 20);
}

TEST(DiskMetadataFormatTest, WorkedExample) {
  const DiskRecord record{.space = {.low = 0x1111111111111111, .high = 0x1212121212121212},
                          .key = {.low = 0x2121212121212121, .high = 0x2222222222222222},
                          .parent = {.low = 0x3131313131313131, .high = 0x3232323232323232},
                          .depth = 3,
                          .token_count = 256,
                          .layer_begin = 0,
                          .layer_end = 32,
                          .head_begin = 0,
                          .head_end = 8,
                          .segment = 5,
                          .generation = 7,
                          .offset = 0x28101000,
                          .payload_bytes = 0x5000,
                          .payload_crc = 0xe3069283,
                          .flags = 1,
                          .sequence = 42,
                          .expiry_unix_ms = 1700000000000,
                          .written_unix_ms = 1690000000000};
  const DiskMetadataKeyV1 key = EncodeDiskMetadataKey(record);
  const DiskMetadataValueV1 value = EncodeDiskMetadataValue(record);
  const DiskMetadataIdentityV1 identity =
      EncodeDiskMetadataIdentity({.low = 0x8899aabbccddeeff, .high = 0x0011223344556677});
  const auto hex = [](const auto& field) {
    return absl::BytesToHexString({reinterpret_cast<const char*>(&field), sizeof field});
  };
  EXPECT_EQ(hex(key),
            "11111111111111111212121212121212212121212121212122222222222222220000200000000800");
  EXPECT_EQ(hex(value),
            "050000000100000007000000000000000010102800000000005000000000000"
            "02a000000000000000068e5cf8b0100000084d97b890100003131313131313131"
            "323232323232323203000000000100008392"
            "06e333881494");
  EXPECT_EQ(hex(identity),
            "4c4152444552444d0100000058000000ffeeddccbbaa998877665544332211000000000018adfec9");
}

}  // namespace
}  // namespace larder
