// A device whose disk fails, one fault at a time.
#include <atomic>
#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/disk/disk_worker.h"
#include "tests/unit/storage/arena_testing.h"
#include "tests/unit/storage/disk/device_driver.h"
#include "tests/unit/storage/disk/fake_disk.h"
#include "tests/unit/storage/disk/memory_device.h"

namespace larder {
namespace {

constexpr auto kOk = absl::StatusCode::kOk;
constexpr auto kDataLoss = absl::StatusCode::kDataLoss;
constexpr auto kUnavailable = absl::StatusCode::kUnavailable;
constexpr uint64_t kRecordBytes = 20000;
constexpr uint64_t kRecordBlocks = DiskRecordBytes(kRecordBytes) / kDiskBlockBytes;

class DeviceFaultsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.metadata_directory = directory_.path() + "/metadata";
    Open();
    ASSERT_EQ(driver_->Open(0, 1).code, kOk);
  }

  void Open() {
    driver_.reset();
    device_.reset();
    auto device = OpenMemoryDevice(disk_, options_, sink_.callback());
    ASSERT_EQ(device.status(), absl::OkStatus());
    device_ = *std::move(device);
    contents_ = device_->TakeContents();
    driver_.emplace(*device_, sink_);
  }

  DiskRecord Record(uint64_t number) {
    return RecordAt(device_->geometry(), number, 0, 1, 1 + number * kRecordBlocks, kRecordBytes);
  }
  DiskRecord Written(uint64_t number) {
    DiskRecord record = Record(number);
    const DiskResult result = driver_->Write(&record);
    EXPECT_EQ(result.code, kOk) << result.why;
    return record;
  }

  ScratchDirectory directory_;
  MemoryDeviceOptions options_;
  FakeDisk disk_{uint64_t{160} << 20, 1};
  ResultSink sink_;
  std::unique_ptr<DiskDevice> device_;
  DiskContents contents_;
  std::optional<DeviceDriver> driver_;
};

TEST_F(DeviceFaultsTest, ShortReadsAndWritesAreResumed) {
  disk_.SetFaults({.fall_short = 0.5, .delay = 0.3});
  for (uint64_t i = 0; i < 30; ++i) {
    const DiskRecord record = Written(i);
    EXPECT_EQ(driver_->ReadCode(record), kOk);
  }
}

TEST_F(DeviceFaultsTest, ReadsThatMoveNothingEnd) {
  const DiskRecord record = Written(1);
  // Most of what is asked for moves nothing, so sooner or later so many in a row do.
  disk_.SetFaults({.fall_short = 1});
  std::vector<absl::StatusCode> codes;
  for (int i = 0; i < 300 && !device_->stats().out_of_service; ++i) {
    codes.push_back(driver_->ReadCode(record));
  }
  EXPECT_THAT(codes, ::testing::Each(::testing::AnyOf(kOk, kUnavailable)));
  EXPECT_THAT(codes, ::testing::Contains(kUnavailable));
}

TEST_F(DeviceFaultsTest, AWrongBitIsDataLoss) {
  const DiskRecord record = Written(1), other = Written(2);
  disk_.FlipBit(record.offset + kDiskBlockBytes + kRecordBytes - 1, 3);
  const DiskResult result = [&] {
    bool right = true;
    DiskResult read = driver_->Read(record, &right);
    EXPECT_FALSE(right);
    return read;
  }();
  EXPECT_EQ(result.code, kDataLoss);
  EXPECT_THAT(result.why, ::testing::HasSubstr("checksum"));
  EXPECT_EQ(driver_->ReadCode(other), kOk);
  EXPECT_EQ(device_->stats().corrupt, 1u);
  DiskRecord copy = Record(5);
  EXPECT_EQ(driver_->Copy(record, &copy).code, kDataLoss);
}

TEST_F(DeviceFaultsTest, AWriteThatLandsElsewhereIsDataLoss) {
  disk_.SetFaults({.misdirect = 1});
  const DiskRecord record = Written(1);
  disk_.SetFaults({});
  EXPECT_EQ(driver_->ReadCode(record), kDataLoss);
}

