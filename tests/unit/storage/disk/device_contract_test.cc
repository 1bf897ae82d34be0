// What a device promises, on each engine.
#include <algorithm>
#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/disk/disk_device_parts.h"
#include "tests/unit/storage/arena_testing.h"
#include "tests/unit/storage/disk/device_driver.h"
#include "tests/unit/storage/disk/fake_disk.h"
#include "tests/unit/storage/disk/memory_device.h"

namespace larder {
namespace {

constexpr uint64_t kSegmentBytes = uint64_t{16} << 20;
constexpr uint64_t kCapacityBytes = uint64_t{160} << 20;
constexpr uint64_t kMemoryBytes = uint64_t{8} << 20;
constexpr auto kOk = absl::StatusCode::kOk;

enum class Under { kIoUring, kThreads, kMemory };

std::string NameOf(const ::testing::TestParamInfo<Under>& parameter) {
  return parameter.param == Under::kIoUring   ? "IoUring"
         : parameter.param == Under::kThreads ? "Threads"
                                              : "Memory";
}

class DeviceContractTest : public ::testing::TestWithParam<Under> {
 protected:
  void SetUp() override {
    memory_ = PayloadMemory(kMemoryBytes);
    Reopen();
    if (device_ == nullptr) GTEST_SKIP() << why_not_;
  }

  void Reopen() {
    driver_.reset();
    device_.reset();
    auto device = GetParam() == Under::kMemory ? OpenInMemory() : OpenOnDisk();
    if (!device.ok()) {
      why_not_ = device.status().ToString();
      ASSERT_TRUE(absl::IsPermissionDenied(device.status()) ||
                  absl::IsUnimplemented(device.status()))
          << why_not_;
      return;
    }
    device_ = *std::move(device);
    contents_ = device_->TakeContents();
    driver_.emplace(*device_, sink_);
  }

  absl::StatusOr<std::unique_ptr<DiskDevice>> OpenOnDisk() {
    DiskDeviceOptions options;
    options.path = directory_.path() + "/device";
    options.capacity_bytes = kCapacityBytes;
    options.segment_bytes = kSegmentBytes;
    options.owner = "node-1";
    options.engine =
        GetParam() == Under::kIoUring ? DiskEngineKind::kIoUring : DiskEngineKind::kThreads;
    options.depth = 8;
    options.memory = memory_.bytes();
    return DiskDevice::Open(options, sink_.callback());
  }

  absl::StatusOr<std::unique_ptr<DiskDevice>> OpenInMemory() {
    MemoryDeviceOptions options;
    options.metadata_directory = directory_.path() + "/metadata";
    return OpenMemoryDevice(disk_, options, sink_.callback());
  }

  DiskRecord Record(uint64_t key, uint32_t segment, uint64_t generation, uint64_t block,
                    uint64_t bytes) {
    return RecordAt(device_->geometry(), key, segment, generation, block, bytes);
  }

