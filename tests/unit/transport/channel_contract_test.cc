// What every kind of channel promises (transport/local/channel.h).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <thread>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "tests/unit/transport/channel_pairs.h"

namespace larder {
namespace {

constexpr uint64_t kSeed = 20240607;

bool PollsReadable(const Channel& channel, absl::Duration timeout) {
  pollfd event = {channel.readable_fd(), POLLIN, 0};
  return poll(&event, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) == 1;
}

template <typename Kind>
class ChannelContractTest : public testing::Test {
 protected:
  // A channel that goes to sleep at once is the harder case; the round trip test polls.
  ChannelPair pair_ = Kind::Make({.spin_limit = absl::ZeroDuration()});
  Channel& client_ = *pair_.client;
  Channel& server_ = *pair_.server;
  Frame frame_;
};

using Kinds = testing::Types<RingKind, SocketKind, InMemoryKind>;
TYPED_TEST_SUITE(ChannelContractTest, Kinds);

TYPED_TEST(ChannelContractTest, CarriesLabelAndPayloadInOrderBothWays) {
  for (auto [from, to] :
       {std::pair(&this->client_, &this->server_), std::pair(&this->server_, &this->client_)}) {
    for (uint64_t i = 0; i < 20; ++i) {
      const FrameLabel label = {.opcode = static_cast<uint16_t>(kFirstOperationOpcode + i),
                                .status = absl::StatusCode::kNotFound,
                                .request_id = ~i};
      ASSERT_TRUE(from->Send(label, PatternPayload(i, i * 100)).ok());
    }
    for (uint64_t i = 0; i < 20; ++i) {
      ASSERT_TRUE(to->TryReceive(&this->frame_).value());
      EXPECT_EQ(this->frame_.header.opcode, kFirstOperationOpcode + i);
      EXPECT_EQ(this->frame_.header.status, static_cast<uint32_t>(absl::StatusCode::kNotFound));
      EXPECT_EQ(this->frame_.header.request_id, ~i);
      EXPECT_EQ(this->frame_.payload, PatternPayload(i, i * 100));
    }
    EXPECT_FALSE(to->TryReceive(&this->frame_).value());
  }
}

TYPED_TEST(ChannelContractTest, CarriesTheLargestFrameAgainAndAgain) {
  const std::vector<uint8_t> largest = PatternPayload(1, kFramePayloadBytesMax);
  for (int i = 0; i < 10; ++i) {
    // A small frame before it puts the large one at another place each time.
    ASSERT_TRUE(this->client_.Send({}, PatternPayload(2, 1000)).ok());
    ASSERT_TRUE(this->server_.TryReceive(&this->frame_).value());
    ASSERT_TRUE(this->client_.Send({}, largest).ok());
    ASSERT_TRUE(this->server_.TryReceive(&this->frame_).value());
    EXPECT_EQ(this->frame_.payload, largest);
  }
}

TYPED_TEST(ChannelContractTest, RefusesAnOversizedFrameAndGoesOn) {
  EXPECT_EQ(this->client_.Send({}, PatternPayload(1, kFramePayloadBytesMax + 1)).code(),
            absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(this->client_.Send({}, PatternPayload(1, 8)).ok());
  EXPECT_TRUE(this->server_.TryReceive(&this->frame_).value());
  EXPECT_EQ(this->frame_.payload.size(), 8u);
}

TYPED_TEST(ChannelContractTest, FullIsAnAnswerAndPasses) {
  const std::vector<uint8_t> payload = PatternPayload(3, 10'000);
  for (int round = 0; round < 5; ++round) {
    uint64_t sent = 0;
    absl::Status status;
    while ((status = this->client_.Send({.request_id = sent}, payload)).ok()) {
      ASSERT_LT(++sent, 1000u) << "a channel without a bound";
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_GE(sent, 2u);
    for (uint64_t i = 0; i < sent; ++i) {
      ASSERT_TRUE(this->server_.TryReceive(&this->frame_).value());
      EXPECT_EQ(this->frame_.header.request_id, i);
      EXPECT_EQ(this->frame_.payload, payload);
    }
    EXPECT_FALSE(this->server_.TryReceive(&this->frame_).value());
  }
}

TYPED_TEST(ChannelContractTest, WaitEndsAtTheDeadline) {
  for (Channel* channel : {&this->client_, &this->server_}) {
    const MonotonicTime deadline = After(absl::Milliseconds(20));
    EXPECT_EQ(channel->WaitReadable(deadline).code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_GE(SystemClock::Get().Now(), deadline);
    EXPECT_EQ(channel->WaitReadable(MonotonicTime{}).code(), absl::StatusCode::kDeadlineExceeded);
  }
}

TYPED_TEST(ChannelContractTest, WaitReturnsAtOnceWhenAFrameIsThere) {
  ASSERT_TRUE(this->client_.Send({}, {}).ok());
  ASSERT_TRUE(this->server_.Send({}, {}).ok());
  EXPECT_TRUE(this->client_.WaitReadable(MonotonicTime{}).ok());
  EXPECT_TRUE(this->server_.WaitReadable(MonotonicTime{}).ok());
}

TYPED_TEST(ChannelContractTest, AFrameWakesASleeper) {
  for (auto [from, to] :
       {std::pair(&this->client_, &this->server_), std::pair(&this->server_, &this->client_)}) {
    std::thread sender([from = from] {
      absl::SleepFor(absl::Milliseconds(30));
      EXPECT_TRUE(from->Send({.request_id = 5}, {}).ok());
    });
    EXPECT_TRUE(ReceiveWithin(to, &this->frame_).ok());
    EXPECT_EQ(this->frame_.header.request_id, 5u);
    sender.join();
  }
}

TYPED_TEST(ChannelContractTest, FramesOfAPeerThatHasGoneAreReceivedFirst) {
  for (std::unique_ptr<Channel> ChannelPair::*survivor :
       {&ChannelPair::client, &ChannelPair::server}) {
    ChannelPair pair = TypeParam::Make({});
    Channel& left = *(pair.*survivor);
    auto& other = survivor == &ChannelPair::client ? pair.server : pair.client;
    ASSERT_TRUE(left.Send({}, {}).ok());  // Never read: that must not spoil the other direction.
    ASSERT_TRUE(other->Send({.request_id = 1}, {}).ok());
    ASSERT_TRUE(other->Send({.request_id = 2}, {}).ok());
    other.reset();
    for (uint64_t i = 1; i <= 2; ++i) {
      ASSERT_TRUE(left.WaitReadable(After(kPatience)).ok());
      ASSERT_TRUE(left.TryReceive(&this->frame_).value());
      EXPECT_EQ(this->frame_.header.request_id, i);
    }
    const absl::Status wait = left.WaitReadable(After(kPatience));
    const absl::Status receive = left.TryReceive(&this->frame_).status();
    EXPECT_TRUE(absl::IsUnavailable(receive)) << receive;
    EXPECT_TRUE(wait.ok() || absl::IsUnavailable(wait)) << wait;
    EXPECT_TRUE(absl::IsUnavailable(left.WaitReadable(After(kPatience))));
    EXPECT_TRUE(absl::IsUnavailable(left.Send({}, {})));
  }
}

TYPED_TEST(ChannelContractTest, AWaitNoticesThatThePeerGoes) {
  for (std::unique_ptr<Channel> ChannelPair::*survivor :
       {&ChannelPair::client, &ChannelPair::server}) {
    ChannelPair pair = TypeParam::Make({.spin_limit = absl::ZeroDuration()});
    auto& other = survivor == &ChannelPair::client ? pair.server : pair.client;
    std::thread leaver([&other] {
      absl::SleepFor(absl::Milliseconds(30));
      other.reset();
    });
    EXPECT_TRUE(absl::IsUnavailable(ReceiveWithin((pair.*survivor).get(), &this->frame_)));
    leaver.join();
  }
}

TYPED_TEST(ChannelContractTest, AnArmedChannelWakesAnEventLoop) {
  ASSERT_GE(this->server_.readable_fd(), 0);
  for (int round = 0; round < 3; ++round) {
    ASSERT_TRUE(this->server_.ArmWakeup());
    EXPECT_FALSE(PollsReadable(this->server_, absl::ZeroDuration()));
    ASSERT_TRUE(this->client_.Send({}, {}).ok());
    EXPECT_TRUE(PollsReadable(this->server_, kPatience));
    this->server_.DisarmWakeup();
    ASSERT_TRUE(this->server_.TryReceive(&this->frame_).value());
    EXPECT_FALSE(PollsReadable(this->server_, absl::ZeroDuration()));
  }
}

TYPED_TEST(ChannelContractTest, ArmingSeesWhatIsThereAlready) {
  ASSERT_TRUE(this->client_.Send({}, {}).ok());
  if (this->server_.ArmWakeup()) {
    EXPECT_TRUE(PollsReadable(this->server_, absl::ZeroDuration()));
  }
}

// Both ends sleep between any two frames: one lost wake-up and the test runs out of patience.
TYPED_TEST(ChannelContractTest, NoWakeUpIsLostInPingPong) {
  constexpr uint64_t kRounds = 10'000;
  std::thread echo([this] {
    Frame request;
    for (uint64_t i = 0; i < kRounds; ++i) {
      ASSERT_TRUE(ReceiveWithin(&this->server_, &request).ok());
      ASSERT_TRUE(
          this->server_.Send({.request_id = request.header.request_id}, request.payload).ok());
    }
  });
  for (uint64_t i = 0; i < kRounds; ++i) {
    if (!this->client_.Send({.request_id = i}, PatternPayload(i, 16)).ok()) ADD_FAILURE();
    if (!ReceiveWithin(&this->client_, &this->frame_).ok()) ADD_FAILURE() << "round " << i;
    if (this->frame_.header.request_id != i || testing::Test::HasFailure()) break;
  }
  EXPECT_EQ(this->frame_.header.request_id, kRounds - 1);
  echo.join();
}

// The daemon's way of sleeping, against a client that sends at random moments.
TYPED_TEST(ChannelContractTest, NoWakeUpIsLostInAnEventLoop) {
  constexpr uint64_t kFrames = 60'000;
  std::thread sender([this] {
    SeededRandom random(kSeed);
    for (uint64_t i = 0; i < kFrames; ++i) {
      ASSERT_TRUE(SendWithin(&this->client_, {.request_id = i}, {}).ok());
      // From nothing to a few microseconds, around the time that the loop takes to fall asleep.
      for (volatile uint64_t spin = random.Below(2000); spin > 0;) spin = spin - 1;
    }
  });
  uint64_t received = 0;
  uint64_t sleeps = 0;
  while (received < kFrames) {
    if (this->server_.TryReceive(&this->frame_).value()) {
      ASSERT_EQ(this->frame_.header.request_id, received++);
      continue;
    }
    if (!this->server_.ArmWakeup()) continue;
    ++sleeps;
    ASSERT_TRUE(PollsReadable(this->server_, kPatience)) << "asleep with frame " << received;
    this->server_.DisarmWakeup();
  }
  sender.join();
  EXPECT_GT(sleeps, 0u);
}

TYPED_TEST(ChannelContractTest, RandomFramesArriveUnchanged) {
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  constexpr uint64_t kFrames = 100'000;
  const auto frame_size = [](Random* random) -> size_t {
    if (random->Below(500) == 0) return random->Below(kFramePayloadBytesMax + 1);
    return random->Below(random->Below(2) == 0 ? 40 : 600);
  };
  std::thread sender([this, frame_size] {
    SeededRandom random(kSeed);
    for (uint64_t i = 0; i < kFrames; ++i) {
      const std::vector<uint8_t> payload = PatternPayload(i, frame_size(&random));
      ASSERT_TRUE(SendWithin(&this->client_, {.request_id = i}, payload).ok());
    }
  });
  SeededRandom random(kSeed);
  uint64_t wrong = 0;
  for (uint64_t i = 0; i < kFrames && wrong == 0; ++i) {
    ASSERT_TRUE(ReceiveWithin(&this->server_, &this->frame_).ok());
    if (this->frame_.header.request_id != i) ++wrong;
    if (this->frame_.payload != PatternPayload(i, frame_size(&random))) ++wrong;
  }
  sender.join();
  EXPECT_EQ(wrong, 0u);
}

}  // namespace
}  // namespace larder
