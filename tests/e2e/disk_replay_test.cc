// A workload ten times as large as the memory, through larder-bench, which checks every byte.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/e2e/disk_fixture.h"

namespace larder {
namespace {

using Json = nlohmann::json;

// Their blocks, each counted once, take 360 MB.
constexpr int kRequests = 1400;
constexpr uint64_t kWorkingSetBytes = 360'000'000;
constexpr uint64_t kArenaBytes = 32 * kMiB;
static_assert(kWorkingSetBytes > 10 * kArenaBytes);
constexpr absl::Duration kReplayPatience = absl::Minutes(5);
// What the disk has to add to the ratio of hits.
constexpr double kGain = 0.1;

class DiskReplayTest : public DiskTest {
 protected:
  // Replays the same requests every time. All that was fetched is right.
  static Json Replay(const std::vector<std::string>& daemon) {
    std::vector<std::string> arguments = {
        LARDER_BENCH_PATH,         "replay",
        "--generate=conversation", absl::StrCat("--limit=", kRequests),
        "--bytes-per-token=64",    "--json"};
    arguments.insert(arguments.end(), daemon.begin(), daemon.end());
    const Ended replay = RunProgram(arguments, kReplayPatience);
    EXPECT_EQ(replay.end, "exit 0") << replay.output;
    const Json json = replay.json();
    EXPECT_TRUE(json.is_object()) << replay.output;
    if (!json.is_object()) return Json::object();
    EXPECT_EQ(json["requests"], kRequests);
    EXPECT_EQ(json["corrupt"], 0) << replay.output;
    EXPECT_EQ(json["errors"], 0) << replay.output;
    return json;
  }
  static double HitRatio(const Json& replay) { return replay.value("hit_ratio", 0.0); }
};

TEST_F(DiskReplayTest, AWorkingSetOfTenTimesTheMemory) {
  const double memory_alone = HitRatio(Replay(
      {absl::StrCat("--arena-bytes=", kArenaBytes), absl::StrCat("--larderd=", LARDERD_PATH)}));
  DiskSetup setup{.paths = {disk_path()},
                  .capacity_bytes = kDiskOverheadBytes + 192 * kMiB,
                  .arena_bytes = kArenaBytes};
  uint64_t samples = 0;
  {
    const SpaceSampler sampler(disk_path());
    ASSERT_NO_FATAL_FAILURE(Start(setup));
    // At a pace that disks can follow: what they cannot is dropped.
    const Json replay = Replay({"--socket=" + daemon().socket_path(), "--time-scale=0.02"});
    EXPECT_GT(HitRatio(replay), memory_alone + kGain);
    EXPECT_GT(replay.value("bytes_put", uint64_t{0}), kWorkingSetBytes);
    EXPECT_GT(DiskStatus()["reclaimed_segments"], 0) << "the disk was never full";
    std::printf("hit ratio %.3f, without the disk %.3f; %s\n", HitRatio(replay), memory_alone,
                DiskStatus().dump().c_str());
    ASSERT_NO_FATAL_FAILURE(End());
    EXPECT_LE(sampler.most_bytes(), setup.capacity_bytes);
    EXPECT_GT(sampler.most_bytes(), 192 * kMiB);
    samples = sampler.samples();
  }
  // A smaller disk holds from the moment at which the daemon serves again.
  setup.capacity_bytes = kDiskOverheadBytes + 64 * kMiB;
  ASSERT_NO_FATAL_FAILURE(Start(setup));
  const SpaceSampler sampler(disk_path());
  EXPECT_GT(DiskStatus()["chunks"], 0);
  (void)Replay({"--socket=" + daemon().socket_path(), "--time-scale=0.01"});
  EXPECT_GT(DiskStatus()["reclaimed_segments"], 0);
  EXPECT_LE(sampler.most_bytes(), setup.capacity_bytes);
  EXPECT_GT(sampler.samples() + samples, 200u);
}

}  // namespace
}  // namespace larder