  ScratchDirectory directory_;
  FakeDisk disk_{kCapacityBytes, 1};
  MemoryMapping memory_;
  ResultSink sink_;
  std::string why_not_;
  std::unique_ptr<DiskDevice> device_;
  DiskContents contents_;
  std::optional<DeviceDriver> driver_;
};

TEST_P(DeviceContractTest, RecordsOfAllSizesComeBack) {
  ASSERT_EQ(driver_->Open(0, 1).code, kOk);
  uint64_t block = 1;
  std::vector<DiskRecord> records;
  // One block and less, more than one bounce buffer, more than one piece.
  for (const uint64_t bytes : {1ul, 4095ul, 4096ul, 4097ul, 1ul << 20, (9ul << 20) + 1}) {
    SCOPED_TRACE(bytes);
    DiskRecord record = Record(bytes, 0, 1, block, bytes);
    const DiskResult written = driver_->Write(&record);
    ASSERT_EQ(written.code, kOk) << written.why;
    EXPECT_GT(written.time, absl::ZeroDuration());
    EXPECT_EQ(driver_->ReadCode(record), kOk);
    block += DiskRecordBytes(bytes) / kDiskBlockBytes;
    records.push_back(record);
  }
  const DiskDeviceStats stats = device_->stats();
  EXPECT_EQ(stats.writes, records.size());
  EXPECT_EQ(stats.reads, records.size());
  EXPECT_EQ(stats.written_bytes, block * kDiskBlockBytes);
  EXPECT_EQ(stats.failed + stats.corrupt, 0u);
  EXPECT_FALSE(stats.out_of_service);

  Reopen();
  EXPECT_THAT(contents_.records, ::testing::UnorderedElementsAreArray(records));
  EXPECT_THAT(contents_.generations, ::testing::ElementsAre(1, 0, 0, 0, 0));
  EXPECT_EQ(contents_.highest_generation, 1u);
  for (const DiskRecord& record : records) EXPECT_EQ(driver_->ReadCode(record), kOk);
}

TEST_P(DeviceContractTest, ManyCommandsSideBySide) {
  constexpr uint64_t kCount = 300;
  ASSERT_EQ(driver_->Open(1, 4).code, kOk);
  std::vector<MemoryMapping> memories;
  std::vector<DiskRecord> records;
  for (uint64_t i = 0; i < kCount; ++i) {
    records.push_back(Record(i, 1, 4, 1 + 3 * i, 5000));
    memories.push_back(PayloadMemory(5000));
    FillPayload(i, memories[i].bytes().first(5000));
  }
  const auto run_all = [&](DiskCommand::Kind kind) {
    for (uint64_t i = 0; i < kCount; ++i) {
      DiskCommand command = DeviceDriver::Command(kind, records[i], memories[i].bytes());
      command.token = i;
      ASSERT_EQ(device_->Submit(command), absl::OkStatus());
    }
    for (uint64_t i = 0; i < kCount; ++i) {
      const DiskResult result = sink_.WaitFor(i);
      ASSERT_EQ(result.code, kOk) << result.why;
      if (kind == DiskCommand::Kind::kWrite) records[i].payload_crc = result.payload_crc;
    }
  };
  run_all(DiskCommand::Kind::kWrite);
  for (MemoryMapping& memory : memories) std::fill_n(memory.data(), memory.size(), 0);
  run_all(DiskCommand::Kind::kRead);
  for (uint64_t i = 0; i < kCount; ++i) {
    EXPECT_TRUE(IsPayload(i, memories[i].bytes().first(5000))) << i;
  }
  EXPECT_EQ(device_->stats().queued, 0u);
}

TEST_P(DeviceContractTest, ACopyIsTheRecordAtItsNewPlace) {
  ASSERT_EQ(driver_->Open(0, 1).code, kOk);
  ASSERT_EQ(driver_->Open(1, 2).code, kOk);
  constexpr uint64_t kBytes = 2 * kDiskBounceBytes + 77;
  DiskRecord source = Record(5, 0, 1, 1, kBytes);
  ASSERT_EQ(driver_->Write(&source).code, kOk);
  DiskRecord copy = Record(5, 1, 2, 9, kBytes);
  const DiskResult copied = driver_->Copy(source, &copy);
  ASSERT_EQ(copied.code, kOk) << copied.why;
  EXPECT_EQ(copied.payload_crc, source.payload_crc);
  EXPECT_EQ(driver_->ReadCode(copy), kOk);
  EXPECT_EQ(device_->stats().copies, 1u);
  Reopen();
  EXPECT_THAT(contents_.records, ::testing::ElementsAre(copy));
}

TEST_P(DeviceContractTest, ACopyOfWrongBytesIsRefused) {
  ASSERT_EQ(driver_->Open(0, 1).code, kOk);
  DiskRecord source = Record(5, 0, 1, 1, 5000);
  ASSERT_EQ(driver_->Write(&source).code, kOk);
  driver_->Forget(source);
  source.payload_crc ^= 1;
  DiskRecord copy = Record(5, 0, 1, 9, 5000);
  EXPECT_EQ(driver_->Copy(source, &copy).code, absl::StatusCode::kDataLoss);
  EXPECT_EQ(driver_->ReadCode(source), absl::StatusCode::kDataLoss);
  EXPECT_EQ(device_->stats().corrupt, 2u);
  Reopen();
  EXPECT_THAT(contents_.records, ::testing::IsEmpty());
}

TEST_P(DeviceContractTest, OpeningASegmentEndsWhatItHeld) {
  ASSERT_EQ(driver_->Open(0, 1).code, kOk);
  ASSERT_EQ(driver_->Open(2, 2).code, kOk);
  DiskRecord gone = Record(1, 0, 1, 1, 100), stays = Record(2, 2, 2, 1, 100);
  ASSERT_EQ(driver_->Write(&gone).code, kOk);
  ASSERT_EQ(driver_->Write(&stays).code, kOk);
  ASSERT_EQ(driver_->Open(0, 3).code, kOk);
  bool right = false;
  EXPECT_EQ(driver_->Read(gone, &right).code, absl::StatusCode::kDataLoss);
  EXPECT_EQ(driver_->Write(&gone).code, absl::StatusCode::kInvalidArgument);
  Reopen();
  EXPECT_THAT(contents_.records, ::testing::ElementsAre(stays));
  EXPECT_EQ(contents_.dropped_records, 1u);
  EXPECT_THAT(contents_.generations, ::testing::ElementsAre(3, 0, 2, 0, 0));
  Reopen();
  EXPECT_EQ(contents_.dropped_records, 0u) << "sorted out for good";
}

TEST_P(DeviceContractTest, AForgottenRecordDoesNotComeBack) {
  ASSERT_EQ(driver_->Open(0, 1).code, kOk);
  DiskRecord forgotten = Record(1, 0, 1, 1, 100), stays = Record(2, 0, 1, 3, 100);
  ASSERT_EQ(driver_->Write(&forgotten).code, kOk);
  ASSERT_EQ(driver_->Write(&stays).code, kOk);
  driver_->Forget(forgotten);
  // The next command's result says that the forgetting was taken up.
  EXPECT_EQ(driver_->ReadCode(stays), kOk);
  Reopen();
  EXPECT_THAT(contents_.records, ::testing::ElementsAre(stays));
}

TEST_P(DeviceContractTest, GenerationsRise) {
  ASSERT_EQ(driver_->Open(0, 7).code, kOk);
  EXPECT_EQ(driver_->Open(0, 7).code, absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(driver_->Open(0, 6).code, absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(driver_->Open(0, 8).code, kOk);
}

TEST_P(DeviceContractTest, ImpossibleCommandsAreRefused) {
  ASSERT_EQ(driver_->Open(0, 1).code, kOk);
  constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(driver_->Open(5, 2).code, kInvalid);
  EXPECT_EQ(driver_->Open(0, 0).code, kInvalid);
  const auto write = [&](auto change) {
    DiskRecord record = Record(1, 0, 1, 1, 100);
    change(record);
    return driver_->Run(DeviceDriver::Command(DiskCommand::Kind::kWrite, record,
                                              memory_.bytes().first(kDiskBlockBytes)));
  };
  EXPECT_EQ(write([](DiskRecord&) {}).code, kOk);
  EXPECT_EQ(write([](DiskRecord& record) { record.offset += 1; }).code, kInvalid);
  EXPECT_EQ(write([](DiskRecord& record) { record.offset -= kDiskBlockBytes; }).code, kInvalid);
  EXPECT_EQ(write([](DiskRecord& record) { record.offset += kSegmentBytes; }).code, kInvalid);
  EXPECT_EQ(write([](DiskRecord& record) { record.segment = 1; }).code, kInvalid);
  EXPECT_EQ(write([](DiskRecord& record) { record.generation = 2; }).code, kInvalid);
  EXPECT_EQ(write([](DiskRecord& record) { record.layer_end = 0; }).code, kInvalid);
  EXPECT_EQ(write([](DiskRecord& record) { record.payload_bytes = 0; }).code, kInvalid);
  EXPECT_EQ(write([](DiskRecord& record) { record.payload_bytes = 5000; }).code, kInvalid);
  EXPECT_EQ(write([](DiskRecord& record) { record.payload_bytes = ~uint64_t{0}; }).code, kInvalid);
  const DiskRecord record = Record(1, 0, 1, 1, 100);
  EXPECT_EQ(driver_
                ->Run(DeviceDriver::Command(DiskCommand::Kind::kRead, record,
                                            memory_.bytes().subspan(512, kDiskBlockBytes)))
                .code,
            kInvalid);
}

TEST_P(DeviceContractTest, ClosesWithCommandsUnderWay) {
  ASSERT_EQ(driver_->Open(0, 1).code, kOk);
  for (uint64_t i = 0; i < 100; ++i) {
    DiskCommand command =
        DeviceDriver::Command(DiskCommand::Kind::kWrite, Record(i, 0, 1, 1 + 2 * i, 10),
                              memory_.bytes().subspan(i * kDiskBlockBytes, kDiskBlockBytes));
    FillPayload(i, command.memory.first(10));
    command.token = i;
    ASSERT_EQ(device_->Submit(command), absl::OkStatus());
  }
  Reopen();
  EXPECT_LE(contents_.records.size(), 100u);
  EXPECT_EQ(contents_.dropped_records, 0u);
  for (const DiskRecord& record : contents_.records) EXPECT_EQ(driver_->ReadCode(record), kOk);
}

INSTANTIATE_TEST_SUITE_P(All, DeviceContractTest,
                         ::testing::Values(Under::kIoUring, Under::kThreads, Under::kMemory),
                         NameOf);

}  // namespace
}  // namespace larder
