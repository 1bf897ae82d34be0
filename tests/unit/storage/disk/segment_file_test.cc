// Directories and block devices: who may open them, and how large they get.
#include "storage/disk/segment_file.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/disk/disk_device.h"
#include "storage/disk/segment_headers.h"
#include "tests/unit/storage/arena_testing.h"
#include "tests/unit/storage/disk/device_driver.h"

namespace larder {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kSegmentBytes = uint64_t{1} << 20;
constexpr uint64_t kOverheadBytes = SegmentFile::kMetadataBytesMin + kSegmentsBegin;
constexpr auto kOk = absl::StatusCode::kOk;

class SegmentFileTest : public ::testing::Test {
 protected:
  SegmentFileTest() {
    options_.path = directory_.path() + "/device";
    options_.capacity_bytes = kOverheadBytes + 4 * kSegmentBytes;
    options_.segment_bytes = kSegmentBytes;
    options_.owner = "node-1";
    options_.engine = DiskEngineKind::kThreads;
    options_.depth = 4;
  }

  absl::StatusOr<std::unique_ptr<DiskDevice>> Open() {
    return DiskDevice::Open(options_, sink_.callback());
  }
  std::unique_ptr<DiskDevice> MustOpen() {
    auto device = Open();
    EXPECT_EQ(device.status(), absl::OkStatus());
    return device.ok() ? *std::move(device) : nullptr;
  }

  uint64_t FileBytes() {
    struct stat information;
    EXPECT_EQ(stat((options_.path + "/segments").c_str(), &information), 0);
    return static_cast<uint64_t>(information.st_size);
  }

  void ChangeSuperblock(absl::FunctionRef<void(SuperblockV1*)> change) {
    const FileDescriptor file(open((options_.path + "/segments").c_str(), O_RDWR | O_CLOEXEC));
    SuperblockV1 bytes;
    ASSERT_EQ(pread(file.get(), &bytes, sizeof bytes, 0), static_cast<ssize_t>(sizeof bytes));
    change(&bytes);
    ASSERT_EQ(pwrite(file.get(), &bytes, sizeof bytes, 0), static_cast<ssize_t>(sizeof bytes));
  }

  // Opens segments and writes a record into each.
  std::vector<DiskRecord> Fill(DiskDevice& device, uint32_t segments) {
    DeviceDriver driver(device, sink_);
    std::vector<DiskRecord> records;
    for (uint32_t segment = 0; segment < segments; ++segment) {
      EXPECT_EQ(driver.Open(segment, segment + 1).code, kOk);
      DiskRecord record =
          RecordAt(device.geometry(), segment, segment, segment + 1, 1, kSegmentBytes / 2);
      EXPECT_EQ(driver.Write(&record).code, kOk);
      records.push_back(record);
    }
    return records;
  }

  ScratchDirectory directory_;
  DiskDeviceOptions options_;
  ResultSink sink_;
};

TEST_F(SegmentFileTest, GrowsSegmentBySegmentWithinItsCapacity) {
  const std::unique_ptr<DiskDevice> device = MustOpen();
  ASSERT_NE(device, nullptr);
  EXPECT_EQ(device->geometry().segments, 4u);
  EXPECT_EQ(FileBytes(), kSegmentsBegin);
  DeviceDriver driver(*device, sink_);
  for (uint32_t segment = 0; segment < 4; ++segment) {
    ASSERT_EQ(driver.Open(segment, segment + 1).code, kOk);
    EXPECT_EQ(FileBytes(), kSegmentsBegin + (segment + 1) * kSegmentBytes);
  }
  struct stat information;
  ASSERT_EQ(stat((options_.path + "/segments").c_str(), &information), 0);
  EXPECT_GE(static_cast<uint64_t>(information.st_blocks) * 512, FileBytes()) << "has holes";
  EXPECT_EQ(information.st_mode & 0777, 0600u);
}

TEST_F(SegmentFileTest, ASecondOpenIsRefusedAndNamesTheFirst) {
  const std::unique_ptr<DiskDevice> device = MustOpen();
  const absl::Status second = Open().status();
  EXPECT_TRUE(absl::IsUnavailable(second)) << second;
  EXPECT_THAT(second.message(), HasSubstr(options_.path));
  EXPECT_THAT(second.message(), HasSubstr(absl::StrCat("process ", getpid())));
}

TEST_F(SegmentFileTest, AnotherOwnersDirectoryIsRefused) {
  MustOpen();
  options_.owner = "node-2";
  const absl::Status status = Open().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("'node-1'"));
  EXPECT_THAT(status.message(), HasSubstr("'node-2'"));
  options_.reset = true;
  EXPECT_EQ(Open().status(), absl::OkStatus());
}

TEST_F(SegmentFileTest, AnotherVersionsDirectoryIsRefused) {
  MustOpen();
  ChangeSuperblock([](SuperblockV1* bytes) { bytes->version = 2; });
  const absl::Status status = Open().status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("version 2"));
}

TEST_F(SegmentFileTest, ADamagedSuperblockIsDataLoss) {
  MustOpen();
  ChangeSuperblock([](SuperblockV1* bytes) { bytes->segment_bytes ^= 4096; });
  EXPECT_TRUE(absl::IsDataLoss(Open().status()));
  ASSERT_EQ(truncate((options_.path + "/segments").c_str(), 100), 0);
  EXPECT_TRUE(absl::IsDataLoss(Open().status()));
}

