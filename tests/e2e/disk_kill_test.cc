// larderd is killed with SIGKILL again and again while chunks move between memory and disk.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/random.h"
#include "tests/e2e/disk_fixture.h"
#include "tests/e2e/put_records.h"

namespace larder {
namespace {

constexpr uint64_t kProcesses = 2;
constexpr int kThreadsPerProcess = 2;
constexpr int kProcessShift = 32;
constexpr int kLongestRunMs = 400;
constexpr int kRoundsPerReboot = 3;

class DiskKillTest : public DiskTest {
 protected:
  void StartDaemon() {
    ASSERT_NO_FATAL_FAILURE(Start(setup_));
    if (!known_space_) known_space_.emplace(*client().Open(known_manifest_));
  }

  // Every process puts chains that nobody has put before.
  void StartPutters() {
    for (uint64_t i = 0; i < kProcesses; ++i) {
      const uint64_t number = records_.size() + 1;
      records_.push_back(absl::StrCat(directory(), "/records", number));
      putters_.push_back(ChildProcess::Start(
          {E2E_CLIENT_PATH, "put", daemon().socket_path(), records_.back(),
           absl::StrCat(number << kProcessShift), absl::StrCat(kThreadsPerProcess)}));
    }
  }

  // Kills at some moment after segments were reclaimed.
  void KillDuringPuts(Random& random) {
    ASSERT_TRUE(Eventually([this] { return DiskStatus()["reclaimed_segments"] > 1; }))
        << daemon().process().Output();
    absl::SleepFor(absl::Milliseconds(random.Below(kLongestRunMs)));
    Kill();
    for (auto& putter : putters_) {
      EXPECT_FALSE(absl::StrContains(putter->Output(), "TROUBLE")) << putter->Output();
      EXPECT_FALSE(putter->WaitForEnd(absl::ZeroDuration()).has_value()) << putter->Output();
    }
    putters_.clear();
  }

  // Looks for every chunk that was ever put. Returns how many are there, each right.
  uint64_t Verify() {
    uint64_t present = 0;
    chains_ = 0;
    for (const std::string& records : records_) {
      for (const PutRecord& record : ReadPutRecords(records, 0)) {
        if (record.acknowledged_chunks > 0) continue;  // Its beginning was recorded, too.
        const ChainCheck check =
            CheckChain(*known_space_, record.chain, kRecordedChainChunks, known_buffers_);
        EXPECT_EQ(check.trouble, "");
        present += check.present;
        ++chains_;
      }
    }
    return present;
  }

  const DiskSetup setup_{.paths = {disk_path()}};
  const Manifest known_manifest_ = KnownManifest();
  KnownBuffers known_buffers_{kRecordedChainChunks, known_manifest_};
  std::optional<ClientSpace> known_space_;
  std::vector<std::string> records_;
  std::vector<std::unique_ptr<ChildProcess>> putters_;
  uint64_t chains_ = 0;
};

TEST_F(DiskKillTest, NothingIsCorruptWhileChunksMove) {
  const int rounds = NumberFromEnvironment("LARDER_DISK_KILL_ROUNDS", 10);
  const int seed = NumberFromEnvironment("LARDER_KILL_SEED", 1);
  SCOPED_TRACE(absl::StrCat("LARDER_KILL_SEED=", seed));
  SeededRandom random(static_cast<uint64_t>(seed));
  uint64_t after_kills = 0, after_reboots = 0;
  absl::Duration slowest_restart;
  ASSERT_NO_FATAL_FAILURE(StartDaemon());
  for (int round = 0; round < rounds && !HasFailure(); ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    StartPutters();
    ASSERT_NO_FATAL_FAILURE(KillDuringPuts(random));
    const bool reboot = round % kRoundsPerReboot == kRoundsPerReboot - 1 || round + 1 == rounds;
    if (reboot) LoseArena();
    // Some daemons do not live to the end of their recovery.
    if (random.Below(2) == 0) {
      daemon().Launch();
      absl::SleepFor(absl::Milliseconds(random.Below(100)));
      Kill();
    }
    const absl::Time start = absl::Now();
    ASSERT_NO_FATAL_FAILURE(StartDaemon());
    slowest_restart = std::max(slowest_restart, absl::Now() - start);
    const uint64_t on_disk = DiskStatus()["chunks"];
    const uint64_t present = Verify();
    EXPECT_GT(present, 0u);
    // What the disk claims to have is all there. It may make room meanwhile.
    if (reboot) {
      EXPECT_LE(present, on_disk);
      EXPECT_GE(present, DiskStatus()["chunks"]);
    }
    (reboot ? after_reboots : after_kills) += present;
    EXPECT_EQ(DiskStatus()["corrupt_records"], 0);
  }
  EXPECT_GT(after_reboots, 0u);
  Kill();
  const Ended verified = RunProgram({LARDERCTL_PATH, "disk", "verify", "--path", disk_path()});
  EXPECT_EQ(verified.end, "exit 0") << verified.output;
  std::printf(
      "%d kills, %llu chains begun, chunks found and right: %llu after kills, %llu after "
      "reboots; slowest restart %s\n",
      rounds, static_cast<unsigned long long>(chains_),
      static_cast<unsigned long long>(after_kills), static_cast<unsigned long long>(after_reboots),
      absl::FormatDuration(slowest_restart).c_str());
}

}  // namespace
}  // namespace larder
