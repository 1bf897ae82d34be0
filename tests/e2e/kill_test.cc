// larderd is killed with SIGKILL again and again while client processes put.
#include <gtest/gtest.h>
#include <signal.h>

#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/random.h"
#include "kernels/format/container.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/known_chunks.h"
#include "tests/e2e/put_records.h"

namespace larder {
namespace {

constexpr int kProcesses = 2;
constexpr int kThreadsPerProcess = 2;
constexpr int kProcessShift = 32;
constexpr uint64_t kGranuleBytes = 4096;
// What is verified is removed, but for one chain in so many, which has to outlive every kill.
constexpr uint64_t kKeptChains = 16;

// Chunks that a putter was told are stored, by chain; 0 for a put that had begun when it was asked.
using Chains = std::map<uint64_t, uint32_t>;

class KillTest : public testing::Test {
 protected:
  void StartAll(uint64_t arena_bytes) {
    daemon_ = std::make_unique<DaemonProcess>(directory_.path(),
                                              DaemonOptions{.arena_bytes = arena_bytes});
    ASSERT_NO_FATAL_FAILURE(daemon_->Start());
    client_ = ConnectClient(daemon_->socket_path());
    space_.emplace(*client_->Open(manifest_));
    for (uint64_t i = 0; i < kProcesses; ++i) {
      records_.push_back(absl::StrCat(directory_.path(), "/records", i));
      records_read_.push_back(0);
      putters_.push_back(ChildProcess::Start(
          {E2E_CLIENT_PATH, "put", daemon_->socket_path(), records_.back(),
           absl::StrCat((i + 1) << kProcessShift), absl::StrCat(kThreadsPerProcess)}));
    }
  }

