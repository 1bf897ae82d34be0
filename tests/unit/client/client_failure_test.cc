// The client against a node in the same process that stalls, ends and fills up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <semaphore>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/client.h"
#include "tests/e2e/raw_session.h"
#include "tests/unit/client/client_fixture.h"

namespace larder {
namespace {

constexpr size_t kChunks = 4;
constexpr absl::Duration kTimeout = absl::Milliseconds(100);
// What a call with that timeout may take on a busy machine with sanitizers.
constexpr absl::Duration kTimeoutAndSlack = absl::Seconds(2);
constexpr absl::Duration kPatience = absl::Seconds(20);

template <typename Condition>
bool Eventually(const Condition& condition) {
  const absl::Time end = absl::Now() + kPatience;
  while (!condition()) {
    if (absl::Now() >= end) return false;
    absl::SleepFor(absl::Milliseconds(1));
  }
  return true;
}

// The node's loop stands still while this lives: what SIGSTOP does to a daemon.
class Stall {
 public:
  explicit Stall(Node& node)
      : thread_([this, &node] {
          const MonotonicTime deadline = SystemClock::Get().Now() + kPatience;
          EXPECT_TRUE(node.WithCore(deadline,
                                    [this](Core&, MonotonicTime) {
                                      stalled_.release();
                                      resume_.acquire();
                                    })
                          .ok());
        }) {
    stalled_.acquire();
  }
  ~Stall() {
    resume_.release();
    thread_.join();
  }

 private:
  std::binary_semaphore stalled_{0}, resume_{0};
  std::thread thread_;
};

class ClientFailureTest : public testing::TestWithParam<bool> {
 protected:
  static constexpr uint64_t kArenaBytes = uint64_t{64} << 20;

  ClientFailureTest() : ClientFailureTest(kArenaBytes, absl::Seconds(30)) {}
  ClientFailureTest(uint64_t arena_bytes, absl::Duration session_timeout)
      : node_(Options(directory_.path(), arena_bytes, session_timeout)) {
    client_ = Connect();
    space_.emplace(*client_->Open(manifest_));
    keys_ = TestKeys(1, kChunks);
    sources_.Randomise(1);
    EXPECT_EQ(space_->Put(keys_, sources_.sources()).stored, kChunks);
  }

  static NodeOptions Options(const std::string& directory, uint64_t arena_bytes,
                             absl::Duration session_timeout) {
    NodeOptions options = TestNodeOptions(directory, arena_bytes);
    options.local.session_timeout = session_timeout;
    options.local.heartbeat_interval =
        std::min(options.local.heartbeat_interval, session_timeout / 8);
    return options;
  }

  std::string SocketPath() const { return directory_.path() + "/larder.sock"; }
  std::unique_ptr<Client> Connect() {
    auto client = Client::Connect({.socket_path = SocketPath(), .use_rings = GetParam()});
    EXPECT_TRUE((*client)->connected());
    return *std::move(client);
  }
  size_t ChunkBytes() const { return manifest_.PayloadBytes(manifest_.WholePart()); }

  MatchResult Match(absl::Duration timeout = kTimeout) {
    MatchOptions options;
    options.timeout = timeout;
    return space_->Match(keys_, options);
  }
  CoreStats Stats() {
    CoreStats stats;
    EXPECT_TRUE(node_
                    ->WithCore(SystemClock::Get().Now() + kPatience,
                               [&](Core& core, MonotonicTime) { stats = core.Stats(); })
                    .ok());
    return stats;
  }

