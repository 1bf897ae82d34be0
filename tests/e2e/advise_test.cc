// What larderctl advise says of a daemon that has served a workload.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/e2e/disk_fixture.h"

namespace larder {
namespace {

using Json = nlohmann::json;
using ::testing::HasSubstr;

constexpr int kRequests = 1400;
// Their blocks, each counted once, take 360 MB.
constexpr uint64_t kArenaBytes = 64 * kMiB;
constexpr absl::Duration kReplayPatience = absl::Minutes(1);

class AdviseTest : public DiskTest {
 protected:
  // Returns what larder-bench says of it.
  Json Replay(const std::vector<std::string>& more_arguments) {
    std::vector<std::string> arguments = {
        LARDER_BENCH_PATH,         "replay",
        "--generate=conversation", absl::StrCat("--limit=", kRequests),
        "--bytes-per-token=64",    "--json",
        "--concurrency=1",         "--socket=" + daemon().socket_path()};
    arguments.insert(arguments.end(), more_arguments.begin(), more_arguments.end());
    const Ended replay = RunProgram(arguments, kReplayPatience);
    EXPECT_EQ(replay.end, "exit 0") << replay.output;
    return replay.json().is_object() ? replay.json() : Json::object();
  }

  Json Advise() {
    const Ended advise = RunCtl({"advise", "--json"});
    EXPECT_EQ(advise.end, "exit 0") << advise.output;
    return advise.json();
  }
};

double HitsOf(const Json& insight, const std::string& policy, double factor) {
  for (const Json& one : insight["policies"]) {
    if (one["policy"] == policy && one["capacity_factor"] == factor) return one["hit_ratio"];
  }
  ADD_FAILURE() << "no " << policy << " at " << factor << ": " << insight.dump();
  return 0;
}

TEST_F(AdviseTest, EstimatesAreNearWhatTheDaemonFinds) {
  // A daemon that holds a sixth of the workload.
  ASSERT_NO_FATAL_FAILURE(Start({.paths = {}, .arena_bytes = kArenaBytes}));
  EXPECT_THAT(RunCtl({"advise"}).output, HasSubstr("Nothing was asked for"));

  const Json replay = Replay({});
  const Json insight = Advise();
  ASSERT_EQ(insight["tiers"].size(), 1u) << insight.dump();
  const Json& memory = insight["tiers"][0];
  EXPECT_EQ(memory["filled"], true);
  EXPECT_EQ(insight["uses"], replay["blocks"]);
  EXPECT_NEAR(memory["found_ratio"], replay["block_hit_ratio"], 1e-9);
  // The daemon's order is one of these.
  const double found = memory["found_ratio"];
  const double lru = HitsOf(insight, "lru", 1), larder = HitsOf(insight, "larder", 1);
  EXPECT_LT(std::min(std::abs(lru - found), std::abs(larder - found)), 0.03) << insight.dump();
  EXPECT_GE(HitsOf(insight, "lru", 1.25), lru);
  EXPECT_GT(insight["unlimited_hit_ratio"], found);
  EXPECT_EQ(insight["tenants"].size(), 1u);

  const Ended text = RunCtl({"advise"});
  EXPECT_EQ(text.end, "exit 0");
  for (const char* sentence :
       {"An infinite cache would have hit ", "LRU would have hit ", "S3-FIFO would have hit ",
        "+25% memory (80.0 MiB): ", "-25% memory (48.0 MiB): ", "A disk of 256 MiB would bring "}) {
    EXPECT_THAT(text.output, HasSubstr(sentence));
  }
  EXPECT_EQ(insight["advice"][0].get<std::string>().find("An infinite cache"), 0u);
}

TEST_F(AdviseTest, WithADisk) {
  ASSERT_NO_FATAL_FAILURE(Start({.paths = {disk_path()},
                                 .capacity_bytes = kDiskOverheadBytes + 192 * kMiB,
                                 .arena_bytes = kArenaBytes}));
  // At a pace that the disk can follow.
  (void)Replay({"--time-scale=0.01"});
  const Json insight = Advise();
  ASSERT_EQ(insight["tiers"].size(), 2u) << insight.dump();
  const Json& both = insight["tiers"][1];
  EXPECT_GT(both["capacity_bytes"], kArenaBytes + 128 * kMiB);
  EXPECT_GT(both["found_ratio"], insight["tiers"][0]["found_ratio"]);
  EXPECT_LE(both["lru_hit_ratio_min"], both["lru_hit_ratio"]);
  EXPECT_NEAR(both["found_ratio"], both["lru_hit_ratio"], 0.1) << insight.dump();
  EXPECT_THAT(RunCtl({"advise"}).output, HasSubstr("The disk brought +"));
}

}  // namespace
}  // namespace larder
