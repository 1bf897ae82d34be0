// A daemon that stops answering, dies and comes back, while one client keeps calling.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/known_chunks.h"

namespace larder {
namespace {

constexpr size_t kChunks = 8;
constexpr absl::Duration kTimeout = absl::Milliseconds(100);
// What a call with that timeout may take on a busy machine.
constexpr absl::Duration kTimeoutAndSlack = absl::Seconds(1);
constexpr int kFastCalls = 1000;
constexpr absl::Duration kFastCallsMax = absl::Milliseconds(100);
constexpr absl::Duration kBackInServiceMax = absl::Seconds(2);

class HangTest : public testing::TestWithParam<bool> {
 protected:
  explicit HangTest(const DaemonOptions& options = {}) : daemon_(directory_.path(), options) {}

  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(daemon_.Start());
    client_ = *Client::Connect(
        {.socket_path = daemon_.socket_path(), .name = "e2e", .use_rings = GetParam()});
    ASSERT_TRUE(client_->connected());
    space_.emplace(*client_->Open(manifest_));
    keys_ = KnownKeys(1, kChunks);
    buffers_.Fill(keys_);
    const PutResult put = space_->Put(keys_, buffers_.sources(kChunks));
    ASSERT_EQ(put.stored, kChunks) << put.status;
  }

  template <typename Call>
  static absl::Duration TimeOf(const Call& call) {
    const absl::Time start = absl::Now();
    call();
    return absl::Now() - start;
  }

  MatchResult Match() {
    MatchOptions options;
    options.timeout = kTimeout;
    return space_->Match(keys_, options);
  }
  FetchResult Fetch() {
    FetchOptions options;
    options.timeout = kTimeout;
    return space_->Fetch(keys_, buffers_.destinations(kChunks), options);
  }
  PutResult Put(uint64_t chain) {
    const auto keys = KnownKeys(chain, kChunks);
    PutOptions options;
    options.timeout = kTimeout;
    return space_->Put(keys, buffers_.sources(kChunks), options);
  }

  // Every kind of call ends in time, with nothing and a reason; all later ones end at once.
  void ExpectMissesInTime() {
    absl::Duration time = TimeOf([this] {
      const MatchResult match = Match();
      EXPECT_EQ(match.chunks, 0u);
      EXPECT_FALSE(match.status.ok());
    });
    EXPECT_LT(time, kTimeoutAndSlack) << "match";
    time = TimeOf([this] {
      const FetchResult fetch = Fetch();
      EXPECT_EQ(fetch.chunks, 0u);
      EXPECT_FALSE(fetch.status.ok());
    });
    EXPECT_LT(time, kTimeoutAndSlack) << "fetch";
    time = TimeOf([this] {
      const PutResult put = Put(2);
      EXPECT_EQ(put.stored, 0u);
      EXPECT_FALSE(put.status.ok());
    });
    EXPECT_LT(time, kTimeoutAndSlack) << "put";
    EXPECT_FALSE(client_->connected());
    time = TimeOf([this] {
      for (int i = 0; i < kFastCalls; ++i) {
        const MatchResult match = Match();
        ASSERT_EQ(match.chunks, 0u);
        ASSERT_TRUE(absl::IsUnavailable(match.status)) << match.status;
      }
    });
    EXPECT_LT(time, kFastCallsMax) << kFastCalls << " calls of a tripped breaker";
  }

  void ExpectWorks() {
    EXPECT_EQ(Match().chunks, kChunks);
    buffers_.Spoil();
    const FetchResult fetch = Fetch();
    EXPECT_EQ(fetch.chunks, kChunks) << fetch.status;
    EXPECT_EQ(buffers_.CountRight(keys_, kChunks), kChunks);
    const PutResult put = Put(3);
    EXPECT_TRUE(put.status.ok()) << put.status;
  }

  // Calls of every kind on many threads at once, until `stop`. Returns when all are under way.
  void StartCallers(std::atomic<bool>* stop, std::vector<std::thread>* threads) {
    for (int i = 0; i < 12; ++i) {
      threads->emplace_back([this, i, stop] {
        KnownBuffers buffers(kChunks, manifest_);
        for (uint64_t round = 0; !stop->load(); ++round) {
          if (i % 3 == 0) (void)space_->Match(keys_);
          if (i % 3 == 1) (void)space_->Fetch(keys_, buffers.destinations(kChunks));
          if (i % 3 == 2) {
            const auto keys = KnownKeys(100 + round * 100 + static_cast<uint64_t>(i), kChunks);
            (void)space_->Put(keys, buffers.sources(kChunks));
          }
          ++calls_;
        }
      });
    }
    ASSERT_TRUE(Eventually([this] { return calls_.load() > 100; }));
  }

