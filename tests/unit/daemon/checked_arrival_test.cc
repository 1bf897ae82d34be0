#include "daemon/cluster/checked_arrival.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "common/random.h"
#include "tests/unit/daemon/cluster_testing.h"

namespace larder {
namespace {

constexpr uint64_t kGranuleBytes = 4096;

// Eight planes of 8 KiB.
Manifest KiBPlanes() {
  Manifest manifest;
  manifest.model = "test";
  manifest.element_type = ElementType::kInt8;
  manifest.kind = CacheKind::kKeyValue;
  manifest.layers = 4;
  manifest.heads = 8;
  manifest.head_dim = 64;
  manifest.tokens_per_chunk = 16;
  return manifest;
}

// A chunk in so many containers, as it lies in a window.
class CheckedArrivalTest : public testing::Test {
 protected:
  explicit CheckedArrivalTest(uint16_t parts = 1) {
    for (uint16_t i = 0; i < parts; ++i) {
      Part part = manifest_.WholePart();
      part.layer_begin = static_cast<uint16_t>(i * manifest_.layers / parts);
      part.layer_end = static_cast<uint16_t>((i + 1) * manifest_.layers / parts);
      const uint64_t bytes = RawContainerBytes(manifest_, part);
      const uint64_t offset = room_.size();
      const ChunkIdentity identity{.space = {1, 2},
                                   .manifest = manifest_.Id(),
                                   .key = {1, 2, 3},
                                   .parent = {},
                                   .depth = 0,
                                   .token_count = manifest_.tokens_per_chunk,
                                   .part = part};
      room_.resize(offset + (bytes + kGranuleBytes - 1) / kGranuleBytes * kGranuleBytes);
      const std::vector<uint8_t> payload = PayloadOf(i, manifest_.PayloadBytes(part));
      const ConstSegment segment{payload.data(), payload.size()};
      EXPECT_TRUE(WriteRawContainer(std::span(room_).subspan(offset, bytes), manifest_, identity,
                                    {&segment, 1})
                      .ok());
      fetched_.parts.push_back({.offset = offset, .bytes = bytes});
    }
    fetched_.code = FetchResultCode::kWritten;
  }

  // The bytes come in pieces of these sizes, whatever lies there at that time.
  void Land(ArrivalCheck* check, uint64_t piece_bytes) const {
    for (uint64_t at = 0; at < room_.size(); at += piece_bytes) {
      check->OnLanded(at, std::min<uint64_t>(piece_bytes, room_.size() - at));
    }
  }

  const Manifest manifest_ = KiBPlanes();
  std::vector<uint8_t> room_;
  PeerFetched fetched_;
};

class CheckedArrivalOfTwoTest : public CheckedArrivalTest {
 protected:
  CheckedArrivalOfTwoTest() : CheckedArrivalTest(2) {}
};

TEST_F(CheckedArrivalTest, SoundBytesPassHoweverTheyCome) {
  for (const uint64_t piece_bytes : {uint64_t{1}, uint64_t{1000}, uint64_t{4096}, room_.size()}) {
    ArrivalCheck check(room_);
    Land(&check, piece_bytes);
    const CheckedArrival arrival = check.Finish(fetched_);
    EXPECT_EQ(arrival.problem, "") << piece_bytes;
    EXPECT_EQ(arrival.containers.size(), 1u);
  }
  EXPECT_EQ(ArrivalCheck(room_).Finish(fetched_).problem, "") << "nobody has told of any byte";
}

TEST_F(CheckedArrivalTest, EveryDamagedByteIsFoundHoweverItCame) {
  constexpr uint64_t kSeed = 5;
  SCOPED_TRACE(testing::Message() << "seed " << kSeed);
  SeededRandom random(kSeed);
  const uint64_t bytes = fetched_.parts[0].bytes;
  const std::vector<uint8_t> sound = room_;
  for (int round = 0; round < 300; ++round) {
    const uint64_t at = round < 100 ? random.Below(1024) : random.Below(bytes);
    room_[at] ^= static_cast<uint8_t>(1 + random.Below(255));
    ArrivalCheck check(room_);
    Land(&check, 1 + random.Below(5000));
    EXPECT_NE(check.Finish(fetched_).problem, "") << "byte " << at;
    EXPECT_NE(ArrivalCheck(room_).Finish(fetched_).problem, "") << "byte " << at;
    room_ = sound;
  }
}

TEST_F(CheckedArrivalTest, BytesThatComeTwiceAreSummedAtTheEnd) {
  const uint64_t last = fetched_.parts[0].bytes - 1;
  const std::vector<uint8_t> sound = room_;
  for (const uint64_t at : {last, last / 2, uint64_t{300}}) {
    ArrivalCheck check(room_);
    Land(&check, 4096);
    room_[at] ^= 1;
    check.OnLanded(at, 1);
    EXPECT_NE(check.Finish(fetched_).problem, "") << at;
    room_ = sound;
  }
}

TEST_F(CheckedArrivalTest, BytesOutOfOrderAndOutsideTheWindowDoNoHarm) {
  ArrivalCheck check(room_);
  check.OnLanded(4096, 4096);
  check.OnLanded(0, 4096);
  EXPECT_EQ(check.Finish(fetched_).problem, "");
  ArrivalCheck beyond(room_);
  beyond.OnLanded(0, room_.size() + 1);
  EXPECT_EQ(beyond.Finish(fetched_).problem, "");
  ArrivalCheck far(room_);
  far.OnLanded(~uint64_t{0}, 2);
  EXPECT_EQ(far.Finish(fetched_).problem, "");
}

TEST_F(CheckedArrivalTest, AContainerOutsideTheWindowIsRefused) {
  fetched_.parts[0].bytes = room_.size() + 1;
  EXPECT_THAT(ArrivalCheck(room_).Finish(fetched_).problem, testing::HasSubstr("outside"));
}

TEST_F(CheckedArrivalOfTwoTest, SeveralContainersAreSummed) {
  ArrivalCheck check(room_);
  Land(&check, 3000);
  EXPECT_EQ(check.Finish(fetched_).problem, "");
  EXPECT_EQ(check.Finish(fetched_).containers.size(), 2u);
  room_[fetched_.parts[1].offset + fetched_.parts[1].bytes - 1] ^= 1;
  EXPECT_NE(check.Finish(fetched_).problem, "");
}

}  // namespace
}  // namespace larder
