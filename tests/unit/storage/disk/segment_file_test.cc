// Directories and block devices: who may open them, and how large they get.
#include "storage/disk/segment_file.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/loop.h>
#include <linux/seccomp.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <thread>
#include <utility>

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

// For the calling thread and those that it starts, as a container's profile would.
void ForbidIoUring() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program = {sizeof code / sizeof code[0], code};
  ASSERT_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  ASSERT_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

TEST_F(SegmentFileTest, ForbiddenIoUringIsReplacedByThreadsAndSaidHow) {
  std::string refusal, description;
  absl::StatusCode code = absl::StatusCode::kOk;
  // A filter cannot be taken off, but it goes with its thread.
  std::thread sandboxed([&] {
    ForbidIoUring();
    options_.engine = DiskEngineKind::kIoUring;
    const absl::Status status = Open().status();
    code = status.code();
    refusal = std::string(status.message());
    options_.engine = DiskEngineKind::kAuto;
    const std::unique_ptr<DiskDevice> device = MustOpen();
    if (device == nullptr) return;
    description = device->EngineDescription();
    Fill(*device, 2);
  });
  sandboxed.join();
  EXPECT_EQ(code, absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(refusal, HasSubstr("kernel.io_uring_disabled"));
  EXPECT_THAT(refusal, HasSubstr("seccomp"));
  EXPECT_THAT(description, HasSubstr("threads (io_uring is not permitted"));
}

// A block device over a file, as long as the object lives.
class LoopDevice {
 public:
  explicit LoopDevice(const std::string& file) {
    const FileDescriptor control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    if (!control) return;
    const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
    if (number < 0) return;
    const std::string path = absl::StrCat("/dev/loop", number);
    FileDescriptor device(open(path.c_str(), O_RDWR | O_CLOEXEC));
    const FileDescriptor backing(open(file.c_str(), O_RDWR | O_CLOEXEC));
    if (!device || !backing || ioctl(device.get(), LOOP_SET_FD, backing.get()) != 0) return;
    device_ = std::move(device);
    path_ = path;
  }
  ~LoopDevice() {
    if (device_) ioctl(device_.get(), LOOP_CLR_FD, 0);
  }
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;

  // "" when it could not be made.
  const std::string& path() const { return path_; }

 private:
  FileDescriptor device_;
  std::string path_;
};

TEST_F(SegmentFileTest, ABlockDeviceHoldsSegmentsToo) {
  const std::string backing = directory_.path() + "/backing";
  std::ofstream(backing).put('x');
  ASSERT_EQ(truncate(backing.c_str(), kSegmentsBegin + 3 * kSegmentBytes), 0);
  const LoopDevice loop(backing);
  if (loop.path().empty()) GTEST_SKIP() << "no right to make a loop device, or no such driver";
  options_.path = loop.path();
  EXPECT_TRUE(absl::IsInvalidArgument(Open().status())) << "where is the metadata to be?";
  options_.metadata_directory = directory_.path() + "/state";
  EXPECT_TRUE(absl::IsFailedPrecondition(Open().status())) << "it holds something else";
  options_.reset = true;
  std::vector<DiskRecord> records;
  {
    const std::unique_ptr<DiskDevice> device = MustOpen();
    ASSERT_NE(device, nullptr);
    EXPECT_EQ(device->geometry().segments, 3u) << "as many as the device has room for";
    EXPECT_TRUE(absl::IsUnavailable(Open().status()));
    records = Fill(*device, 3);
  }
  options_.reset = false;
  const std::unique_ptr<DiskDevice> device = MustOpen();
  ASSERT_NE(device, nullptr);
  EXPECT_THAT(device->TakeContents().records, ::testing::UnorderedElementsAreArray(records));
  DeviceDriver driver(*device, sink_);
  for (const DiskRecord& record : records) EXPECT_EQ(driver.ReadCode(record), kOk);
}

}  // namespace
}  // namespace larder
