#include "transport/local/ring_channel.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "tests/unit/transport/channel_pairs.h"

namespace larder {
namespace {

using testing::HasSubstr;

constexpr size_t kFileBytes = kRingControlBytes + 2 * size_t{kRingBytesDefault};

TEST(RingMemoryTest, AClientCannotChangeTheFilesSize) {
  const RingMemory memory = RingMemory::Create(kRingBytesDefault, kRingBytesDefault).value();
  EXPECT_NE(ftruncate(memory.file().get(), 4096), 0);
  EXPECT_NE(ftruncate(memory.file().get(), 2 * kFileBytes), 0);
  EXPECT_NE(fcntl(memory.file().get(), F_ADD_SEALS, F_SEAL_WRITE), 0);
  memory.reply_ring().back() = 1;  // The last byte is there.
}

TEST(RingMemoryTest, RefusesSizesThatAreNoRing) {
  for (const uint32_t bad :
       {0u, 4096u, kRingBytesMin - 8, kRingBytesMin + 4096, kRingBytesMax * 2}) {
    const absl::Status request = RingMemory::Create(bad, kRingBytesDefault).status();
    const absl::Status reply = RingMemory::Create(kRingBytesDefault, bad).status();
    EXPECT_TRUE(absl::IsInvalidArgument(request)) << request;
    EXPECT_TRUE(absl::IsInvalidArgument(reply)) << reply;
    EXPECT_THAT(std::string(reply.message()), HasSubstr(absl::StrCat("reply ring of ", bad)));
  }
}

TEST(RingMemoryTest, TheClientChecksWhatItIsGiven) {
  const auto open = [](const FileDescriptor& file, uint32_t reply_ring_bytes) {
    return RingMemory::Open(file.Duplicate().value(), kRingBytesDefault, reply_ring_bytes).status();
  };
  FileDescriptor unsealed(memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(ftruncate(unsealed.get(), kFileBytes), 0);
  EXPECT_THAT(std::string(open(unsealed, kRingBytesDefault).message()), HasSubstr("not sealed"));

  ASSERT_EQ(fcntl(unsealed.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
  EXPECT_THAT(std::string(open(unsealed, kRingBytesDefault).message()),
              HasSubstr("ring control magic"));

  const RingMemory memory = RingMemory::Create(kRingBytesDefault, kRingBytesDefault).value();
  EXPECT_THAT(std::string(open(memory.file(), 2 * kRingBytesDefault).message()),
              HasSubstr("the rings announced need"));
  memory.control()->reply_ring_bytes *= 2;
  EXPECT_THAT(std::string(open(memory.file(), kRingBytesDefault).message()),
              HasSubstr("ring control page says"));
  memory.control()->version = 9;
  EXPECT_THAT(std::string(open(memory.file(), kRingBytesDefault).message()),
              HasSubstr("ring control version is 9"));
  int pipe_fds[2];
  ASSERT_EQ(pipe2(pipe_fds, O_CLOEXEC), 0);
  const FileDescriptor reading(pipe_fds[0]);
  const FileDescriptor writing(pipe_fds[1]);
  EXPECT_FALSE(open(reading, kRingBytesDefault).ok());
}

TEST(RingChannelTest, ManySmallRequestsTouchFewPages) {
  RingPair pair = MakeRingPair({});
  Frame frame;
  const std::vector<uint8_t> payload = PatternPayload(1, 200);
  for (int i = 0; i < 20'000; ++i) {
    ASSERT_TRUE(pair.client->Send({}, payload).ok());
    ASSERT_TRUE(pair.server->TryReceive(&frame).value());
    ASSERT_TRUE(pair.server->Send({}, payload).ok());
    ASSERT_TRUE(pair.client->TryReceive(&frame).value());
  }
  struct stat stat_buffer;
  ASSERT_EQ(fstat(pair.file.get(), &stat_buffer), 0);
  EXPECT_LE(stat_buffer.st_blocks * 512, kRingControlBytes + 2 * (kRingHotBytes + 4096));
}

TEST(RingChannelTest, HeartbeatsAreSeenByTheOtherSide) {
  RingPair pair = MakeRingPair({});
  EXPECT_EQ(pair.server->PeerHeartbeat(), 0u);
  pair.client->Beat();
  pair.client->Beat();
  pair.server->Beat();
  EXPECT_EQ(pair.server->PeerHeartbeat(), 2u);
  EXPECT_EQ(pair.client->PeerHeartbeat(), 1u);
}

TEST(RingChannelTest, RevocationEndsTheClientsSessionAfterWhatWasSent) {
  RingPair pair = MakeRingPair({});
  ASSERT_TRUE(pair.server->Send({.request_id = 1}, {}).ok());
  EXPECT_FALSE(pair.client->IsRevoked());
  pair.server->Revoke();
  EXPECT_TRUE(pair.client->IsRevoked());
  Frame frame;
  EXPECT_TRUE(pair.client->TryReceive(&frame).value());
  EXPECT_TRUE(absl::IsUnavailable(pair.client->TryReceive(&frame).status()));
  EXPECT_TRUE(absl::IsUnavailable(pair.client->Send({}, {})));
}

TEST(RingChannelTest, RevocationWakesASleepingClient) {
  RingPair pair = MakeRingPair({.spin_limit = absl::ZeroDuration()});
  std::thread server([&pair] {
    absl::SleepFor(absl::Milliseconds(30));
    pair.server->Revoke();
  });
  Frame frame;
  EXPECT_TRUE(absl::IsUnavailable(ReceiveWithin(pair.client.get(), &frame)));
  server.join();
}

// Two threads in step, each delayed at random, so that a frame is published again and again while
// its consumer is between the steps of falling asleep.
TEST(RingChannelTest, NoWakeUpIsLostBetweenTheStepsOfFallingAsleep) {
  constexpr uint64_t kSeed = 17;
  constexpr uint64_t kRounds = 100'000;
  constexpr uint64_t kDelayStepsMax = 400;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  RingPair pair = MakeRingPair({});
  const auto delay = [](Random* random) {
    for (volatile uint64_t steps = random->Below(kDelayStepsMax); steps > 0;) steps = steps - 1;
  };
  std::atomic<uint64_t> round = 0;
  std::thread client([&] {
    SeededRandom random(kSeed);
    Backoff backoff;
    for (uint64_t i = 1; i <= kRounds; ++i) {
      while (round.load() < i) backoff.Wait();
      delay(&random);
      ASSERT_TRUE(pair.client->Send({.request_id = i}, {}).ok());
    }
  });
  SeededRandom random(kSeed + 1);
  Frame frame;
  uint64_t sleeps = 0;
  bool lost = false;
  for (uint64_t i = 1; i <= kRounds; ++i) {
    round.store(i);
    delay(&random);
    while (!pair.server->TryReceive(&frame).value()) {
      if (!pair.server->ArmWakeup()) continue;
      ++sleeps;
      pollfd event = {pair.server->readable_fd(), POLLIN, 0};
      lost = lost || poll(&event, 1, absl::ToInt64Milliseconds(kPatience)) != 1;
      pair.server->DisarmWakeup();
    }
    if (lost) break;
    ASSERT_EQ(frame.header.request_id, i);
  }
  EXPECT_FALSE(lost) << "asleep beside a frame after " << sleeps << " sleeps";
  EXPECT_GT(sleeps, 0u);
  round.store(kRounds);  // Lets the client end after a failure.
  client.join();
}

TEST(RingChannelTest, AClientThatMakesTheEventfdBlockingDoesNotBlockTheServer) {
  RingPair pair = MakeRingPair({});
  const int flags = fcntl(pair.wakeup.get(), F_GETFL);
  ASSERT_EQ(fcntl(pair.wakeup.get(), F_SETFL, flags & ~O_NONBLOCK), 0);
  ASSERT_TRUE(pair.server->ArmWakeup());
  pair.server->DisarmWakeup();  // Nothing to drain: a plain read would wait for ever.
  ASSERT_EQ(eventfd_write(pair.wakeup.get(), 3), 0);
  pair.server->DisarmWakeup();
  ASSERT_EQ(fcntl(pair.wakeup.get(), F_SETFL, flags | O_NONBLOCK), 0);
  eventfd_t count;
  EXPECT_NE(eventfd_read(pair.wakeup.get(), &count), 0) << "not drained";
}

TEST(RingChannelTest, AFailedChannelStaysFailed) {
  RingPair pair = MakeRingPair({});
  const MemoryMapping mapping = MemoryMapping::MapShared(pair.file, kFileBytes, true).value();
  auto* control = reinterpret_cast<RingControl*>(mapping.data());
  control->request.producer_position = 12;
  Frame frame;
  const absl::Status first = pair.server->TryReceive(&frame).status();
  EXPECT_TRUE(absl::IsDataLoss(first)) << first;
  control->request.producer_position = 0;
  EXPECT_EQ(pair.server->TryReceive(&frame).status(), first);
  EXPECT_EQ(pair.server->Send({}, {}), first);
  EXPECT_EQ(pair.server->WaitReadable(After(kPatience)), first);
  EXPECT_FALSE(pair.server->ArmWakeup());
}

// Scribbles over positions, flags and frames through a mapping of its own until told to stop.
void Scribble(const MemoryMapping& mapping, uint64_t seed, const std::atomic<bool>& stop) {
  SeededRandom random(seed);
  auto* control = reinterpret_cast<RingControl*>(mapping.data());
  uint64_t* const positions[] = {
      &control->request.producer_position, &control->request.consumer_position,
      &control->reply.producer_position, &control->reply.consumer_position};
  while (!stop.load(std::memory_order_relaxed)) {
    uint64_t* target = positions[random.Below(4)];
    if (random.Below(2) == 0) {
      target = reinterpret_cast<uint64_t*>(mapping.data()) + random.Below(kRingHotBytes / 8);
    }
    const uint64_t value = random.Below(3) == 0 ? random.Next() : random.Below(4096) * 8;
    std::atomic_ref<uint64_t>(*target).store(value, std::memory_order_relaxed);
    if (random.Below(64) == 0) absl::SleepFor(absl::Microseconds(20));
  }
}

TEST(RingChannelTest, AScribblingPeerEndsInACleanError) {
  constexpr int kRounds = 300;
  int failures = 0;
  for (uint64_t seed = 1; seed <= kRounds; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    RingPair pair = MakeRingPair({.spin_limit = absl::Microseconds(5)});
    const MemoryMapping mapping = MemoryMapping::MapShared(pair.file, kFileBytes, true).value();
    std::atomic<bool> stop = false;
    std::thread hostile([&] { Scribble(mapping, seed, stop); });
    Frame frame;
    Channel& channel = seed % 2 == 0 ? *pair.server : static_cast<Channel&>(*pair.client);
    absl::Status status;
    for (int step = 0; step < 200 && status.ok(); ++step) {
      status = channel.Send({}, PatternPayload(1, 64));
      if (absl::IsResourceExhausted(status)) status = absl::OkStatus();
      if (status.ok()) status = channel.WaitReadable(After(absl::Microseconds(50)));
      if (absl::IsDeadlineExceeded(status)) status = absl::OkStatus();
      if (status.ok()) status = channel.TryReceive(&frame).status();
    }
    stop = true;
    hostile.join();
    if (status.ok()) continue;
    ++failures;
    // UNAVAILABLE is the "revoked" flag, which the scribbler hits too.
    EXPECT_TRUE(absl::IsDataLoss(status) || absl::IsUnavailable(status)) << status;
  }
  EXPECT_GT(failures, kRounds / 2);
}

}  // namespace
}  // namespace larder