  const Manifest manifest_ = TestManifest();
  TemporaryDirectory directory_;
  RunningNode node_;
  std::unique_ptr<Client> client_;
  std::optional<ClientSpace> space_;
  std::vector<Sha256Digest> keys_;
  ChunkBuffers sources_{kChunks, ChunkBytes()};
};

std::string TransportName(const testing::TestParamInfo<bool>& tested) {
  return tested.param ? "Rings" : "Socket";
}
INSTANTIATE_TEST_SUITE_P(Transports, ClientFailureTest, testing::Bool(), TransportName);

TEST_P(ClientFailureTest, AStalledDaemonIsAMissInTimeThenAtOnceThenTheSameSessionGoesOn) {
  absl::StatusOr<ChunkView> view = space_->View(keys_);
  ASSERT_TRUE(view.ok()) << view.status();
  {
    const Stall stall(*node_);
    absl::Time start = absl::Now();
    const MatchResult match = Match();
    EXPECT_TRUE(absl::IsDeadlineExceeded(match.status)) << match.status;
    EXPECT_LT(absl::Now() - start, kTimeoutAndSlack);
    EXPECT_FALSE(client_->connected());
    start = absl::Now();
    for (int i = 0; i < 200; ++i) EXPECT_TRUE(absl::IsUnavailable(Match().status));
    EXPECT_LT(absl::Now() - start, kTimeoutAndSlack);
    EXPECT_TRUE(absl::IsUnavailable(space_->View(keys_).status()));
    EXPECT_TRUE(absl::IsUnavailable(space_->Put(keys_, sources_.sources()).status));
    EXPECT_TRUE(absl::IsUnavailable(client_->Stats().status()));
  }
  EXPECT_TRUE(Eventually([this] { return Match().chunks == kChunks; }));
  EXPECT_TRUE(view->intact());
  view = ChunkView();
  EXPECT_TRUE(Eventually([this] { return Stats().leases == 0; }));
}

TEST_P(ClientFailureTest, WhatIsGrantedTooLateIsGivenBack) {
  ChunkBuffers destinations(kChunks, ChunkBytes());
  const auto fresh = TestKeys(2, kChunks);
  {
    const Stall stall(*node_);
    // All at once: once one of them has given up, no other would get as far as the daemon.
    std::vector<std::thread> threads;
    for (int i = 0; i < 6; ++i) {
      threads.emplace_back([&, i] {
        FetchOptions fetch;
        fetch.timeout = kTimeout;
        PutOptions put;
        put.timeout = kTimeout;
        if (i % 2 == 0) {
          EXPECT_FALSE(space_->View(keys_, fetch).ok());
        } else {
          EXPECT_FALSE(space_->Put(fresh, sources_.sources(), put).status.ok());
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_TRUE(Eventually([this] { return Stats().reservations == 0; }));
  EXPECT_TRUE(Eventually([this] { return Stats().leases == 0; }));
  EXPECT_TRUE(Eventually([this] { return Match().chunks == kChunks; }));
  EXPECT_EQ(space_->Put(fresh, sources_.sources()).stored, kChunks);
}

TEST_P(ClientFailureTest, ReleasesNeverWaitForAStalledDaemon) {
  std::vector<ChunkView> views;
  for (int i = 0; i < 20; ++i) views.push_back(*space_->View(keys_));
  {
    const Stall stall(*node_);
    // Large requests and ever smaller ones, until there is no room for anything. All at once: when
    // the first has given up, no other would be sent.
    const auto many = TestKeys(3, 4096);
    std::vector<std::thread> threads;
    for (const size_t keys : {4096, 512, 64, 8, 1}) {
      for (int i = 0; i < 20; ++i) {
        threads.emplace_back([&, keys] {
          MatchOptions options;
          options.timeout = kTimeout;
          EXPECT_FALSE(space_->Match(KeySpan(many).Subspan(0, keys), options).status.ok());
        });
      }
    }
    for (std::thread& thread : threads) thread.join();
    const absl::Time start = absl::Now();
    views.clear();
    EXPECT_LT(absl::Now() - start, absl::Milliseconds(500));
  }
  EXPECT_TRUE(Eventually([this] { return Match().chunks == kChunks; }));
  EXPECT_TRUE(Eventually([this] { return Stats().leases == 0; })) << Stats().leases;
}

TEST_P(ClientFailureTest, EveryBlockedCallReturnsWhenTheNodeEnds) {
  std::atomic<bool> stop{false};
  std::atomic<int> calls{0};
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < 8; ++i) {
    threads.emplace_back([&, i] {
      ChunkBuffers destinations(kChunks, ChunkBytes());
      while (!stop.load()) {
        if (i % 2 == 0) (void)space_->Fetch(keys_, destinations.destinations());
        if (i % 2 == 1) (void)space_->Put(TestKeys(100 + i, kChunks), sources_.sources());
        ++calls;
      }
    });
  }
  EXPECT_TRUE(Eventually([&] { return calls.load() > 50; }));
  node_.Stop();
  const absl::Time start = absl::Now();
  stop.store(true);
  for (std::thread& thread : threads) thread.join();
  EXPECT_LT(absl::Now() - start, kTimeoutAndSlack);
  EXPECT_FALSE(Match().status.ok());
}

TEST_P(ClientFailureTest, AViewKnowsAtOnceThatItsDaemonIsGone) {
  absl::StatusOr<ChunkView> view = space_->View(keys_);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_TRUE(view->intact());
  node_.Stop();
  EXPECT_FALSE(view->intact());
  // Its session is over for good, also when there is another daemon.
  RunningNode again(Options(directory_.path(), kArenaBytes, absl::Seconds(30)));
  EXPECT_TRUE(Eventually([this] { return Match().chunks == kChunks; }));
  EXPECT_FALSE(view->intact());
  EXPECT_TRUE(space_->View(keys_)->intact());
}

TEST_P(ClientFailureTest, ALeaseKeepsItsBytesWhileOthersRemoveAndRefill) {
  absl::StatusOr<ChunkView> view = space_->View(keys_);
  ASSERT_TRUE(view.ok()) << view.status();
  EXPECT_EQ(*space_->Remove(keys_), kChunks);
  const auto other = Connect();
  ClientSpace space = *other->Open(manifest_);
  ChunkBuffers one(100, ChunkBytes());
  for (uint32_t chain = 0; chain < 40; ++chain) {
    ASSERT_EQ(space.Put(TestKeys(1000 + chain, 100), one.sources()).stored, 100u);
  }
  ASSERT_GT(Stats().removed_chunks[static_cast<size_t>(RemovalCause::kCapacity)], 0u);
  for (size_t i = 0; i < kChunks; ++i) {
    const auto container = view->Open(i);
    ASSERT_TRUE(container.ok()) << container.status();
    EXPECT_TRUE(container->VerifyBodies().ok());
  }
}

// --- a session without a heart
// ---------------------------------------------------------------------

class HeartlessSessionTest : public ClientFailureTest {
 protected:
  HeartlessSessionTest() : ClientFailureTest(kArenaBytes, absl::Milliseconds(400)) {}
};
INSTANTIATE_TEST_SUITE_P(Transports, HeartlessSessionTest, testing::Bool(), TransportName);

TEST_P(HeartlessSessionTest, LosesItsLeasesAndKeepsItsRoomUntilItsProcessIsGone) {
  const uint64_t used_before = Stats().used_bytes;
  absl::StatusOr<RawSession> session = RawSession::Connect(SocketPath());
  ASSERT_TRUE(session.ok()) << session.status();
  ASSERT_TRUE(session->OpenSpace(manifest_).ok());
  ASSERT_EQ(session->Acquire(keys_)->chunks, kChunks);
  const auto fresh = TestKeys(2, kChunks);
  const auto outcomes = session->Reserve(fresh);
  ASSERT_TRUE(outcomes.ok()) << outcomes.status();
  const uint64_t used_with_reservations = Stats().used_bytes;
  EXPECT_GT(used_with_reservations, used_before);
  EXPECT_TRUE(Eventually([this] { return Stats().leases == 0; }));
  EXPECT_EQ(Stats().used_bytes, used_with_reservations);
  EXPECT_TRUE(session->rings()->IsRevoked());

  // Its keys are free again, its room is not, and what it still writes harms nobody.
  ASSERT_EQ(space_->Put(fresh, sources_.sources()).stored, kChunks);
  for (const ReserveOutcomeMessage& outcome : *outcomes) {
    const auto extent = session->arena().subspan(outcome.offset, session->container_bytes());
    std::fill(extent.begin(), extent.end(), uint8_t{0x5A});
  }
  std::vector<uint64_t> reservations;
  for (const ReserveOutcomeMessage& outcome : *outcomes) {
    reservations.push_back(outcome.reservation);
  }
  EXPECT_TRUE(absl::IsUnavailable(session->Commit(reservations).status()));
  ChunkBuffers destinations(kChunks, ChunkBytes());
  EXPECT_EQ(space_->Fetch(fresh, destinations.destinations()).chunks, kChunks);
  EXPECT_EQ(destinations[kChunks - 1], sources_[kChunks - 1]);
  EXPECT_EQ(*space_->Remove(fresh), kChunks);
  EXPECT_EQ(Stats().used_bytes, used_with_reservations);
  session = absl::UnavailableError("closed");
  EXPECT_TRUE(Eventually([&] { return Stats().used_bytes == used_before; }));
  EXPECT_TRUE(client_->connected()) << "a client whose heart beats was ended, too";
}

// --- a put that is cut off in the middle
// -----------------------------------------------------------

class LargePutTest : public ClientFailureTest {
 protected:
  LargePutTest() : ClientFailureTest(uint64_t{192} << 20, absl::Seconds(30)) {}

  // Chunks of 1 MiB from one buffer, which take a while to write.
  const Manifest large_ = TestManifest(/*layers=*/16, /*heads=*/8, /*head_dim=*/64, /*tokens=*/64);
  static constexpr size_t kLargeChunks = 64;
};
INSTANTIATE_TEST_SUITE_P(Transports, LargePutTest, testing::Bool(), TransportName);

TEST_P(LargePutTest, APutWhoseCommitIsRefusedByTheBreakerGivesItsRoomBack) {
  ClientSpace space = *client_->Open(large_);
  const std::vector<uint8_t> payload(large_.PayloadBytes(large_.WholePart()), 7);
  const ConstSegment segment{payload.data(), payload.size()};
  const std::vector<GatherList> sources(kLargeChunks, GatherList(&segment, 1));
  bool cut_off = false;
  for (uint32_t attempt = 0; attempt < 50 && !cut_off; ++attempt) {
    const auto keys = TestKeys(100 + attempt, kLargeChunks);
    PutResult put;
    std::atomic<bool> ended{false};
    std::thread putter([&] {
      PutOptions options;
      options.timeout = kPatience;
      put = space.Put(keys, sources, options);
      ended.store(true);
    });
    EXPECT_TRUE(Eventually([&] { return Stats().reservations > 0 || ended.load(); }));
    {
      const Stall stall(*node_);
      EXPECT_FALSE(Match(absl::Milliseconds(1)).status.ok());
      putter.join();
    }
    cut_off = put.stored == 0;  // Otherwise it was faster than we were.
    EXPECT_EQ(put.status.ok(), !cut_off) << put.status;
    EXPECT_TRUE(Eventually([this] { return Match().chunks == kChunks; }));
    // Long before its deadline, and although the session goes on.
    EXPECT_TRUE(Eventually([this] { return Stats().reservations == 0; })) << put.status;
    EXPECT_TRUE(space.Remove(keys).ok());
  }
  EXPECT_TRUE(cut_off);
}

}  // namespace
}  // namespace larder
