#include "transport/local/byte_ring.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "tests/unit/transport/channel_pairs.h"

namespace larder {
namespace {

using testing::HasSubstr;

constexpr size_t kSmallRingBytes = 4096;

// Both ends over the same addresses, so that ThreadSanitizer sees every access of both.
struct SharedRing {
  explicit SharedRing(size_t ring_bytes)
      : words(std::make_unique<uint64_t[]>(ring_bytes / sizeof(uint64_t))),
        bytes(reinterpret_cast<uint8_t*>(words.get()), ring_bytes),
        writer(&positions, bytes),
        reader(&positions, bytes) {}

  std::unique_ptr<uint64_t[]> words;
  std::span<uint8_t> bytes;
  RingPositions positions = {};
  RingWriter writer;
  RingReader reader;
};

TEST(ByteRingTest, RandomFramesAcrossThreadsAndWraps) {
  constexpr uint64_t kSeed = 7;
  constexpr uint64_t kFrames = 50'000;
  constexpr size_t kWrapsMin = 500;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  SharedRing ring(8 * kSmallRingBytes);
  std::thread producer([&ring] {
    SeededRandom random(kSeed);
    Backoff backoff;
    for (uint64_t i = 0; i < kFrames; ++i) {
      const std::vector<uint8_t> payload = PatternPayload(i, random.Below(1000));
      absl::Status status = ring.writer.TryWrite({.request_id = i}, payload);
      while (absl::IsResourceExhausted(status)) {
        backoff.Wait();
        status = ring.writer.TryWrite({.request_id = i}, payload);
      }
      ASSERT_TRUE(status.ok()) << status;
    }
  });
  SeededRandom random(kSeed);
  Backoff backoff;
  Frame frame;
  uint64_t received = 0;
  while (received < kFrames) {
    const absl::StatusOr<bool> result = ring.reader.TryRead(&frame);
    ASSERT_TRUE(result.ok()) << result.status();
    if (!*result) {
      backoff.Wait();
      continue;
    }
    ASSERT_EQ(frame.header.request_id, received);
    ASSERT_EQ(frame.payload, PatternPayload(received, random.Below(1000)));
    ++received;
  }
  producer.join();
  EXPECT_FALSE(ring.reader.Readable());
  EXPECT_GT(ring.positions.producer_position, kWrapsMin * ring.bytes.size());
}

TEST(ByteRingTest, AFrameFillsTheRingToTheLastByte) {
  SharedRing ring(kSmallRingBytes);
  const std::vector<uint8_t> payload = PatternPayload(1, kSmallRingBytes - sizeof(FrameHeader));
  Frame frame;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(ring.writer.TryWrite({}, payload).ok());
    EXPECT_TRUE(absl::IsResourceExhausted(ring.writer.TryWrite({}, {})));
    ASSERT_TRUE(ring.reader.TryRead(&frame).value());
    EXPECT_EQ(frame.payload, payload);
  }
}

TEST(ByteRingTest, SmallFramesStayInTheHotPart) {
  SharedRing ring(kRingBytesDefault);
  // One frame of the largest size moves the positions far into the ring.
  Frame frame;
  ASSERT_TRUE(ring.writer.TryWrite({}, PatternPayload(1, kFramePayloadBytesMax)).ok());
  ASSERT_TRUE(ring.reader.TryRead(&frame).value());
  const std::vector<uint8_t> payload = PatternPayload(2, 500);
  for (int i = 0; i < 10'000; ++i) {
    ASSERT_TRUE(ring.writer.TryWrite({}, payload).ok());
    ASSERT_TRUE(ring.reader.TryRead(&frame).value());
    ASSERT_EQ(frame.payload, payload);
    ASSERT_LE(ring.positions.producer_position % kRingBytesDefault, kRingHotBytes + 1000);
  }
}

TEST(ByteRingTest, AnyFrameFitsAnEmptyRing) {
  SharedRing ring(kRingBytesMin);
  const std::vector<uint8_t> largest = PatternPayload(1, kFramePayloadBytesMax);
  SeededRandom random(3);
  Frame frame;
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(ring.writer.TryWrite({}, PatternPayload(2, random.Below(200'000))).ok());
    ASSERT_TRUE(ring.reader.TryRead(&frame).value());
    ASSERT_TRUE(ring.writer.TryWrite({}, largest).ok());
    ASSERT_TRUE(ring.reader.TryRead(&frame).value());
    ASSERT_EQ(frame.payload, largest);
  }
}

struct Corruption {
  const char* name;
  void (*apply)(SharedRing*);
  const char* expected_message;
};

template <typename Field>
void SetHeaderField(SharedRing* ring, size_t offset, Field value) {
  std::memcpy(ring->bytes.data() + offset, &value, sizeof value);
}

// The ring holds one frame of 32 + 100 bytes at position 0 when the corruption is applied.
const Corruption kCorruptions[] = {
    {"magic", [](SharedRing* r) { SetHeaderField<uint32_t>(r, 0, 0x12345678); },
     "frame magic is 0x12345678"},
    {"version", [](SharedRing* r) { SetHeaderField<uint16_t>(r, 4, 2); }, "frame version is 2"},
    {"too short", [](SharedRing* r) { SetHeaderField<uint32_t>(r, 8, 31); },
     "frame size is 31 bytes"},
    {"zero size", [](SharedRing* r) { SetHeaderField<uint32_t>(r, 8, 0); },
     "frame size is 0 bytes"},
    {"beyond what is published", [](SharedRing* r) { SetHeaderField<uint32_t>(r, 8, 137); },
     "frame size is 137 bytes, but only 136 are there"},
    {"huge", [](SharedRing* r) { SetHeaderField<uint32_t>(r, 8, 0xffffffff); },
     "frame size is 4294967295 bytes"},
    {"status", [](SharedRing* r) { SetHeaderField<uint32_t>(r, 12, 17); }, "frame status is 17"},
    {"reserved", [](SharedRing* r) { SetHeaderField<uint64_t>(r, 24, 1); }, "reserved"},
    {"padding at the start",
     [](SharedRing* r) {
       SetHeaderField<uint32_t>(r, 0, kPaddingMagic);
       SetHeaderField<uint32_t>(r, 4, kSmallRingBytes);
       r->positions.producer_position = kSmallRingBytes;
     },
     "padding of 4096 bytes"},
    {"no room for a header", [](SharedRing* r) { r->positions.producer_position = 24; },
     "frame header with 24 bytes left"},
    {"unaligned position", [](SharedRing* r) { r->positions.producer_position = 33; },
     "producer position 33"},
    {"position too far",
     [](SharedRing* r) { r->positions.producer_position = kSmallRingBytes + 8; },
     "producer position 4104"},
    {"position behind", [](SharedRing* r) { r->positions.producer_position = ~uint64_t{7}; },
     "producer position 18446744073709551608"},
};

TEST(ByteRingTest, WhatIsMalformedIsNamed) {
  for (const Corruption& corruption : kCorruptions) {
    SCOPED_TRACE(corruption.name);
    SharedRing ring(kSmallRingBytes);
    ASSERT_TRUE(ring.writer.TryWrite({}, PatternPayload(1, 100)).ok());
    corruption.apply(&ring);
    Frame frame;
    const absl::Status status = ring.reader.TryRead(&frame).status();
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(corruption.expected_message));
    EXPECT_THAT(std::string(status.message()), HasSubstr("consumer position 0"));
  }
}

TEST(ByteRingTest, PaddingMustReachTheEnd) {
  for (const uint32_t padding_bytes : {0u, 8u, 4096u, 0xfffffff8u}) {
    SharedRing ring(kSmallRingBytes);
    Frame frame;
    ASSERT_TRUE(ring.writer.TryWrite({}, PatternPayload(1, 3000)).ok());
    ASSERT_TRUE(ring.reader.TryRead(&frame).value());
    const size_t offset = ring.positions.producer_position;
    ASSERT_TRUE(ring.writer.TryWrite({}, PatternPayload(2, 2000)).ok());  // pads and wraps
    SetHeaderField<uint32_t>(&ring, offset + 4, padding_bytes);
    EXPECT_TRUE(absl::IsDataLoss(ring.reader.TryRead(&frame).status())) << padding_bytes;
  }
}

TEST(ByteRingTest, TheWriterBoundsTheConsumersPosition) {
  for (const uint64_t position : {uint64_t{4000}, ~uint64_t{0}, uint64_t{1} << 63}) {
    SharedRing ring(kSmallRingBytes);
    ASSERT_TRUE(ring.writer.TryWrite({}, PatternPayload(1, 3000)).ok());
    ring.positions.consumer_position = position;
    const absl::Status status = ring.writer.TryWrite({}, PatternPayload(1, 3000));
    EXPECT_TRUE(absl::IsDataLoss(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("ring consumer position"));
  }
}

// A hostile peer writes anything anywhere between two operations; every answer must be a frame
// within bounds, nothing, or a clean error.
TEST(ByteRingTest, AnythingInSharedMemoryEndsInAFrameOrAnError) {
  constexpr uint64_t kSeed = 99;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  SeededRandom random(kSeed);
  uint64_t errors = 0;
  uint64_t frames = 0;
  for (int round = 0; round < 5000; ++round) {
    SharedRing ring(kSmallRingBytes);
    Frame frame;
    for (int step = 0; step < 40; ++step) {
      ring.writer.TryWrite({}, PatternPayload(1, random.Below(500))).IgnoreError();
      const uint64_t word = random.Below(4) == 0 ? random.Next() : random.Below(8192);
      switch (random.Below(8)) {
        case 0:
          ring.positions.producer_position += 8 * (random.Below(64) - 32);
          break;
        case 1:
          ring.positions.consumer_position = word;
          break;
        case 2:
          ring.words[random.Below(kSmallRingBytes / 8)] = word;
          break;
        default:
          break;
      }
      const absl::StatusOr<bool> result = ring.reader.TryRead(&frame);
      if (!result.ok()) {
        EXPECT_TRUE(absl::IsDataLoss(result.status())) << result.status();
        ++errors;
        break;
      }
      if (!*result) continue;
      ++frames;
      ASSERT_EQ(frame.payload.size() + sizeof(FrameHeader), frame.header.frame_bytes);
    }
  }
  EXPECT_GT(errors, 100u);
  EXPECT_GT(frames, 100u);
}

}  // namespace
}  // namespace larder
