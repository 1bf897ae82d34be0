// Disks that fail, fall silent, lose their files or fill up under a daemon.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/e2e/disk_fixture.h"

namespace larder {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kChains = 20;  // 40 MiB, more than the memory
constexpr uint64_t kChunks = kChains * 8;
// Longer than a busy machine is away, much shorter than what a hang would take.
constexpr absl::Duration kSlack = absl::Seconds(1);

// What is preloaded is inherited by the programs that a test starts.
class Preloaded {
 public:
  Preloaded() { EXPECT_EQ(setenv("LD_PRELOAD", DISK_FAULTS_PATH, 1), 0); }
  ~Preloaded() { EXPECT_EQ(unsetenv("LD_PRELOAD"), 0); }
  Preloaded(const Preloaded&) = delete;
  Preloaded& operator=(const Preloaded&) = delete;
};

class DiskFailureTest : public DiskTest {
 protected:
  // No daemon waits for a silent disk when it ends.
  void TearDown() override { Mend("a"), Mend("b"); }

  void StartWithFaults(DiskSetup setup) {
    setup.flags.insert(setup.flags.end(), {"--set", "disk.engine=threads"});
    const Preloaded preloaded;
    ASSERT_NO_FATAL_FAILURE(Start(setup));
  }
  void Break(const std::string& disk, const std::string& how) const {
    // In one step: a reader sees all of it or nothing.
    std::ofstream(disk_path("new")) << how;
    std::filesystem::rename(disk_path("new"), disk_path(disk) + ".fault");
  }
  void Mend(const std::string& disk) const { std::filesystem::remove(disk_path(disk) + ".fault"); }

  const DiskSetup two_disks_{.paths = {disk_path("a"), disk_path("b")},
                             .flags = {"--set", "disk.mode=write-through"}};
};

TEST_F(DiskFailureTest, OfTwoDisksOneFailsMidway) {
  ASSERT_NO_FATAL_FAILURE(StartWithFaults(two_disks_));
  ASSERT_NO_FATAL_FAILURE(PutChainsOneByOne(0, kChains));
  const uint64_t in_a = DeviceStatus(0)["writes"], in_b = DeviceStatus(1)["writes"];
  ASSERT_GT(in_a, 20u);
  ASSERT_GT(in_b, 20u);
  Break("a", "fail");
  const uint64_t left = CountRight(0, kChains);
  EXPECT_GE(left, in_b);
  EXPECT_LT(left, kChunks);
  // The other one takes all that is new.
  ASSERT_NO_FATAL_FAILURE(PutChainsOneByOne(kChains, kChains));
  ASSERT_TRUE(Eventually([this] { return DeviceStatus(0)["out_of_service"] == true; }));
  EXPECT_GT(DeviceStatus(0)["failed"], 0);
  EXPECT_EQ(DeviceStatus(1)["out_of_service"], false);
  EXPECT_EQ(DeviceStatus(1)["failed"], 0);
  EXPECT_GT(DeviceStatus(1)["writes"], in_b + kChunks / 2);
  EXPECT_GT(CountRight(kChains, kChains), kChunks / 2);
  EXPECT_THAT(RunCtl({"status"}).output, HasSubstr(disk_path("a") + ": out of service"));
  EXPECT_THAT(daemon().process().Output(),
              AllOf(HasSubstr("disk out of service"), HasSubstr(disk_path("a"))));
  // It gets another chance at the next start, with what it still has.
  Mend("a");
  ASSERT_NO_FATAL_FAILURE(End());
  ASSERT_NO_FATAL_FAILURE(StartWithFaults(two_disks_));
  EXPECT_EQ(DeviceStatus(0)["out_of_service"], false);
  EXPECT_GT(CountRight(0, 2 * kChains), kChunks);
}

TEST_F(DiskFailureTest, OfTwoDisksOneLosesItsSegments) {
  ASSERT_NO_FATAL_FAILURE(Start(two_disks_));
  ASSERT_NO_FATAL_FAILURE(PutChainsOneByOne(0, kChains));
  const uint64_t in_b = DeviceStatus(1)["writes"];
  std::filesystem::resize_file(disk_path("a") + "/segments", kMiB);
  const uint64_t left = CountRight(0, kChains);
  EXPECT_GE(left, in_b);
  EXPECT_LT(left, kChunks);
  ASSERT_NO_FATAL_FAILURE(PutChainsOneByOne(kChains, kChains));
  EXPECT_GT(CountRight(kChains, kChains), kChunks / 2);
  const auto lost = DeviceStatus(0);
  EXPECT_GT(lost["failed"].get<uint64_t>() + lost["corrupt"].get<uint64_t>(), 0u);
  EXPECT_EQ(DeviceStatus(1)["failed"], 0);
  EXPECT_EQ(DeviceStatus(1)["corrupt"], 0);
  EXPECT_THAT(daemon().process().Output(), HasSubstr(disk_path("a")));
}

TEST_F(DiskFailureTest, ASilentDiskHoldsNobodyUp) {
  DiskSetup setup{.paths = {disk_path("a")}, .flags = {"--set", "disk.io_timeout=3s"}};
  ASSERT_NO_FATAL_FAILURE(StartWithFaults(setup));
  ASSERT_NO_FATAL_FAILURE(PutChainsOneByOne(0, kChains));
  const auto old = KnownKeys(0, kChainChunks);
  const auto recent = KnownKeys(kChains - 1, kChainChunks);
  ASSERT_EQ(space().Match(old).chunks, kChainChunks);
  ASSERT_LT(space().Match(old).memory_chunks, kChainChunks);
  Break("a", "wait");
  for (const int timeout_ms : {1, 3, 10, 100, 300}) {
    SCOPED_TRACE(timeout_ms);
    FetchOptions options;
    options.timeout = absl::Milliseconds(timeout_ms);
    const absl::Time start = absl::Now();
    const FetchResult fetch = space().Fetch(old, buffers_.destinations(kChainChunks), options);
    EXPECT_TRUE(absl::IsDeadlineExceeded(fetch.status)) << fetch.status;
    EXPECT_LT(absl::Now() - start, options.timeout + kSlack);
    // It was the disk that was late, not the daemon.
    MatchResult match;
    EXPECT_TRUE(Eventually([&] { return (match = space().Match(recent)).status.ok(); }, kSlack / 2))
        << match.status;
    EXPECT_EQ(match.memory_chunks, kChainChunks);
    EXPECT_TRUE(client().connected());
    buffers_.Spoil();
    EXPECT_EQ(space().Fetch(recent, buffers_.destinations(kChainChunks)).chunks, kChainChunks);
    EXPECT_EQ(buffers_.CountRight(recent, kChainChunks), kChainChunks);
  }
  // Puts do not wait for it either.
  const absl::Time start = absl::Now();
  ASSERT_NO_FATAL_FAILURE(PutChains(kChains, kChains));
  EXPECT_LT(absl::Now() - start, 2 * kSlack);
  EXPECT_TRUE(Eventually([this] { return DeviceStatus(0)["out_of_service"] == true; }));
  const FetchResult fetch = space().Fetch(old, buffers_.destinations(kChainChunks));
  EXPECT_TRUE(absl::IsNotFound(fetch.status)) << fetch.status;
  EXPECT_EQ(CountRight(2 * kChains - 1, 1), kChainChunks);
}

TEST_F(DiskFailureTest, AFetchThatTimedOutLeavesWhatItBeganUseful) {
  DiskSetup setup{.paths = {disk_path("a")}};
  ASSERT_NO_FATAL_FAILURE(StartWithFaults(setup));
  ASSERT_NO_FATAL_FAILURE(PutChainsOneByOne(0, kChains));
  const auto keys = KnownKeys(0, kChainChunks);
  Break("a", "wait");
  FetchOptions options;
  options.timeout = absl::Milliseconds(20);
  const FetchResult late = space().Fetch(keys, buffers_.destinations(kChainChunks), options);
  EXPECT_TRUE(absl::IsDeadlineExceeded(late.status)) << late.status;
  const uint64_t loads = DiskStatus()["loads"], from_memory = late.chunks;
  Mend("a");
  buffers_.Spoil();
  const FetchResult fetch = space().Fetch(keys, buffers_.destinations(kChainChunks));
  EXPECT_TRUE(fetch.status.ok()) << fetch.status;
  EXPECT_EQ(buffers_.CountRight(keys, kChainChunks), kChainChunks);
  // Each chunk was read once for both.
  EXPECT_LT(from_memory, kChainChunks);
  EXPECT_EQ(DiskStatus()["loads"], loads + kChainChunks - from_memory);
}

// A small file system, until the end of the test.
class SmallFileSystem {
 public:
  SmallFileSystem(std::string path, uint64_t bytes) : path_(std::move(path)) {
    std::filesystem::create_directory(path_);
    const std::string size = absl::StrCat("size=", bytes);
    if (mount("larder-e2e", path_.c_str(), "tmpfs", 0, size.c_str()) != 0) error_ = errno;
  }
  ~SmallFileSystem() {
    if (error_ == 0) umount2(path_.c_str(), MNT_DETACH);
  }
  SmallFileSystem(const SmallFileSystem&) = delete;
  SmallFileSystem& operator=(const SmallFileSystem&) = delete;
  int error() const { return error_; }
  uint64_t free_bytes() const { return std::filesystem::space(path_).available; }

