// A daemon, a good client that checks every byte, and what hostile clients need.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/known_chunks.h"
#include "tests/e2e/raw_session.h"
#include "transport/local/socket.h"

namespace larder {

inline constexpr size_t kHostileChunks = 8;

inline std::vector<uint8_t> RandomBytes(Random& random, size_t size) {
  std::vector<uint8_t> bytes(size);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Next());
  return bytes;
}

// A small number, a huge one or anything: what finds bounds that are not checked.
inline uint64_t OddNumber(Random& random) {
  switch (random.Below(5)) {
    case 0:
      return random.Below(8);
    case 1:
      return ~random.Below(8);
    case 2:
      return uint64_t{1} << random.Below(64);
    case 3:
      return (uint64_t{1} << random.Below(64)) - 1;
    default:
      return random.Next();
  }
}

// A client that puts, matches, fetches and removes, and notes everything that goes wrong.
class GoodClient {
 public:
  explicit GoodClient(const std::string& socket_path)
      : client_(ConnectClient(socket_path)), thread_([this] { Run(); }) {}
  ~GoodClient() { Stop(); }

  void Stop() {
    stop_.store(true);
    if (thread_.joinable()) thread_.join();
  }
  uint64_t rounds() const { return rounds_.load(); }
  // REQUIRES: stopped.
  const std::string& trouble() const { return trouble_; }

 private:
  void Run() {
    absl::StatusOr<ClientSpace> space = client_->Open(KnownManifest(), "good");
    if (!space.ok()) {
      trouble_ = space.status().ToString();
      return;
    }
    KnownBuffers buffers(kHostileChunks, space->manifest());
    while (!stop_.load() && trouble_.empty()) {
      Round(*space, buffers);
      ++rounds_;
    }
  }

  void Round(ClientSpace& space, KnownBuffers& buffers) {
    const auto keys = KnownKeys(1'000'000 + rounds_.load(), kHostileChunks);
    buffers.Fill(keys);
    const PutResult put = space.Put(keys, buffers.sources(kHostileChunks));
    if (!put.status.ok()) trouble_ = absl::StrCat("put: ", put.status.ToString());
    const MatchResult match = space.Match(keys);
    if (match.chunks != kHostileChunks) {
      trouble_ = absl::StrCat("match of ", match.chunks, ": ", match.status.ToString());
    }
    buffers.Spoil();
    const FetchResult fetch = space.Fetch(keys, buffers.destinations(kHostileChunks));
    if (fetch.chunks != kHostileChunks) trouble_ = absl::StrCat("fetch: ", fetch.status.ToString());
    if (buffers.CountRight(keys, kHostileChunks) != kHostileChunks) trouble_ = "wrong bytes";
    const absl::StatusOr<uint32_t> removed = space.Remove(keys);
    if (!removed.ok() || *removed != kHostileChunks) trouble_ = "remove";
  }

  std::unique_ptr<Client> client_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> rounds_{0};
  std::string trouble_;
  std::thread thread_;
};

class HostileClientTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(daemon_.Start());
    good_ = std::make_unique<GoodClient>(daemon_.socket_path());
    ASSERT_TRUE(Eventually([this] { return good_->rounds() > 3; }));
  }

  // The daemon lives, the good client never had an error and goes on, and nothing is held.
  void TearDown() override {
    ASSERT_TRUE(daemon_.running()) << daemon_.process().Output();
    ExpectProgress();
    good_->Stop();
    EXPECT_EQ(good_->trouble(), "");
    const auto client = ConnectClient(daemon_.socket_path());
    EXPECT_TRUE(Eventually([&] { return client->Stats()->leases == 0; }));
    EXPECT_TRUE(Eventually([&] { return client->Stats()->reservations == 0; }))
        << client->Stats()->reservations;
    EXPECT_TRUE(Eventually([&] { return client->Stats()->sessions <= 3; }))
        << client->Stats()->sessions;
  }

  void ExpectProgress() {
    const uint64_t rounds = good_->rounds();
    EXPECT_TRUE(Eventually([&] { return good_->rounds() > rounds + 3; }, absl::Seconds(10)))
        << "the good client no longer gets on";
  }

  FileDescriptor RawSocket() {
    auto socket = UnixConnect(daemon_.socket_path(), SystemClock::Get().Now() + kPatience);
    EXPECT_TRUE(socket.ok()) << socket.status();
    return *std::move(socket);
  }
  RawSession Session(bool wants_rings = true) {
    auto session = RawSession::Connect(daemon_.socket_path(), wants_rings);
    EXPECT_TRUE(session.ok()) << session.status();
    return *std::move(session);
  }

  SharedDirectory directory_;
  DaemonProcess daemon_{
      directory_.path(),
      {.arena_bytes = uint64_t{64} << 20,
       .flags = {"--set", "local.handshake_timeout=500ms", "--set", "local.session_timeout=2s",
                 "--set", "local.heartbeat_interval=200ms", "--log-level", "error"}}};
  std::unique_ptr<GoodClient> good_;
};

}  // namespace larder
