// Many clients at once, and clients that die or stop while they hold something.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <time.h>

#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/random.h"
#include "kernels/format/container.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/known_chunks.h"
#include "tests/e2e/put_records.h"
#include "tests/e2e/raw_session.h"
#include "transport/local/socket.h"

namespace larder {
namespace {

constexpr size_t kChunks = kRecordedChainChunks;
constexpr uint64_t kGranuleBytes = 4096;

class SessionsTest : public testing::Test {
 protected:
  void Start(const DaemonOptions& options) {
    daemon_ = std::make_unique<DaemonProcess>(directory_.path(), options);
    ASSERT_NO_FATAL_FAILURE(daemon_->Start());
    client_ = ConnectClient(daemon_->socket_path());
    space_.emplace(*client_->Open(manifest_));
  }

  PutResult PutChain(uint64_t chain) {
    const auto keys = KnownKeys(chain, kChunks);
    buffers_.Fill(keys);
    return space_->Put(keys, buffers_.sources(kChunks));
  }
  void ExpectRight(uint64_t chain) {
    const ChainCheck check = CheckChain(*space_, chain, kChunks, buffers_);
    EXPECT_EQ(check.present, kChunks) << "chain " << chain;
    EXPECT_EQ(check.trouble, "");
  }
  // Bytes of the arena that so many chunks take.
  uint64_t StoredBytes(uint64_t chunks) const {
    const uint64_t bytes = RawContainerBytes(manifest_, manifest_.WholePart());
    return chunks * ((bytes + kGranuleBytes - 1) / kGranuleBytes * kGranuleBytes);
  }
  std::unique_ptr<ChildProcess> StartHolder(uint64_t leased_chain, uint64_t reserved_chain) {
    auto holder = ChildProcess::Start({E2E_CLIENT_PATH, "hold", daemon_->socket_path(),
                                       absl::StrCat(leased_chain), absl::StrCat(reserved_chain)});
    EXPECT_TRUE(holder->WaitForOutput("holding\n")) << holder->Output();
    return holder;
  }

