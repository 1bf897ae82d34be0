#include "daemon/index/event_batch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/byte_order.h"
#include "common/crc32c.h"
#include "common/random.h"
#include "daemon/index/event_batch_format.h"
#include "tests/unit/daemon/index_testing.h"

namespace larder {
namespace {

// That of docs/formats/event_batch.md.
std::vector<ChunkEvent> ExampleEvents() {
  const SpaceId first{.low = 1, .high = 2}, second{.low = 3, .high = 4};
  return {{.space = first, .key = {.low = 5, .high = 6}, .pages = 256, .tiers = kTierMemory},
          {.space = second, .key = {.low = 7, .high = 8}, .pages = 9, .tiers = kTiersAll},
          {.space = first, .key = {.low = 10, .high = 11}, .pages = 0, .tiers = 0}};
}

std::string WithChecksum(std::string bytes) {
  const size_t summed = bytes.size() - kEventBatchChecksumBytes;
  const uint32_t crc = Crc32c({reinterpret_cast<const uint8_t*>(bytes.data()), summed});
  StoreLittleEndian(bytes.data() + summed, crc);
  return bytes;
}

// The second space becomes the first one again.
std::string DuplicateSpace(std::string bytes) {
  std::copy_n(bytes.begin() + sizeof(EventBatchHeader), kEventBatchSpaceBytes,
              bytes.begin() + sizeof(EventBatchHeader) + kEventBatchSpaceBytes);
  return WithChecksum(std::move(bytes));
}

TEST(EventBatchTest, EventsComeBackAsTheyWere) {
  SeededRandom random(1);
  for (const size_t count : {size_t{0}, size_t{1}, size_t{100}, kEventBatchEventsMax}) {
    std::vector<ChunkEvent> events;
    for (size_t i = 0; i < count; ++i) {
      const uint8_t tiers = static_cast<uint8_t>(random.Below(4));
      events.push_back({.space = SpaceOf(random.Below(1 + i)),
                        .key = KeyOf(i),
                        .pages = tiers == 0 ? 0 : static_cast<uint32_t>(random.Next()),
                        .tiers = tiers});
    }
    const std::string bytes = EncodeEvents(events);
    EXPECT_LE(bytes.size(), kEventBatchBytesMax);
    const auto back = DecodeEvents(bytes);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(*back, events);
  }
}

TEST(EventBatchTest, TheGoldenFileIsReadAndWritten) {
  std::ifstream file(LARDER_GOLDEN_DIR "/event_batch/three_events.bin", std::ios::binary);
  const std::string golden((std::istreambuf_iterator<char>(file)), {});
  const auto events = DecodeEvents(golden);
  ASSERT_TRUE(events.ok()) << events.status();
  EXPECT_EQ(*events, ExampleEvents());
  EXPECT_EQ(EncodeEvents(ExampleEvents()), golden);
}

TEST(EventBatchTest, WhatIsWrongIsNamed) {
  const std::string good = EncodeEvents(ExampleEvents());
  const auto with = [&good](size_t at, char value) {
    std::string bytes = good;
    bytes[at] = value;
    return WithChecksum(bytes);
  };
  constexpr size_t kSpaces = sizeof(EventBatchHeader);
  constexpr size_t kEvents = kSpaces + 2 * kEventBatchSpaceBytes;
  const std::pair<std::string, std::string> cases[] = {
      {good.substr(0, 8), "no header"},
      {good.substr(0, good.size() - 1), "bytes instead of"},
      {good + "x", "bytes instead of"},
      {with(0, 'X'), "magic"},
      {with(4, 2), "version 2"},
      {with(6, 1), "bytes instead of"},
      {with(8, 0), "0 events"},
      {with(10, 1), "events, it has 1 to"},
      {DuplicateSpace(good), "named twice"},
      {with(kEvents + 20, 1), "names space 1"},
      {with(kEvents + 24 + 20, 0), "no event names"},
      {with(kEvents + 22, 4), "tiers 4"},
      {with(kEvents + 22, 0), "gone"},
      {with(kEvents + 23, 1), "reserved"},
  };
  for (const auto& [bytes, wanted] : cases) {
    const auto events = DecodeEvents(bytes);
    ASSERT_FALSE(events.ok()) << wanted;
    EXPECT_EQ(events.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_TRUE(absl::StrContains(events.status().message(), wanted))
        << events.status() << " wanted: " << wanted;
  }
  std::string flipped = good;
  flipped[kEvents] ^= 1;
  EXPECT_TRUE(absl::StrContains(DecodeEvents(flipped).status().message(), "checksum"));
}

TEST(EventBatchTest, NoBytesAreTooStrange) {
  SeededRandom random(2);
  const std::string good = EncodeEvents(ExampleEvents());
  for (int i = 0; i < 20'000; ++i) {
    SCOPED_TRACE(absl::StrCat("seed 2, round ", i));
    std::string bytes = good.substr(0, 1 + random.Below(good.size()));
    for (uint64_t changes = random.Below(4); changes > 0; --changes) {
      bytes[random.Below(bytes.size())] = static_cast<char>(random.Next());
    }
    if (bytes.size() >= kEventBatchChecksumBytes) bytes = WithChecksum(bytes);
    // What is accepted has no other encoding.
    const auto events = DecodeEvents(bytes);
    if (events.ok()) {
      ASSERT_EQ(EncodeEvents(*events), bytes);
    }
  }
}

}  // namespace
}  // namespace larder
