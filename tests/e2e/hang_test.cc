// A daemon that stops answering, dies and comes back, while one client keeps calling.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/known_chunks.h"
#include "tests/e2e/raw_session.h"

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
  DaemonProcess daemon_{directory_.path(), {}};
  std::unique_ptr<Client> client_;
  std::optional<ClientSpace> space_;
  std::vector<Sha256Digest> keys_;
  KnownBuffers buffers_{kChunks, manifest_};
  std::atomic<uint64_t> calls_{0};
};

INSTANTIATE_TEST_SUITE_P(Transports, HangTest, testing::Values(true, false),
                         [](const auto& tested) { return tested.param ? "Rings" : "Socket"; });

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

// --- the life of the daemon's process
// -------------------------------------------------------------

class DaemonLifeTest : public testing::Test {
 protected:
  const Manifest manifest_ = KnownManifest();
  SharedDirectory directory_;
  DaemonProcess daemon_{directory_.path(), {}};
};

TEST_F(DaemonLifeTest, ASecondDaemonOnTheSameArenaNamesTheFirst) {
  ASSERT_NO_FATAL_FAILURE(daemon_.Start());
  std::vector<std::string> arguments = daemon_.CommandLine();
  arguments.push_back(absl::StrCat("--socket=", directory_.path(), "/other.sock"));
  const auto second = ChildProcess::Start(arguments);
  EXPECT_EQ(second->WaitForEnd(), "exit 1");
  EXPECT_THAT(second->Output(), testing::HasSubstr("another daemon owns the arena"));
  EXPECT_THAT(second->Output(), testing::HasSubstr(absl::StrCat(daemon_.process().pid())));
  // Same arena and same socket: the first one keeps both.
  const auto third = ChildProcess::Start(daemon_.CommandLine());
  EXPECT_EQ(third->WaitForEnd(), "exit 1");
  EXPECT_TRUE(ConnectClient(daemon_.socket_path())->connected());
}

TEST_F(DaemonLifeTest, TheSignalToEndDrainsWhatIsBeingPut) {
  ASSERT_NO_FATAL_FAILURE(daemon_.Start());
  const auto client = ConnectClient(daemon_.socket_path());
  ClientSpace space = *client->Open(manifest_);
  const auto keys = KnownKeys(1, kChunks);
  KnownBuffers buffers(kChunks, manifest_);
  buffers.Fill(keys);
  auto session = RawSession::Connect(daemon_.socket_path());
  ASSERT_TRUE(session.ok()) << session.status();
  ASSERT_TRUE(session->OpenSpace(manifest_).ok());
  const auto outcomes = session->Reserve(keys);
  ASSERT_TRUE(outcomes.ok()) << outcomes.status();
  daemon_.process().Signal(SIGTERM);
  ASSERT_TRUE(daemon_.process().WaitForOutput("draining"));
  EXPECT_TRUE(absl::IsUnavailable(space.Put(KnownKeys(2, 1), buffers.sources(1)).status));
  EXPECT_TRUE(daemon_.running()) << "it did not wait for the put in flight";
  std::vector<uint64_t> reservations;
  for (size_t i = 0; i < kChunks; ++i) {
    const auto source = buffers.sources(kChunks)[i][0];
    ASSERT_TRUE(session->Fill((*outcomes)[i], keys[i], {source.data, source.size}).ok());
    reservations.push_back((*outcomes)[i].reservation);
  }
  const auto codes = session->Commit(reservations);
  ASSERT_TRUE(codes.ok()) << codes.status();
  EXPECT_THAT(*codes, testing::Each(0u));
  EXPECT_EQ(daemon_.process().WaitForEnd(), "exit 0");
  ASSERT_NO_FATAL_FAILURE(daemon_.Start());
  ASSERT_TRUE(Eventually([&] { return space.Match(keys).chunks == kChunks; }));
  buffers.Spoil();
  EXPECT_EQ(space.Fetch(keys, buffers.destinations(kChunks)).chunks, kChunks);
  EXPECT_EQ(buffers.CountRight(keys, kChunks), kChunks);
}

TEST_F(DaemonLifeTest, AnIdleDaemonEndsAtTheSignalAtOnce) {
  ASSERT_NO_FATAL_FAILURE(daemon_.Start());
  const auto client = ConnectClient(daemon_.socket_path());
  daemon_.process().Signal(SIGTERM);
  EXPECT_EQ(daemon_.process().WaitForEnd(absl::Seconds(2)), "exit 0");
}

// The pids of the processes that run larderd for `directory`.
std::vector<std::string> DaemonsOf(const std::string& directory) {
  std::vector<std::string> pids;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", error)) {
    std::ifstream file(entry.path() / "cmdline");
    std::stringstream text;
    text << file.rdbuf();
    if (absl::StrContains(text.str(), "larderd") && absl::StrContains(text.str(), directory)) {
      pids.push_back(entry.path().filename());
    }
  }
  return pids;
}

TEST_F(DaemonLifeTest, APrivateDaemonDiesWithItsOwner) {
  const auto owner = ChildProcess::Start({E2E_CLIENT_PATH, "own", LARDERD_PATH});
  ASSERT_TRUE(owner->WaitForOutput("ready\n")) << owner->Output();
  const std::vector<std::string> words = absl::StrSplit(owner->Output(), ' ');
  const std::filesystem::path private_directory = std::filesystem::path(words[1]).parent_path();
  ASSERT_EQ(DaemonsOf(private_directory).size(), 1u) << owner->Output();
  owner->Kill();
  EXPECT_TRUE(Eventually([&] { return DaemonsOf(private_directory).empty(); }, absl::Seconds(2)));
  EXPECT_TRUE(
      Eventually([&] { return !std::filesystem::exists(private_directory); }, absl::Seconds(2)))
      << private_directory;
}

}  // namespace
}  // namespace larder