TEST_F(DeviceFaultsTest, ALostWriteIsDataLoss) {
  disk_.SetFaults({.lose = 1});
  const DiskRecord record = Written(1);
  disk_.SetFaults({});
  EXPECT_EQ(driver_->ReadCode(record), kDataLoss);
}

TEST_F(DeviceFaultsTest, AFailureIsReportedAndForgiven) {
  const DiskRecord record = Written(1);
  for (uint32_t i = 0; i < 3 * DiskWorker::kFailuresMax; ++i) {
    disk_.SetFaults({.fail = 1});
    EXPECT_EQ(driver_->ReadCode(record), kUnavailable);
    disk_.SetFaults({});
    EXPECT_EQ(driver_->ReadCode(record), kOk);
  }
  EXPECT_FALSE(device_->stats().out_of_service);
}

TEST_F(DeviceFaultsTest, AFailedWriteIsNotInTheIndex) {
  disk_.SetFaults({.fail = 1});
  DiskRecord record = Record(1);
  EXPECT_EQ(driver_->Write(&record).code, kUnavailable);
  disk_.SetFaults({});
  Open();
  EXPECT_THAT(contents_.records, ::testing::IsEmpty());
}

TEST_F(DeviceFaultsTest, FailuresInARowEndTheService) {
  const DiskRecord record = Written(1);
  disk_.SetFaults({.fail = 1});
  for (uint32_t i = 0; i < DiskWorker::kFailuresMax; ++i) {
    EXPECT_EQ(driver_->ReadCode(record), kUnavailable);
  }
  EXPECT_TRUE(sink_.WaitForOutOfService());
  disk_.SetFaults({});
  EXPECT_EQ(driver_->ReadCode(record), kUnavailable) << "it stays out of service";
  EXPECT_TRUE(device_->stats().out_of_service);
}

TEST_F(DeviceFaultsTest, AFailedSyncEndsTheService) {
  options_.sync_interval = absl::Milliseconds(5);
  Open();
  disk_.SetFaults({.fail_sync = true});
  DiskRecord record = Record(1);
  driver_->Write(&record);
  EXPECT_TRUE(sink_.WaitForOutOfService());
}

TEST_F(DeviceFaultsTest, WritesAreSyncedWithinTheInterval) {
  options_.sync_interval = absl::Milliseconds(5);
  Open();
  const uint64_t before = disk_.syncs();
  Written(1);
  EXPECT_TRUE(WaitUntil([&] { return disk_.syncs() > before; }));
}

TEST_F(DeviceFaultsTest, AHangEndsTheServiceButMemoryInUseIsNotReported) {
  options_.io_timeout = absl::Milliseconds(100);
  options_.depth = 4;
  Open();
  const DiskRecord record = Written(1);
  disk_.SetFaults({.hang = true});
  constexpr uint64_t kCount = 12;
  std::vector<MemoryMapping> memories;
  for (uint64_t i = 0; i < kCount; ++i) {
    memories.push_back(PayloadMemory(kRecordBytes));
    DiskCommand command =
        DeviceDriver::Command(DiskCommand::Kind::kRead, record, memories[i].bytes());
    command.token = i;
    ASSERT_EQ(device_->Submit(command), absl::OkStatus());
  }
  ASSERT_TRUE(sink_.WaitForOutOfService());
  // What had not begun comes back at once, what the disk has stays there.
  for (uint64_t i = options_.depth; i < kCount; ++i) {
    EXPECT_EQ(sink_.WaitFor(i).code, kUnavailable);
  }
  for (uint64_t i = 0; i < options_.depth; ++i) EXPECT_FALSE(sink_.Has(i));
  EXPECT_EQ(device_->stats().in_flight, options_.depth);
  disk_.SetFaults({});
  for (uint64_t i = 0; i < options_.depth; ++i) {
    EXPECT_EQ(sink_.WaitFor(i).code, kUnavailable);
  }
}