TEST_F(SegmentFileTest, SomethingElseIsRefused) {
  MustOpen();
  ChangeSuperblock([](SuperblockV1* bytes) { std::memset(bytes->magic, 'x', 8); });
  EXPECT_TRUE(absl::IsFailedPrecondition(Open().status()));
  options_.path = directory_.path() + "/file";
  std::ofstream(options_.path) << "text";
  EXPECT_TRUE(absl::IsInvalidArgument(Open().status()));
}

TEST_F(SegmentFileTest, ImpossibleOptionsLeaveNothingBehind) {
  const DiskDeviceOptions good = options_;
  options_.capacity_bytes = kOverheadBytes + kSegmentBytes - 1;
  EXPECT_TRUE(absl::IsInvalidArgument(Open().status()));
  options_ = good;
  options_.owner = std::string(kDiskOwnerBytesMax + 1, 'n');
  EXPECT_TRUE(absl::IsInvalidArgument(Open().status()));
  options_ = good;
  options_.segment_bytes = kSegmentBytes + 1;
  EXPECT_TRUE(absl::IsInvalidArgument(Open().status()));
  options_ = good;
  options_.depth = 0;
  EXPECT_TRUE(absl::IsInvalidArgument(Open().status()));
  options_ = good;
  EXPECT_EQ(Open().status(), absl::OkStatus());
}

TEST_F(SegmentFileTest, ASmallerCapacityGivesUpTheSegmentsBeyond) {
  std::vector<DiskRecord> records = Fill(*MustOpen(), 4);
  options_.capacity_bytes -= 2 * kSegmentBytes;
  options_.segment_bytes = 2 * kSegmentBytes;  // the device keeps its own
  const std::unique_ptr<DiskDevice> device = MustOpen();
  ASSERT_NE(device, nullptr);
  EXPECT_EQ(device->geometry().segments, 2u);
  EXPECT_EQ(FileBytes(), kSegmentsBegin + 2 * kSegmentBytes);
  records.resize(2);
  const DiskContents contents = device->TakeContents();
  EXPECT_THAT(contents.records, ::testing::UnorderedElementsAreArray(records));
  EXPECT_EQ(contents.dropped_records, 2u);
  EXPECT_EQ(contents.highest_generation, 4u);
  EXPECT_THAT(contents.generations, ::testing::ElementsAre(1, 2));
}

TEST_F(SegmentFileTest, ResetDiscardsEverything) {
  Fill(*MustOpen(), 2);
  options_.reset = true;
  const std::unique_ptr<DiskDevice> device = MustOpen();
  ASSERT_NE(device, nullptr);
  EXPECT_EQ(FileBytes(), kSegmentsBegin);
  EXPECT_THAT(device->TakeContents().records, ::testing::IsEmpty());
}

TEST_F(SegmentFileTest, ALostSegmentFileTakesTheIndexWithIt) {
  Fill(*MustOpen(), 2);
  ASSERT_EQ(unlink((options_.path + "/segments").c_str()), 0);
  const std::unique_ptr<DiskDevice> device = MustOpen();
  ASSERT_NE(device, nullptr);
  EXPECT_THAT(device->TakeContents().records, ::testing::IsEmpty());
}

TEST_F(SegmentFileTest, AFullFileSystemRefusesTheSegmentAndKeepsTheOthers) {
  ASSERT_EQ(mkdir(options_.path.c_str(), 0700), 0);
  // Room for two segments and for the metadata's share of 64 MiB, which no segment gets.
  if (mount("none", options_.path.c_str(), "tmpfs", 0, "size=67840k,mode=0700") != 0) {
    GTEST_SKIP() << "no right to mount a small file system: " << std::strerror(errno);
  }
  {
    const std::unique_ptr<DiskDevice> device = MustOpen();
    ASSERT_NE(device, nullptr);
    const DiskRecord record = Fill(*device, 1)[0];
    DeviceDriver driver(*device, sink_);
    uint32_t segment = 1;
    DiskResult result;
    while (segment < 4) {
      result = driver.Open(segment, segment + 1);
      if (result.code != kOk) break;
      ++segment;
    }
    EXPECT_EQ(result.code, absl::StatusCode::kResourceExhausted);
    EXPECT_THAT(result.why, HasSubstr("full"));
    EXPECT_EQ(FileBytes(), kSegmentsBegin + segment * kSegmentBytes) << "nothing half given";
    EXPECT_EQ(driver.ReadCode(record), kOk);
  }
  EXPECT_EQ(umount2(options_.path.c_str(), MNT_DETACH), 0);
}

TEST_F(SegmentFileTest, ADirectoryTakesNoOtherForItsMetadata) {
  options_.metadata_directory = directory_.path();
  EXPECT_TRUE(absl::IsInvalidArgument(Open().status()));
}

TEST_F(SegmentFileTest, SaysHowItReadsAndWrites) {
  options_.direct = false;
  EXPECT_THAT(MustOpen()->EngineDescription(), HasSubstr("threads, through the page cache"));
  options_.engine = DiskEngineKind::kAuto;
  EXPECT_THAT(MustOpen()->EngineDescription(), HasSubstr("io_uring"));
}

}  // namespace
}  // namespace larder