  // Waits until every process was told of a stored chain since the last round, then for a random
  // moment, and kills.
  void KillDuringPuts(Random& random) {
    for (int i = 0; i < kProcesses; ++i) {
      ASSERT_TRUE(Eventually([&] { return HasAcknowledged(i); }))
          << "no put succeeds any more: " << putters_[i]->Output();
    }
    absl::SleepFor(absl::Microseconds(random.Below(100'000)));
    daemon_->Kill();
    // The putters stand still, wherever they are, while the new daemon is looked at.
    for (auto& putter : putters_) putter->Freeze();
    // Some daemons do not live to the end of their recovery.
    if (random.Below(2) == 0) {
      daemon_->Launch();
      absl::SleepFor(absl::Microseconds(random.Below(30'000)));
      daemon_->Kill();
    }
  }

  bool HasAcknowledged(int process) const {
    for (const PutRecord& record : ReadPutRecords(records_[process], records_read_[process])) {
      if (record.acknowledged_chunks > 0) return true;
    }
    return false;
  }

  // Starts the daemon again; nobody but this process is connected then, so nothing may be held.
  void Restart() {
    const absl::Time start = absl::Now();
    ASSERT_NO_FATAL_FAILURE(daemon_->Start());
    ASSERT_TRUE(Eventually([&] { return client_->Stats().ok(); }));
    slowest_restart_ = std::max(slowest_restart_, absl::Now() - start);
    const absl::StatusOr<StoreStats> stats = client_->Stats();
    ASSERT_TRUE(stats.ok()) << stats.status();
    EXPECT_EQ(stats->leases, 0u);
    EXPECT_EQ(stats->reservations, 0u);
    EXPECT_EQ(stats->reserved_bytes, 0u);
  }

  Chains TakeNewChains() {
    Chains chains;
    for (int i = 0; i < kProcesses; ++i) {
      const auto records = ReadPutRecords(records_[i], records_read_[i]);
      records_read_[i] += records.size();
      for (const PutRecord& record : records) {
        uint32_t& acknowledged = chains[record.chain];
        acknowledged = std::max(acknowledged, record.acknowledged_chunks);
      }
    }
    return chains;
  }

  // Every chunk that is there is right. Returns how many are there.
  uint64_t Verify(const Chains& chains, bool all_acknowledged_are_there) {
    uint64_t present = 0;
    for (const auto& [chain, acknowledged] : chains) {
      const ChainCheck check = CheckChain(*space_, chain, kRecordedChainChunks, buffers_);
      EXPECT_EQ(check.trouble, "");
      present += check.present;
      if (!all_acknowledged_are_there) continue;
      EXPECT_GE(check.present, acknowledged) << "acknowledged chunks of chain " << chain;
      EXPECT_GE(space_->Match(KnownKeys(chain, kRecordedChainChunks)).chunks, acknowledged);
    }
    return present;
  }

  void ThawAndWatch() {
    for (auto& putter : putters_) {
      putter->Thaw();
      ASSERT_FALSE(putter->WaitForEnd(absl::ZeroDuration()).has_value());
      ASSERT_FALSE(absl::StrContains(putter->Output(), "TROUBLE")) << putter->Output();
    }
  }

  const Manifest manifest_ = KnownManifest();
  SharedDirectory directory_;
  std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<Client> client_;
  std::optional<ClientSpace> space_;
  KnownBuffers buffers_{kRecordedChainChunks, manifest_};
  std::vector<std::unique_ptr<ChildProcess>> putters_;
  std::vector<std::string> records_;
  std::vector<size_t> records_read_;
  absl::Duration slowest_restart_;
};

TEST_F(KillTest, NothingAcknowledgedIsLostAndNothingIsCorrupt) {
  const int rounds = NumberFromEnvironment("LARDER_KILL_ROUNDS", 20);
  const int seed = NumberFromEnvironment("LARDER_KILL_SEED", 1);
  SCOPED_TRACE(absl::StrCat("LARDER_KILL_SEED=", seed));
  SeededRandom random(static_cast<uint64_t>(seed));
  ASSERT_NO_FATAL_FAILURE(StartAll(uint64_t{2} << 30));
  Chains kept;
  uint64_t verified_chunks = 0, acknowledged_chunks = 0;
  for (int round = 0; round < rounds && !HasFailure(); ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    ASSERT_NO_FATAL_FAILURE(KillDuringPuts(random));
    ASSERT_NO_FATAL_FAILURE(Restart());
    const Chains chains = TakeNewChains();
    verified_chunks += Verify(chains, true) + Verify(kept, true);
    for (const auto& [chain, acknowledged] : chains) {
      acknowledged_chunks += acknowledged;
      if (chain % kKeptChains == 0) {
        kept[chain] = acknowledged;
      } else {
        EXPECT_TRUE(space_->Remove(KnownKeys(chain, kRecordedChainChunks)).ok());
      }
    }
    EXPECT_EQ(client_->Stats()->evicted_chunks, 0u) << "the arena is too small for this test";
    if (round + 1 == rounds) break;
    ASSERT_NO_FATAL_FAILURE(ThawAndWatch());
  }
  for (auto& putter : putters_) putter->Kill();

  // What is left is exactly what was kept, chunk for chunk and byte for byte.
  const uint64_t present = Verify(kept, true);
  const uint64_t container_bytes = RawContainerBytes(manifest_, manifest_.WholePart());
  const uint64_t stored_bytes =
      (container_bytes + kGranuleBytes - 1) / kGranuleBytes * kGranuleBytes;
  EXPECT_EQ(client_->Stats()->chunks, present);
  // Extents of unfinished puts come back once their writers can't be writing any more.
  EXPECT_TRUE(Eventually([&] { return client_->Stats()->used_bytes == present * stored_bytes; }))
      << client_->Stats()->used_bytes << " bytes used, " << present << " chunks of "
      << stored_bytes;
  EXPECT_GT(acknowledged_chunks, 0u);
  std::printf("%d kills, %llu chunks acknowledged, %llu verified, slowest restart %s\n", rounds,
              static_cast<unsigned long long>(acknowledged_chunks),
              static_cast<unsigned long long>(verified_chunks),
              absl::FormatDuration(slowest_restart_).c_str());
}

TEST_F(KillTest, NothingIsCorruptWhileEverythingIsEvicted) {
  const int rounds = NumberFromEnvironment("LARDER_KILL_ROUNDS", 20);
  const int seed = NumberFromEnvironment("LARDER_KILL_SEED", 2);
  SCOPED_TRACE(absl::StrCat("LARDER_KILL_SEED=", seed));
  SeededRandom random(static_cast<uint64_t>(seed));
  ASSERT_NO_FATAL_FAILURE(StartAll(uint64_t{16} << 20));
  uint64_t verified_chunks = 0, begun_chains = 0;
  for (int round = 0; round < rounds && !HasFailure(); ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    ASSERT_NO_FATAL_FAILURE(KillDuringPuts(random));
    ASSERT_NO_FATAL_FAILURE(Restart());
    const Chains chains = TakeNewChains();
    begun_chains += chains.size();
    verified_chunks += Verify(chains, false);
    ASSERT_NO_FATAL_FAILURE(ThawAndWatch());
  }
  EXPECT_GT(verified_chunks, 0u);
  EXPECT_GT(begun_chains * kRecordedChainChunks, verified_chunks) << "nothing was ever evicted";
  std::printf("%d kills, %llu chains begun, %llu chunks verified, slowest restart %s\n", rounds,
              static_cast<unsigned long long>(begun_chains),
              static_cast<unsigned long long>(verified_chunks),
              absl::FormatDuration(slowest_restart_).c_str());
}

}  // namespace
}  // namespace larder