TEST_F(DeviceFaultsTest, TooManyCommandsAreRefusedAtOnce) {
  const DiskRecord record = Written(1);
  disk_.SetFaults({.hang = true});
  const MemoryMapping memory = PayloadMemory(kRecordBytes);
  uint64_t taken = 0;
  absl::Status status;
  for (; status.ok() && taken <= options_.depth + DiskWorker::kQueuedCommandsMax; ++taken) {
    DiskCommand command = DeviceDriver::Command(DiskCommand::Kind::kRead, record, memory.bytes());
    command.token = taken;
    status = device_->Submit(command);
  }
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  EXPECT_GT(taken, DiskWorker::kQueuedCommandsMax);
  disk_.SetFaults({});
  for (uint64_t i = 0; i + 1 < taken; ++i) ASSERT_EQ(sink_.WaitFor(i).code, kOk);
}

TEST_F(DeviceFaultsTest, ResultsMayBeAnsweredWithCommands) {
  const DiskRecord record = Written(1);
  const MemoryMapping memory = PayloadMemory(kRecordBytes);
  std::atomic<int> done = 0;
  std::atomic<DiskDevice*> device = nullptr;
  const auto submit = [&] {
    return device.load()->Submit(
        DeviceDriver::Command(DiskCommand::Kind::kRead, record, memory.bytes()));
  };
  driver_.reset();
  device_.reset();
  auto opened =
      OpenMemoryDevice(disk_, options_, [&](const std::vector<DiskResult>& results, bool) {
        for (const DiskResult& result : results) EXPECT_EQ(result.code, kOk);
        if (++done < 100) {
          EXPECT_EQ(submit(), absl::OkStatus());
        }
      });
  ASSERT_EQ(opened.status(), absl::OkStatus());
  device = opened->get();
  ASSERT_EQ(submit(), absl::OkStatus());
  EXPECT_TRUE(WaitUntil([&] { return done == 100; }));
}

TEST_F(DeviceFaultsTest, AFullDiskRefusesSegmentsAndServesOn) {
  const DiskRecord record = Written(1);
  disk_.SetFaults({.full = true});
  const DiskResult result = driver_->Open(3, 2);
  EXPECT_EQ(result.code, absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(driver_->ReadCode(record), kOk);
  disk_.SetFaults({});
  EXPECT_EQ(driver_->Open(3, 3).code, kOk);
}

TEST_F(DeviceFaultsTest, TheCapacityHoldsWhateverTheGeometry) {
  // Segments and metadata together would be more than that.
  options_.capacity_bytes = device_->geometry().SegmentBegin(2);
  Open();
  EXPECT_EQ(driver_->Open(1, 2).code, absl::StatusCode::kResourceExhausted);
}

TEST_F(DeviceFaultsTest, ADamagedSegmentHeaderLosesThatSegmentOnly) {
  ASSERT_EQ(driver_->Open(1, 2).code, kOk);
  Written(1);
  DiskRecord stays = RecordAt(device_->geometry(), 7, 1, 2, 1, 100);
  ASSERT_EQ(driver_->Write(&stays).code, kOk);
  disk_.FlipBit(device_->geometry().SegmentBegin(0) + 33, 0);
  Open();
  EXPECT_THAT(contents_.records, ::testing::ElementsAre(stays));
  EXPECT_THAT(contents_.generations, ::testing::ElementsAre(0, 2, 0, 0, 0));
  EXPECT_EQ(contents_.dropped_records, 1u);
}

TEST_F(DeviceFaultsTest, AnswersWithinTheTimeoutOrDoesNotOpen) {
  device_.reset();
  options_.io_timeout = absl::Milliseconds(50);
  disk_.SetFaults({.hang = true});
  std::thread release([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    disk_.SetFaults({});
  });
  const auto device = OpenMemoryDevice(disk_, options_, sink_.callback());
  release.join();
  EXPECT_TRUE(absl::IsUnavailable(device.status())) << device.status();
}

}  // namespace
}  // namespace larder