 private:
  const std::string path_;
  int error_ = 0;
};

TEST_F(DiskFailureTest, AFullFileSystemIsServedFrom) {
  const SmallFileSystem file_system(disk_path("small"), 160 * kMiB);
  if (file_system.error() != 0) {
    GTEST_SKIP() << "no file system can be mounted: " << std::strerror(file_system.error());
  }
  const DiskSetup setup{.paths = {disk_path("small") + "/disk"},
                        .capacity_bytes = kDiskOverheadBytes + 256 * kMiB};
  ASSERT_NO_FATAL_FAILURE(Start(setup));
  ASSERT_NO_FATAL_FAILURE(PutChainsOneByOne(0, 5 * kChains));
  EXPECT_THAT(daemon().process().Output(), HasSubstr("the file system is full"));
  EXPECT_EQ(DeviceStatus()["out_of_service"], false);
  // The index lives there, too, and has to be able to grow.
  const uint64_t index_bytes = DeviceStatus()["metadata_bytes"];
  EXPECT_GE(file_system.free_bytes() + index_bytes, 60 * kMiB);
  EXPECT_LT(file_system.free_bytes(), 64 * kMiB);
  const uint64_t writes = DeviceStatus()["writes"];
  EXPECT_GT(CountRight(0, 5 * kChains), kChunks);
  // Old chunks make room for new ones.
  ASSERT_NO_FATAL_FAILURE(PutChainsOneByOne(5 * kChains, kChains));
  EXPECT_GT(DeviceStatus()["writes"], writes + kChunks / 2);
  EXPECT_GT(CountRight(5 * kChains, kChains), kChunks / 2);
  Kill();
  LoseArena();
  ASSERT_NO_FATAL_FAILURE(Start(setup));
  EXPECT_GT(CountRight(0, 6 * kChains), kChunks);
  EXPECT_EQ(DeviceStatus()["out_of_service"], false);
}

}  // namespace
}  // namespace larder
