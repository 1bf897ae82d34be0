// larderd is killed again and again while chunks in several levels lose their finest ones.
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/random.h"
#include "kernels/format/coded_container.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/known_chunks.h"

namespace larder {
namespace {

DaemonOptions LevelsOptions(uint64_t arena_bytes) {
  DaemonOptions options;
  options.arena_bytes = arena_bytes;
  options.flags = {"--set", "policy.drop_levels=finest-first"};
  return options;
}

constexpr uint64_t kArenaBytes = uint64_t{16} << 20;
// More than fit in: about 150 of 106 KiB with all levels.
constexpr uint64_t kLookedAt = 400;

Manifest LevelsManifest() {
  Manifest manifest;
  manifest.model = "levels";
  manifest.layers = 4;
  manifest.heads = 4;
  manifest.head_dim = 64;
  manifest.tokens_per_chunk = 64;
  return manifest;
}

class LevelsKillTest : public testing::Test {
 protected:
  std::vector<uint8_t> Payload(uint64_t number) const {
    SeededRandom random(number);
    std::vector<uint8_t> payload(manifest_.PayloadBytes(manifest_.WholePart()));
    for (size_t i = 0; i < payload.size(); i += 2) {
      const uint64_t bits = random.Next();
      payload[i] = static_cast<uint8_t>(bits);
      payload[i + 1] = bits & 256 ? 0x3f : 0xbf;  // From 0.5 to 2, of either sign.
    }
    return payload;
  }

  // What a chunk of so many levels decodes to. Identity matters but for the key.
  std::vector<uint8_t> Decoded(uint64_t number, uint32_t levels) const {
    std::vector<uint8_t> payload = Payload(number);
    const ChunkIdentity identity{.space = {},
                                 .manifest = manifest_.Id(),
                                 .key = ChunkKey(1, 1),
                                 .parent = {},
                                 .depth = 0,
                                 .token_count = manifest_.tokens_per_chunk,
                                 .part = manifest_.WholePart()};
    const ConstSegment source{payload.data(), payload.size()};
    const auto container = EncodeContainer(codecs_, ContainerCodec::kLarder, levels, manifest_,
                                           identity, {&source, 1});
    EXPECT_TRUE(container.ok()) << container.status();
    const auto view = ContainerView::Parse(*container);
    EXPECT_TRUE(view.ok()) << view.status();
    const Segment destination{payload.data(), payload.size()};
    EXPECT_TRUE(ReadContainer(codecs_, *view, manifest_, identity.part, 0, {&destination, 1}).ok());
    return payload;
  }

  void PutUntilTold(ClientSpace space) {
    PutOptions options;
    options.codec = ContainerCodec::kLarder;
    options.timeout = absl::Milliseconds(200);
    while (!stop_) {
      const uint64_t number = next_.fetch_add(1);
      const std::vector<uint8_t> payload = Payload(number);
      const ConstSegment source{payload.data(), payload.size()};
      const GatherList gather(&source, 1);
      (void)space.Put(KnownKeys(number, 1), {&gather, 1}, options);
    }
  }

  // Every chunk that is there is right at the levels that it has; returns how many have how many.
  std::map<uint32_t, uint64_t> Verify(ClientSpace& space) {
    std::map<uint32_t, uint64_t> found;
    const uint64_t end = next_;
    std::vector<uint8_t> payload(manifest_.PayloadBytes(manifest_.WholePart()));
    const Segment destination{payload.data(), payload.size()};
    const ScatterList scatter(&destination, 1);
    for (uint64_t number = end - std::min(end, kLookedAt); number < end; ++number) {
      const FetchResult fetch = space.Fetch(KnownKeys(number, 1), {&scatter, 1});
      if (fetch.chunks == 0) {
        EXPECT_TRUE(absl::IsNotFound(fetch.status)) << number << ": " << fetch.status;
        continue;
      }
      EXPECT_EQ(payload, Decoded(number, fetch.levels)) << number;
      ++found[fetch.levels];
    }
    return found;
  }

  const Manifest manifest_ = LevelsManifest();
  const ContainerCodecs codecs_;
  std::atomic<uint64_t> next_{0};
  std::atomic<bool> stop_{false};
};

TEST_F(LevelsKillTest, WhatIsThereIsRightAtItsLevels) {
  const int rounds = NumberFromEnvironment("LARDER_KILL_ROUNDS", 8);
  const int seed = NumberFromEnvironment("LARDER_KILL_SEED", 1);
  SCOPED_TRACE(absl::StrCat("LARDER_KILL_SEED=", seed));
  SeededRandom random(static_cast<uint64_t>(seed));
  SharedDirectory directory;
  DaemonProcess daemon(directory.path(), LevelsOptions(kArenaBytes));
  ASSERT_NO_FATAL_FAILURE(daemon.Start());
  const auto client = ConnectClient(daemon.socket_path());
  ClientSpace space = *client->Open(manifest_);
  std::map<uint32_t, uint64_t> found;
  for (int round = 0; round < rounds && !HasFailure(); ++round) {
    SCOPED_TRACE(absl::StrCat("round ", round));
    stop_ = false;
    const uint64_t begin = next_;
    std::thread putter([&] { PutUntilTold(space); });
    // Enough for pressure, and then a random moment in it.
    EXPECT_TRUE(Eventually([&] { return next_ > begin + kLookedAt / 2; }));
    absl::SleepFor(absl::Microseconds(random.Below(50'000)));
    daemon.Kill();
    stop_ = true;
    putter.join();
    ASSERT_NO_FATAL_FAILURE(daemon.Start());
    ASSERT_TRUE(Eventually([&] { return client->Stats().ok(); }));
    for (const auto& [levels, chunks] : Verify(space)) found[levels] += chunks;
  }
  EXPECT_GT(found[2], 0u);
  EXPECT_GT(found[4], 0u);
  EXPECT_EQ(found.size(), 2u);
  std::printf("%d kills, %llu chunks put, verified %llu with two levels and %llu with four\n",
              rounds, static_cast<unsigned long long>(next_.load()),
              static_cast<unsigned long long>(found[2]), static_cast<unsigned long long>(found[4]));
}

}  // namespace
}  // namespace larder