  const Manifest manifest_ = KnownManifest();
  SharedDirectory directory_;
  std::unique_ptr<DaemonProcess> daemon_;
  std::unique_ptr<Client> client_;
  std::optional<ClientSpace> space_;
  KnownBuffers buffers_{kChunks, manifest_};
};

// --- clients that die
// -----------------------------------------------------------------------------

TEST_F(SessionsTest, AKilledHolderLosesNothingForOthers) {
  ASSERT_NO_FATAL_FAILURE(Start({}));
  ASSERT_EQ(PutChain(1).stored, kChunks);
  for (int round = 0; round < 5; ++round) {
    const auto holder = StartHolder(1, 2);
    EXPECT_EQ(client_->Stats()->leases, 1u);
    EXPECT_EQ(client_->Stats()->reservations, kChunks);
    EXPECT_EQ(client_->Stats()->used_bytes, StoredBytes(2 * kChunks));
    // What somebody reads may be removed, but its room is not given away.
    if (round == 3) {
      EXPECT_EQ(*space_->Remove(KnownKeys(1, kChunks)), kChunks);
    }
    EXPECT_EQ(client_->Stats()->used_bytes, StoredBytes(2 * kChunks));
    holder->Kill();
    EXPECT_TRUE(Eventually([this] { return client_->Stats()->leases == 0; }, absl::Seconds(1)));
    EXPECT_TRUE(
        Eventually([this] { return client_->Stats()->reservations == 0; }, absl::Seconds(1)));
    if (round == 3) {
      EXPECT_EQ(client_->Stats()->used_bytes, 0u);
      ASSERT_EQ(PutChain(1).stored, kChunks);
    }
    EXPECT_EQ(client_->Stats()->used_bytes, StoredBytes(kChunks));
    ExpectRight(1);
    // The same keys can be written at once, into the same room.
    EXPECT_EQ(PutChain(2).stored, kChunks);
    ExpectRight(2);
    EXPECT_EQ(*space_->Remove(KnownKeys(2, kChunks)), kChunks);
  }
}

TEST_F(SessionsTest, PuttersKilledAtRandomMomentsLoseNothingThatWasAcknowledged) {
  ASSERT_NO_FATAL_FAILURE(Start({.arena_bytes = uint64_t{1} << 30}));
  SeededRandom random(1);
  uint64_t acknowledged = 0, present = 0;
  for (uint64_t round = 0; round < 20; ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    const std::string records = absl::StrCat(directory_.path(), "/records", round);
    const auto putter = ChildProcess::Start({E2E_CLIENT_PATH, "put", daemon_->socket_path(),
                                             records, absl::StrCat((round + 1) << 32), "3"});
    ASSERT_TRUE(Eventually([&] { return ReadPutRecords(records, 0).size() > 8; }));
    absl::SleepFor(absl::Microseconds(random.Below(20'000)));
    putter->Kill();
    EXPECT_FALSE(absl::StrContains(putter->Output(), "TROUBLE")) << putter->Output();
    EXPECT_TRUE(
        Eventually([this] { return client_->Stats()->reservations == 0; }, absl::Seconds(1)));
    EXPECT_TRUE(Eventually([this] { return client_->Stats()->leases == 0; }, absl::Seconds(1)));
    for (const PutRecord& record : ReadPutRecords(records, 0)) {
      if (record.acknowledged_chunks == 0) continue;
      acknowledged += record.acknowledged_chunks;
      EXPECT_GE(space_->Match(KnownKeys(record.chain, kChunks)).chunks, record.acknowledged_chunks);
    }
    for (const PutRecord& record : ReadPutRecords(records, 0)) {
      if (record.acknowledged_chunks > 0) continue;  // Every chain has a record of its beginning.
      const ChainCheck check = CheckChain(*space_, record.chain, kChunks, buffers_);
      EXPECT_EQ(check.trouble, "");
      present += check.present;
    }
  }
  EXPECT_GT(acknowledged, 0u);
  EXPECT_GE(present, acknowledged);
  EXPECT_EQ(client_->Stats()->chunks, present);
  EXPECT_EQ(client_->Stats()->used_bytes, StoredBytes(present));
}

TEST_F(SessionsTest, AClientStoppedForTooLongLosesItsLeasesAndNobodyGetsItsRoom) {
  ASSERT_NO_FATAL_FAILURE(Start(
      {.flags = {"--set", "local.session_timeout=2s", "--set", "local.heartbeat_interval=100ms"}}));
  ASSERT_EQ(PutChain(1).stored, kChunks);
  const auto holder = StartHolder(1, 2);
  holder->Freeze();
  EXPECT_EQ(client_->Stats()->leases, 1u);
  ASSERT_TRUE(Eventually([this] { return client_->Stats()->leases == 0; }, absl::Seconds(5)));
  // It may go on writing at any moment: its extents stay out of everybody's reach, its keys do not.
  EXPECT_EQ(client_->Stats()->used_bytes, StoredBytes(2 * kChunks));
  ASSERT_EQ(PutChain(2).stored, kChunks);
  EXPECT_EQ(client_->Stats()->used_bytes, StoredBytes(3 * kChunks));
  EXPECT_TRUE(client_->connected());

  holder->Thaw();
  EXPECT_TRUE(holder->WaitForOutput("not intact\n")) << holder->Output();
  EXPECT_TRUE(holder->WaitForOutput("works again\n")) << holder->Output();
  ExpectRight(1);
  ExpectRight(2);  // Although the holder has written all over its own, late.
  holder->Kill();
  EXPECT_TRUE(Eventually(
      [this] { return client_->Stats()->used_bytes == StoredBytes(2 * kChunks); }, kPatience));
  EXPECT_EQ(client_->Stats()->reservations, 0u);
  EXPECT_EQ(client_->Stats()->leases, 0u);
}

// --- a full arena
// ---------------------------------------------------------------------------------

TEST_F(SessionsTest, AnArenaFullOfLeasedChunksRefusesAtOnceUntilTheyAreReleased) {
  ASSERT_NO_FATAL_FAILURE(Start({.arena_bytes = uint64_t{16} << 20}));
  std::vector<ChunkView> views;
  uint64_t chain = 0;
  for (;; ++chain) {
    ASSERT_LT(chain, 1000u);
    const PutResult put = PutChain(chain);
    absl::StatusOr<ChunkView> view = space_->View(KnownKeys(chain, kChunks));
    ASSERT_TRUE(view.ok()) << view.status();
    if (view->chunks() > 0) views.push_back(*std::move(view));
    if (!put.status.ok()) {
      EXPECT_TRUE(absl::IsResourceExhausted(put.status)) << put.status;
      break;
    }
  }
  ASSERT_GT(views.size(), 10u);
  const absl::Time start = absl::Now();
  const PutResult refused = PutChain(5000);
  EXPECT_LT(absl::Now() - start, absl::Seconds(1));
  EXPECT_TRUE(absl::IsResourceExhausted(refused.status)) << refused.status;
  EXPECT_EQ(refused.stored, 0u);
  EXPECT_EQ(client_->Stats()->reservations, 0u);
  EXPECT_EQ(client_->Stats()->leases, views.size());
  for (uint64_t i = 0; i + 1 < views.size(); ++i) ExpectRight(i);
  views.clear();
  const PutResult put = PutChain(5000);
  EXPECT_EQ(put.stored, kChunks) << put.status;
  ExpectRight(5000);
}

TEST_F(SessionsTest, AnArenaFullOfPinnedChunksRefusesAtOnceUntilTheyAreUnpinned) {
  ASSERT_NO_FATAL_FAILURE(
      Start({.arena_bytes = uint64_t{16} << 20, .flags = {"--set", "core.pinned_fraction_max=1"}}));
  uint64_t chain = 0;
  while (PutChain(chain).status.ok() && space_->Pin(KnownKeys(chain, kChunks)).ok()) {
    ASSERT_LT(++chain, 1000u);
  }
  ASSERT_GT(chain, 10u);
  const absl::Time start = absl::Now();
  const PutResult refused = PutChain(5000);
  EXPECT_LT(absl::Now() - start, absl::Seconds(1));
  EXPECT_TRUE(absl::IsResourceExhausted(refused.status)) << refused.status;
  for (uint64_t i = 0; i < chain; ++i) ExpectRight(i);
  for (uint64_t i = 0; i < chain; ++i) EXPECT_EQ(*space_->Unpin(KnownKeys(i, kChunks)), kChunks);
  EXPECT_EQ(PutChain(5000).stored, kChunks);
  ExpectRight(5000);
}

// --- many sessions
// --------------------------------------------------------------------------------

// Enough descriptors for a thousand sessions: three each here.
void AllowManyDescriptors() {
  rlimit limit;
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
  limit.rlim_cur = limit.rlim_max;
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
  ASSERT_GT(limit.rlim_cur, 4000u) << "the system allows too few descriptors for this test";
}

// Memory of its own, without the arena and the rings, which are shared.
uint64_t ResidentKib(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/status"));
  std::string word;
  uint64_t kib = 0;
  while (file >> word) {
    if (word == "RssAnon:") file >> kib;
  }
  return kib;
}

uint64_t ProcessorMs(pid_t pid) {
  clockid_t clock;
  timespec time{};
  EXPECT_EQ(clock_getcpuclockid(pid, &clock), 0);
  clock_gettime(clock, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1000 +
         static_cast<uint64_t>(time.tv_nsec) / 1'000'000;
}

size_t OpenDescriptors(pid_t pid) {
  const std::filesystem::directory_iterator files(absl::StrCat("/proc/", pid, "/fd"));
  return static_cast<size_t>(std::distance(begin(files), end(files)));
}

// One session does everything once, with a chunk of its own.
absl::Status UseOnce(RawSession& session, uint64_t chain, KnownBuffers& buffers) {
  const auto keys = KnownKeys(chain, 1);
  buffers.Fill(keys);
  const ConstSegment payload = buffers.sources(1)[0][0];
  ASSIGN_OR_RETURN(const auto outcomes, session.Reserve(keys));
  if (outcomes[0].reservation == 0) return absl::InternalError("not granted");
  RETURN_IF_ERROR(session.Fill(outcomes[0], keys[0], {payload.data, payload.size}));
  ASSIGN_OR_RETURN(const auto codes, session.Commit(std::span(&outcomes[0].reservation, 1)));
  if (codes[0] != 0) return absl::InternalError(absl::StrCat("commit: code ", codes[0]));
  ASSIGN_OR_RETURN(const uint32_t matched, session.Match(keys));
  if (matched != 1) return absl::InternalError("not matched");
  ASSIGN_OR_RETURN(const RawSession::Lease lease, session.Acquire(keys));
  if (lease.chunks != 1) return absl::InternalError("not leased");
  const auto bytes = session.arena().subspan(lease.extents[0].offset, lease.extents[0].bytes);
  ASSIGN_OR_RETURN(const ContainerView container, ContainerView::Parse(bytes));
  RETURN_IF_ERROR(container.VerifyBodies());
  return session.Release(lease.id);
}

TEST_F(SessionsTest, AThousandSessionsAtOnce) {
  constexpr size_t kSessions = 1000, kClients = 50;
  ASSERT_NO_FATAL_FAILURE(AllowManyDescriptors());
  ASSERT_NO_FATAL_FAILURE(
      Start({.arena_bytes = uint64_t{256} << 20, .flags = {"--set", "arena.prefault=false"}}));
  const uint64_t resident_before_kib = ResidentKib(daemon_->process().pid());
  const size_t descriptors_before = OpenDescriptors(daemon_->process().pid());
  std::vector<RawSession> sessions;
  for (size_t i = 0; i < kSessions; ++i) {
    absl::StatusOr<RawSession> session = RawSession::Connect(daemon_->socket_path(), i % 10 != 0);
    ASSERT_TRUE(session.ok()) << i << ": " << session.status();
    ASSERT_TRUE(session->OpenSpace(manifest_).ok());
    sessions.push_back(*std::move(session));
  }
  for (uint64_t round = 0; round < 2; ++round) {
    for (size_t i = 0; i < kSessions; ++i) {
      const absl::Status used = UseOnce(sessions[i], round * kSessions + i, buffers_);
      ASSERT_TRUE(used.ok()) << "session " << i << ": " << used;
    }
  }
  // Among them, whole clients on threads of their own.
  std::vector<std::unique_ptr<Client>> clients;
  for (size_t i = 0; i < kClients; ++i) clients.push_back(ConnectClient(daemon_->socket_path()));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < kClients; ++i) {
    threads.emplace_back([&, i] {
      ClientSpace space = *clients[i]->Open(manifest_);
      KnownBuffers buffers(2, manifest_);
      for (uint64_t round = 0; round < 5; ++round) {
        const auto keys = KnownKeys(10'000 + i * 100 + round, 2);
        buffers.Fill(keys);
        const PutResult put = space.Put(keys, buffers.sources(2));
        EXPECT_EQ(put.stored, 2u) << put.status;
        buffers.Spoil();
        const FetchResult fetch = space.Fetch(keys, buffers.destinations(2));
        EXPECT_EQ(fetch.chunks, 2u) << fetch.status;
        EXPECT_EQ(buffers.CountRight(keys, 2), 2u);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  const uint64_t resident_kib = ResidentKib(daemon_->process().pid());
  const uint64_t grown_kib = std::max(resident_kib, resident_before_kib) - resident_before_kib;
  const size_t session_count = kSessions + kClients;
  std::printf("%zu sessions: %llu KiB of private memory each, %zu descriptors in all\n",
              session_count, static_cast<unsigned long long>(grown_kib / session_count),
              OpenDescriptors(daemon_->process().pid()) - descriptors_before);
  EXPECT_LT(grown_kib / session_count, 64u);
  EXPECT_EQ(client_->Stats()->leases, 0u);
  EXPECT_EQ(client_->Stats()->reservations, 0u);
  EXPECT_GE(client_->Stats()->sessions, kSessions + kClients);
  // All of them go at once.
  sessions.clear();
  clients.clear();
  EXPECT_TRUE(Eventually([this] { return client_->Stats()->sessions <= 2; }));
  EXPECT_EQ(OpenDescriptors(daemon_->process().pid()), descriptors_before);
  ASSERT_EQ(PutChain(1'000'000).stored, kChunks);
  ExpectRight(1'000'000);
}

TEST_F(SessionsTest, WhoComesWhenAllSessionsAreTakenIsToldSo) {
  ASSERT_NO_FATAL_FAILURE(Start({.flags = {"--set", "core.sessions_max=16"}}));
  std::vector<RawSession> sessions;
  absl::Status refused;
  while (refused.ok() && sessions.size() < 20) {
    absl::StatusOr<RawSession> session = RawSession::Connect(daemon_->socket_path());
    refused = session.status();
    if (session.ok()) sessions.push_back(*std::move(session));
  }
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), testing::HasSubstr("sessions_max"));
  EXPECT_GE(sessions.size(), 10u);
  auto late = Client::Connect({.socket_path = daemon_->socket_path()});
  ASSERT_TRUE(late.ok());
  ClientSpace late_space = *(*late)->Open(manifest_);
  EXPECT_THAT(std::string(late_space.Match(KnownKeys(1, 1)).status.message()),
              testing::HasSubstr("sessions_max"));
  // The others go on, and who waits gets in when one leaves.
  ASSERT_EQ(PutChain(1).stored, kChunks);
  ExpectRight(1);
  sessions.pop_back();
  EXPECT_TRUE(
      Eventually([&] { return late_space.Match(KnownKeys(1, kChunks)).chunks == kChunks; }));
}

TEST_F(SessionsTest, ADaemonOutOfDescriptorsGoesOnServing) {
  ASSERT_NO_FATAL_FAILURE(Start({}));
  ASSERT_EQ(PutChain(1).stored, kChunks);
  rlimit few{64, 64};
  ASSERT_EQ(prlimit(daemon_->process().pid(), RLIMIT_NOFILE, &few, nullptr), 0);
  std::vector<FileDescriptor> waiting;
  for (int i = 0; i < 80; ++i) {
    auto socket = UnixConnect(daemon_->socket_path(), SystemClock::Get().Now());
    ASSERT_TRUE(socket.ok()) << socket.status();
    waiting.push_back(*std::move(socket));
  }
  const uint64_t processor_before = ProcessorMs(daemon_->process().pid());
  absl::SleepFor(absl::Seconds(1));
  ExpectRight(1);
  EXPECT_LT(ProcessorMs(daemon_->process().pid()) - processor_before, 500u)
      << "it spins on connections that it cannot accept";
  EXPECT_LT(daemon_->process().Output().size(), 64u << 10) << "it floods its log";
  waiting.clear();
  EXPECT_TRUE(Eventually([this] { return RawSession::Connect(daemon_->socket_path()).ok(); }));
}

}  // namespace
}  // namespace larder
