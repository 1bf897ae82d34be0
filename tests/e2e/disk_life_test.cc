// The disk tier over the life of a daemon: its modes, restarts, directories it must not touch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/e2e/disk_fixture.h"

namespace larder {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr uint64_t kChains = 20;  // 40 MiB
constexpr uint64_t kChunks = kChains * 8;

using DiskLifeTest = DiskTest;

std::string ReadAll(const std::string& path) {
  std::ostringstream contents;
  contents << std::ifstream(path, std::ios::binary).rdbuf();
  return contents.str();
}

TEST_F(DiskLifeTest, WrittenThroughChunksOutliveTheMemory) {
  const DiskSetup setup{.paths = {disk_path()},
                        .capacity_bytes = kDiskOverheadBytes + 128 * kMiB,
                        .arena_bytes = 64 * kMiB,
                        .flags = {"--set", "disk.mode=write-through"}};
  ASSERT_NO_FATAL_FAILURE(Start(setup));
  ASSERT_NO_FATAL_FAILURE(PutChainsOneByOne(0, kChains));
  EXPECT_EQ(DiskStatus()["chunks"], kChunks);
  Kill();
  LoseArena();
  ASSERT_NO_FATAL_FAILURE(Start(setup));
  const MatchResult match = space().Match(KnownKeys(0, kChainChunks));
  EXPECT_EQ(match.chunks, kChainChunks);
  EXPECT_EQ(match.memory_chunks, 0u);
  EXPECT_EQ(CountRight(0, kChains), kChunks);
  EXPECT_EQ(DiskStatus()["loads"], kChunks);
  // What is written from now on leaves what was there alone.
  ASSERT_NO_FATAL_FAILURE(PutChainsOneByOne(kChains, kChains));
  Kill();
  LoseArena();
  ASSERT_NO_FATAL_FAILURE(Start(setup));
  EXPECT_EQ(CountRight(0, 2 * kChains), 2 * kChunks);
  EXPECT_EQ(DiskStatus()["corrupt_records"], 0);
}

TEST_F(DiskLifeTest, AReadOnlyDiskIsReadAndNotWritten) {
  DiskSetup setup{.paths = {disk_path()}};
  ASSERT_NO_FATAL_FAILURE(Start(setup));
  // Until it is full and segments are reclaimed.
  ASSERT_NO_FATAL_FAILURE(PutChains(0, 3 * kChains));
  WaitForDemotions();
  ASSERT_NO_FATAL_FAILURE(End());
  LoseArena();
  const std::string segments = ReadAll(disk_path() + "/segments");
  setup.flags = {"--set", "disk.mode=read-only"};
  ASSERT_NO_FATAL_FAILURE(Start(setup));
  const uint64_t on_disk = DiskStatus()["chunks"];
  EXPECT_GT(on_disk, 0u);
  EXPECT_EQ(CountRight(0, 3 * kChains), on_disk);
  ASSERT_NO_FATAL_FAILURE(PutChains(3 * kChains, 2 * kChains));
  EXPECT_EQ(DiskStatus()["chunks"], on_disk);
  EXPECT_EQ(DeviceStatus()["bytes_written"], 0);
  EXPECT_EQ(CountRight(0, 3 * kChains), on_disk);
  ASSERT_NO_FATAL_FAILURE(End());
  EXPECT_TRUE(ReadAll(disk_path() + "/segments") == segments);
}

TEST_F(DiskLifeTest, AnotherNodesDirectoryIsRefused) {
  DiskSetup setup{.paths = {disk_path()}};
  ASSERT_NO_FATAL_FAILURE(Start(setup));
  ASSERT_NO_FATAL_FAILURE(End());
  setup.flags = {"--set", "disk.owner=node-2"};
  const Ended refused = RunProgram(CommandLine(setup));
  EXPECT_EQ(refused.end, "exit 1");
  EXPECT_THAT(refused.output,
              AllOf(HasSubstr(disk_path()), HasSubstr("node-1"), HasSubstr("node-2")));
}

TEST_F(DiskLifeTest, TwoDaemonsCannotShareADirectory) {
  const DiskSetup setup{.paths = {disk_path()}};
  ASSERT_NO_FATAL_FAILURE(Start(setup));
  std::vector<std::string> arguments = CommandLine(setup);
  arguments.push_back("--arena-directory=" + directory() + "/other-arena");
  arguments.push_back("--socket=" + directory() + "/other.sock");
  arguments.push_back("--grpc-listen=");
  const Ended refused = RunProgram(arguments);
  EXPECT_EQ(refused.end, "exit 1");
  EXPECT_THAT(refused.output,
              AllOf(HasSubstr(disk_path()), HasSubstr(absl::StrCat(daemon().process().pid()))));
  ASSERT_NO_FATAL_FAILURE(PutChains(0, 1));
  EXPECT_EQ(CountRight(0, 1), kChainChunks);
}

TEST_F(DiskLifeTest, ACapacityWithoutRoomForASegmentIsRefused) {
  const DiskSetup setup{.paths = {disk_path()}, .capacity_bytes = 66 * kMiB};
  const Ended refused = RunProgram(CommandLine(setup));
  EXPECT_EQ(refused.end, "exit 1");
  EXPECT_THAT(refused.output, AllOf(HasSubstr(disk_path()), HasSubstr("no room for a segment"),
                                    HasSubstr(absl::StrCat(66 * kMiB))));
}

TEST_F(DiskLifeTest, ARetiredDeviceIsReadAndNotWritten) {
  const DiskSetup setup{.paths = {disk_path("a"), disk_path("b")},
                        .capacity_bytes = kDiskOverheadBytes + 128 * kMiB};
  ASSERT_NO_FATAL_FAILURE(Start(setup));
  ASSERT_NO_FATAL_FAILURE(PutChainsOneByOne(0, kChains));
  const Ended unknown = RunCtl({"disk", "retire", "--path", disk_path("c")});
  EXPECT_EQ(unknown.end, "exit 1");
  EXPECT_THAT(unknown.output, HasSubstr(disk_path("c")));
  const Ended retired = RunCtl({"disk", "retire", "--path", disk_path("a")});
  EXPECT_EQ(retired.end, "exit 0") << retired.output;
  EXPECT_EQ(DeviceStatus(0)["retired"], true);
  EXPECT_EQ(DeviceStatus(1)["retired"], false);
  EXPECT_THAT(RunCtl({"status"}).output, HasSubstr("retired"));
  const uint64_t writes_before = DeviceStatus(0)["writes"],
                 others_before = DeviceStatus(1)["writes"];
  EXPECT_GT(writes_before, 0u);
  ASSERT_NO_FATAL_FAILURE(PutChainsOneByOne(kChains, kChains));
  EXPECT_EQ(DeviceStatus(0)["writes"], writes_before);
  EXPECT_GT(DeviceStatus(1)["writes"], others_before);
  EXPECT_EQ(CountRight(0, 2 * kChains), 2 * kChunks);
  EXPECT_GT(DeviceStatus(0)["reads"], 0);
}

}  // namespace
}  // namespace larder