  const Manifest manifest_ = KnownManifest();
  SharedDirectory directory_;
  DaemonProcess daemon_;
  std::unique_ptr<Client> client_;
  std::optional<ClientSpace> space_;
  std::vector<Sha256Digest> keys_;
  KnownBuffers buffers_{kChunks, manifest_};
  std::atomic<uint64_t> calls_{0};
};

std::string TransportName(const testing::TestParamInfo<bool>& tested) {
  return tested.param ? "Rings" : "Socket";
}
INSTANTIATE_TEST_SUITE_P(Transports, HangTest, testing::Values(true, false), TransportName);

TEST_P(HangTest, AStoppedDaemonIsAMissInTimeAndTheSameSessionGoesOnAfterwards) {
  auto view = space_->View(keys_);
  ASSERT_TRUE(view.ok()) << view.status();
  daemon_.process().Freeze();
  ExpectMissesInTime();
  daemon_.process().Thaw();
  EXPECT_TRUE(Eventually([this] { return Match().chunks == kChunks; }, kBackInServiceMax));
  EXPECT_TRUE(view->intact()) << "the session was ended although its client lives";
  ExpectWorks();
  view = ChunkView();
  // What the daemon granted to calls that had given up came back.
  EXPECT_TRUE(Eventually([this] { return client_->Stats()->leases == 0; }));
  EXPECT_TRUE(Eventually([this] { return client_->Stats()->reservations == 0; }));
}

TEST_P(HangTest, AStoppedDaemonUnderManyCallsLosesNothing) {
  for (int round = 0; round < 3; ++round) {
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    ASSERT_NO_FATAL_FAILURE(StartCallers(&stop, &threads));
    daemon_.process().Freeze();
    absl::SleepFor(absl::Milliseconds(20));
    // Short deadlines trip the breaker under the feet of the puts that are half done.
    EXPECT_EQ(Match().chunks, 0u);
    absl::SleepFor(absl::Milliseconds(100));
    daemon_.process().Thaw();
    EXPECT_TRUE(Eventually([this] { return Match().chunks == kChunks; }, kBackInServiceMax));
    stop.store(true);
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE(Eventually([this] { return client_->Stats()->leases == 0; }));
    EXPECT_TRUE(Eventually([this] { return client_->Stats()->reservations == 0; }))
        << client_->Stats()->reservations << " reservations were left behind";
  }
  ExpectWorks();
}

TEST_P(HangTest, AKilledDaemonIsAMissAtOnceAndANewOneIsFound) {
  auto view = space_->View(keys_);
  ASSERT_TRUE(view.ok()) << view.status();
  daemon_.Kill();
  EXPECT_FALSE(view->intact()) << "right after the death";
  ExpectMissesInTime();
  const absl::Time restart = absl::Now();
  ASSERT_NO_FATAL_FAILURE(daemon_.Start());
  EXPECT_TRUE(Eventually([this] { return Match().chunks == kChunks; }, kBackInServiceMax));
  std::printf("back in service after %s\n", absl::FormatDuration(absl::Now() - restart).c_str());
  EXPECT_FALSE(view->intact());
  ExpectWorks();
  view = ChunkView();
  EXPECT_EQ(client_->Stats()->leases, 0u);
}

TEST_P(HangTest, EveryBlockedCallReturnsWhenTheDaemonDies) {
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  ASSERT_NO_FATAL_FAILURE(StartCallers(&stop, &threads));
  daemon_.process().Freeze();
  absl::SleepFor(absl::Milliseconds(100));
  const uint64_t calls = calls_.load();
  absl::SleepFor(absl::Milliseconds(100));
  EXPECT_EQ(calls_.load(), calls) << "some are not blocked";
  const absl::Time death = absl::Now();
  daemon_.Kill();
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  EXPECT_LT(absl::Now() - death, kTimeoutAndSlack);
}

TEST_P(HangTest, AClientThatNeverSawADaemonFindsTheFirstOne) {
  daemon_.Kill();
  auto client = Client::Connect({.socket_path = daemon_.socket_path(), .use_rings = GetParam()});
  ASSERT_TRUE(client.ok()) << client.status();
  auto space = (*client)->Open(manifest_);
  ASSERT_TRUE(space.ok()) << space.status();
  EXPECT_TRUE(absl::IsUnavailable(space->Match(keys_).status));
  ASSERT_NO_FATAL_FAILURE(daemon_.Start());
  EXPECT_TRUE(Eventually([&] { return space->Match(keys_).chunks == kChunks; }, kBackInServiceMax));
}

// A daemon that was stopped for longer than a session may be silent.
class LongStopTest : public HangTest {
 protected:
  LongStopTest()
      : HangTest({.flags = {"--set", "local.session_timeout=1s", "--set",
                            "local.heartbeat_interval=100ms"}}) {}
};
INSTANTIATE_TEST_SUITE_P(Transports, LongStopTest, testing::Values(true), TransportName);

TEST_P(LongStopTest, EndsNoSessionWhoseClientWasThereAllTheTime) {
  const auto view = space_->View(keys_);
  ASSERT_TRUE(view.ok()) << view.status();
  daemon_.process().Freeze();
  absl::SleepFor(absl::Seconds(2));
  daemon_.process().Thaw();
  EXPECT_TRUE(Eventually([this] { return Match().chunks == kChunks; }, kBackInServiceMax));
  absl::SleepFor(absl::Milliseconds(500));
  EXPECT_TRUE(view->intact());
  EXPECT_EQ(client_->Stats()->leases, 1u);
}

}  // namespace
}  // namespace larder
