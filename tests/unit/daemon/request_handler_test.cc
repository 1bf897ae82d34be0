#include "daemon/session/request_handler.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "common/byte_order.h"
#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/daemon/request_handler_testing.h"

namespace larder {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Code = absl::StatusCode;
using Kind = ReserveOutcome::Kind;

class RequestHandlerTest : public testing::Test {
 protected:
  TestReply Send(Opcode opcode, const Bytes& payload) {
    return harness_.Send(session_, opcode, payload);
  }

  ReserveOutcomeMessage ReserveOne(const ReserveItem& item) {
    const TestReply reply = Send(Opcode::kReserve, ReservePayload(space_, {item}));
    EXPECT_EQ(reply.status, Code::kOk) << reply.text();
    return reply.Read<ReserveOutcomeMessage>();
  }

  // Reserves for `item`, writes `container` there and commits.
  Code Put(const ReserveItem& item, const Bytes& container) {
    const ReserveOutcomeMessage outcome = ReserveOne(item);
    EXPECT_EQ(outcome.kind, static_cast<uint32_t>(Kind::kGranted));
    std::copy(container.begin(), container.end(), harness_.arena().begin() + outcome.offset);
    const TestReply reply = Send(Opcode::kCommit, IdsPayload({outcome.reservation}));
    EXPECT_EQ(reply.status, Code::kOk) << reply.text();
    return static_cast<Code>(reply.Read<uint32_t>());
  }

  uint32_t MatchOne(const KeyHash& key) {
    return Send(Opcode::kMatch, KeysPayload(space_, {key})).Read<MatchReply>().chunks;
  }

  // A well-formed payload of every opcode, by opcode.
  std::vector<std::pair<Opcode, Bytes>> ValidRequests() {
    const std::vector<KeyHash> keys = {chunk_.item.key, Key(2)};
    return {{Opcode::kOpenSpace, OpenSpacePayload(description_)},
            {Opcode::kMatch, KeysPayload(space_, keys, {}, kMatchTouches)},
            {Opcode::kAcquire, KeysPayload(space_, keys, whole_)},
            {Opcode::kRelease, MakePayload(ReleaseRequest{.lease = 3})},
            {Opcode::kReserve, ReservePayload(space_, {chunk_.item}, kReservePins)},
            {Opcode::kCommit, IdsPayload({3, 4})},
            {Opcode::kAbort, IdsPayload({3, 4})},
            {Opcode::kTouch, KeysPayload(space_, keys)},
            {Opcode::kPin, KeysPayload(space_, keys)},
            {Opcode::kUnpin, KeysPayload(space_, keys)},
            {Opcode::kRemove, KeysPayload(space_, keys)},
            {Opcode::kStats, {}},
            {Opcode::kReportCorrupt, KeysPayload(space_, keys)}};
  }

  void ExpectNothingLeaked() {
    harness_.core().CloseSession(session_);
    harness_.harness().ClearAll();
    EXPECT_TRUE(harness_.harness().IsPristine());
  }

  HandlerHarness harness_;
  SpaceDescription description_ = TestSpace();
  SpaceHandle space_ = harness_.harness().Open(description_);
  SessionId session_ = harness_.harness().OpenSession();
  Part whole_ = description_.manifest.WholePart();
  TestChunk chunk_ = MakeChunk(description_, 7, whole_);
};

TEST_F(RequestHandlerTest, AChunkIsPutReadAndRemoved) {
  EXPECT_EQ(Send(Opcode::kOpenSpace, OpenSpacePayload(description_)).Read<OpenSpaceReply>().space,
            space_);
  ASSERT_EQ(Put(chunk_.item, chunk_.container), Code::kOk);
  const std::vector<KeyHash> keys = {chunk_.item.key, Key(1)};
  const TestReply matched = Send(Opcode::kMatch, KeysPayload(space_, keys, {}, kMatchTouches));
  EXPECT_EQ(matched.Read<MatchReply>().chunks, 1u);
  EXPECT_EQ(matched.Read<MatchReply>().tokens, 4u);

  const TestReply acquired = Send(Opcode::kAcquire, KeysPayload(space_, keys, whole_));
  const auto header = acquired.Read<AcquireReply>();
  ASSERT_EQ(header.chunk_count, 1u);
  ASSERT_EQ(header.extent_count, 1u);
  ASSERT_EQ(acquired.payload.size(),
            sizeof(AcquireReply) + sizeof(LeasedChunkMessage) + sizeof(ExtentMessage));
  const auto extent =
      acquired.Read<ExtentMessage>(sizeof(AcquireReply) + sizeof(LeasedChunkMessage));
  const auto begin = harness_.arena().begin() + static_cast<ptrdiff_t>(extent.offset);
  EXPECT_EQ(Bytes(begin, begin + static_cast<ptrdiff_t>(extent.bytes)), chunk_.container);
  EXPECT_FALSE(Send(Opcode::kRelease, MakePayload(ReleaseRequest{.lease = header.lease})).wanted);
  EXPECT_EQ(harness_.core().Stats().leases, 0u);

  for (Opcode opcode : {Opcode::kTouch, Opcode::kPin, Opcode::kUnpin, Opcode::kRemove}) {
    EXPECT_EQ(Send(opcode, KeysPayload(space_, keys)).Read<CountReply>().count, 1u);
  }
  EXPECT_EQ(MatchOne(chunk_.item.key), 0u);
  EXPECT_FALSE(Send(Opcode::kReportCorrupt, KeysPayload(space_, keys)).wanted);
  EXPECT_THAT(harness_.reported(), ElementsAre(keys[0], keys[1]));
  const auto stats = Send(Opcode::kStats, {}).Read<StatsReply>();
  EXPECT_EQ(stats.sessions, 1u);
  EXPECT_EQ(stats.used_bytes, 0u);
  ExpectNothingLeaked();
}

TEST_F(RequestHandlerTest, EveryTruncatedRequestIsRefused) {
  for (const auto& [opcode, whole] : ValidRequests()) {
    SCOPED_TRACE(static_cast<int>(opcode));
    for (size_t size = 0; size < whole.size(); ++size) {
      const TestReply reply = Send(opcode, {whole.begin(), whole.begin() + size});
      EXPECT_EQ(reply.status, Code::kInvalidArgument) << size << " bytes";
      EXPECT_THAT(reply.text(), HasSubstr("shorter than its counts say")) << size << " bytes";
    }
    Bytes longer = whole;
    longer.push_back(0);
    EXPECT_THAT(Send(opcode, longer).text(), HasSubstr("1 bytes too many"));
  }
  ExpectNothingLeaked();
}

TEST_F(RequestHandlerTest, CountsBeyondTheirLimitsAreRefused) {
  const auto expect_refused = [this](Opcode opcode, const Bytes& payload) {
    const TestReply reply = Send(opcode, payload);
    EXPECT_EQ(reply.status, Code::kInvalidArgument) << static_cast<int>(opcode);
    EXPECT_THAT(reply.text(), HasSubstr("a count is over its limit"));
  };
  const std::vector<KeyHash> keys(kMessageKeysMax + 1, Key(1));
  for (Opcode opcode : {Opcode::kMatch, Opcode::kTouch, Opcode::kPin, Opcode::kReportCorrupt}) {
    expect_refused(opcode, KeysPayload(space_, keys));
  }
  expect_refused(Opcode::kAcquire, KeysPayload(space_, keys, whole_));
  const std::vector<ReserveItem> items(kMessageItemsMax + 1, chunk_.item);
  expect_refused(Opcode::kReserve, ReservePayload(space_, items));
  expect_refused(Opcode::kCommit, IdsPayload(std::vector<uint64_t>(kMessageKeysMax + 1)));
  for (uint32_t count : {3u, 0x10000000u, 0xffffffffu}) {
    Bytes keys_payload = KeysPayload(space_, {Key(1), Key(2)});
    StoreLittleEndian(&keys_payload[4], count);
    expect_refused(Opcode::kMatch, keys_payload);
    Bytes reserve_payload = ReservePayload(space_, {chunk_.item});
    StoreLittleEndian(&reserve_payload[4], count);
    expect_refused(Opcode::kReserve, reserve_payload);
    Bytes ids_payload = IdsPayload({1, 2});
    StoreLittleEndian(&ids_payload[0], count);
    expect_refused(Opcode::kCommit, ids_payload);
  }
  ExpectNothingLeaked();
}

TEST_F(RequestHandlerTest, ReservedFieldsAndUnknownFlagsAreRefused) {
  const struct {
    Opcode opcode;
    size_t offset;
  } kCases[] = {
      {Opcode::kOpenSpace, 12}, {Opcode::kMatch, 8},          {Opcode::kTouch, 12},
      {Opcode::kMatch, 16},     {Opcode::kAcquire, 8},        {Opcode::kTouch, 8},
      {Opcode::kRemove, 16},    {Opcode::kReportCorrupt, 12}, {Opcode::kReserve, 8},
      {Opcode::kReserve, 12},   {Opcode::kReserve, 32 + 52},  {Opcode::kCommit, 4},
      {Opcode::kAbort, 4},
  };
  for (const auto& [opcode, offset] : kCases) {
    for (auto& [valid_opcode, payload] : ValidRequests()) {
      if (valid_opcode != opcode) continue;
      payload[offset] |= 0x80;
      const TestReply reply = Send(opcode, payload);
      EXPECT_EQ(reply.status, Code::kInvalidArgument) << static_cast<int>(opcode);
      EXPECT_THAT(reply.text(), HasSubstr("reserved field or an unknown flag")) << offset;
    }
  }
  const TestReply reply = harness_.Send(session_, static_cast<uint16_t>(Opcode::kStats), {}, 3);
  EXPECT_EQ(reply.status, Code::kInvalidArgument);
  ExpectNothingLeaked();
}

TEST_F(RequestHandlerTest, UnknownOpcodesAreUnimplemented) {
  for (uint16_t opcode : {uint16_t{0}, kOpcodeHello, uint16_t{15}, uint16_t{31}, uint16_t{65535}}) {
    const TestReply reply = harness_.Send(session_, opcode, {});
    EXPECT_TRUE(reply.wanted);
    EXPECT_EQ(reply.status, Code::kUnimplemented);
    EXPECT_THAT(reply.text(), HasSubstr(std::to_string(opcode)));
  }
}

TEST_F(RequestHandlerTest, OpenSpaceWantsTheSameMeaningOnBothSides) {
  Bytes payload = OpenSpacePayload(description_);
  payload[16] ^= 1;  // the id that the client computed
  TestReply reply = Send(Opcode::kOpenSpace, payload);
  EXPECT_EQ(reply.status, Code::kFailedPrecondition);
  EXPECT_THAT(reply.text(), HasSubstr("disagree on what the manifest means"));

  SpaceDescription other = TestSpace("test/model", 6);
  reply = Send(Opcode::kOpenSpace, OpenSpacePayload(other));
  ASSERT_EQ(reply.status, Code::kOk);
  EXPECT_THAT(reply.text().substr(sizeof(OpenSpaceReply)), HasSubstr("layers"));

  other.manifest.codec = ContainerCodec::kLarder;
  other.manifest.levels = 2;
  reply = Send(Opcode::kOpenSpace, OpenSpacePayload(other));
  ASSERT_EQ(reply.status, Code::kOk);
  EXPECT_THAT(reply.text().substr(sizeof(OpenSpaceReply)), HasSubstr("codec: raw and larder"));
  other.manifest.levels = 9;
  reply = Send(Opcode::kOpenSpace, OpenSpacePayload(other));
  EXPECT_EQ(reply.status, Code::kInvalidArgument);
  EXPECT_THAT(reply.text(), HasSubstr("levels is 9"));

  other.manifest.layers = 0;
  reply = Send(Opcode::kOpenSpace, OpenSpacePayload(other));
  EXPECT_EQ(reply.status, Code::kInvalidArgument);
  EXPECT_THAT(reply.text(), HasSubstr("layers"));

  other = description_;
  other.tenant.assign(kTenantBytesMax + 1, 't');
  EXPECT_EQ(Send(Opcode::kOpenSpace, OpenSpacePayload(other)).status, Code::kInvalidArgument);
}

TEST_F(RequestHandlerTest, EveryBitOfAContainersMetadataCounts) {
  const size_t metadata_bytes =
      sizeof(ContainerHeader) + description_.manifest.layers * 2 * sizeof(ContainerTocEntry);
  ASSERT_LT(metadata_bytes, chunk_.container.size());
  for (size_t bit = 0; bit < metadata_bytes * 8; ++bit) {
    Bytes damaged = chunk_.container;
    damaged[bit / 8] ^= static_cast<uint8_t>(1u << bit % 8);
    ASSERT_EQ(Put(chunk_.item, damaged), Code::kDataLoss) << "bit " << bit;
    ASSERT_EQ(MatchOne(chunk_.item.key), 0u) << "bit " << bit;
    ASSERT_EQ(harness_.core().Stats().used_bytes, 0u) << "bit " << bit;
  }
  EXPECT_EQ(Put(chunk_.item, chunk_.container), Code::kOk);
  ExpectNothingLeaked();
}

TEST_F(RequestHandlerTest, AContainerOfSomethingElseIsNotCommitted) {
  const SpaceDescription other_model = TestSpace("test/other");
  SpaceDescription other_tenant = description_;
  other_tenant.tenant = "someone else";
  const Part upper{0, 2, 0, 2}, lower{2, 4, 0, 2};
  const TestChunk half = MakeChunk(description_, 7, upper);
  ChunkIdentity stray = MakeChunk(other_model, 7, whole_).identity;
  stray.space = chunk_.identity.space;
  const struct {
    ReserveItem item;
    Bytes container;
    const char* message;
  } kCases[] = {
      {chunk_.item, MakeChunk(description_, 8, whole_).container, "key is not the one"},
      {chunk_.item, WriteContainer(other_model.manifest, stray), "manifest"},
      {chunk_.item, MakeChunk(other_model, 7, whole_).container, "space"},
      {chunk_.item, MakeChunk(other_tenant, 7, whole_).container, "space"},
      {chunk_.item, MakeChunk(description_, 7, whole_, Key(1)).container, "parent or depth"},
      {chunk_.item, MakeChunk(description_, 7, whole_, {}, 1).container, "parent or depth"},
      {half.item, MakeChunk(description_, 7, lower).container, "part"},
      {chunk_.item, Bytes(chunk_.container.size()), "magic"},
      {chunk_.item, half.container, "total_bytes"},
  };
  for (const auto& [item, container, message] : kCases) {
    SCOPED_TRACE(message);
    const ReserveOutcomeMessage outcome = ReserveOne(item);
    std::copy(container.begin(), container.end(), harness_.arena().begin() + outcome.offset);
    const ReservationId id{outcome.reservation};
    const absl::Status why = CheckReservedContainer(
        harness_.core(), *harness_.core().FindReservation(session_, id), harness_.arena());
    EXPECT_THAT(why.message(), HasSubstr(message));
    const TestReply reply = Send(Opcode::kCommit, IdsPayload({id.value}));
    EXPECT_EQ(reply.Read<uint32_t>(), static_cast<uint32_t>(Code::kDataLoss));
    EXPECT_EQ(MatchOne(item.key), 0u);
    EXPECT_EQ(harness_.core().Stats().used_bytes, 0u);
  }
  ExpectNothingLeaked();
}

TEST_F(RequestHandlerTest, ACommitTellsTheFateOfEachReservation) {
  const TestChunk other = MakeChunk(description_, 9, whole_);
  const uint64_t sound = ReserveOne(chunk_.item).reservation;
  const ReserveOutcomeMessage damaged = ReserveOne(other.item);
  const Reservation* reservation = harness_.core().FindReservation(session_, ReservationId{sound});
  std::copy(chunk_.container.begin(), chunk_.container.end(),
            harness_.arena().begin() + static_cast<ptrdiff_t>(reservation->offset));
  const TestReply reply =
      Send(Opcode::kCommit, IdsPayload({999, damaged.reservation, sound, sound}));
  ASSERT_EQ(reply.payload.size(), 4 * sizeof(uint32_t));
  const Code expected[] = {Code::kNotFound, Code::kDataLoss, Code::kOk, Code::kNotFound};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(reply.Read<uint32_t>(i * sizeof(uint32_t)), static_cast<uint32_t>(expected[i]));
  }
  ExpectNothingLeaked();
}

TEST_F(RequestHandlerTest, AnswersThatFitNoFrameHoldNoLease) {
  for (uint16_t layer = 0; layer < 4; ++layer) {
    const TestChunk part =
        MakeChunk(description_, 7, {layer, static_cast<uint16_t>(layer + 1), 0, 2});
    ASSERT_EQ(Put(part.item, part.container), Code::kOk);
  }
  const std::vector<KeyHash> keys(kMessageKeysMax, chunk_.item.key);
  const TestReply reply = Send(Opcode::kAcquire, KeysPayload(space_, keys, whole_));
  EXPECT_EQ(reply.status, Code::kResourceExhausted);
  EXPECT_THAT(reply.text(), HasSubstr("fewer chunks at a time"));
  EXPECT_EQ(harness_.core().Stats().leases, 0u);
  EXPECT_EQ(Send(Opcode::kAcquire, KeysPayload(space_, keys, {0, 1, 0, 1})).status, Code::kOk);
  ExpectNothingLeaked();
}

// One client's random behaviour: requests that are sound, slightly wrong or noise, with handles
// that the daemon gave out and others that it did not.
class RandomClient {
 public:
  RandomClient(SessionId session, HandlerHarness* harness, Random* random)
      : session_(session), harness_(harness), random_(random) {}

  void SendOne(Opcode opcode, Bytes payload, const Bytes& container) {
    if (opcode == Opcode::kCommit || opcode == Opcode::kAbort) {
      payload = IdsPayload({AnyHandle(), AnyHandle()});
    } else if (opcode == Opcode::kRelease) {
      payload = MakePayload(ReleaseRequest{.lease = AnyHandle()});
    }
    for (uint64_t changes = random_->Below(3); changes > 0 && !payload.empty(); --changes) {
      const size_t at = random_->Below(payload.size());
      if (random_->Below(8) == 0) payload.resize(at);
      if (at < payload.size()) payload[at] = static_cast<uint8_t>(random_->Below(6));
    }
    if (random_->Below(10) == 0) {
      payload.resize(random_->Below(200));
      for (uint8_t& byte : payload) byte = static_cast<uint8_t>(random_->Next());
    }
    const TestReply reply = harness_->Send(session_, opcode, payload);
    EXPECT_LE(reply.payload.size(), kFramePayloadBytesMax);
    EXPECT_TRUE(reply.status == Code::kOk || !reply.payload.empty()) << "an error without text";
    if (reply.status == Code::kOk) Remember(opcode, reply, container);
  }

 private:
  void Remember(Opcode opcode, const TestReply& reply, const Bytes& container) {
    if (opcode == Opcode::kAcquire) handles_.push_back(reply.Read<AcquireReply>().lease);
    if (opcode != Opcode::kReserve || reply.payload.empty()) return;
    const auto outcome = reply.Read<ReserveOutcomeMessage>();
    handles_.push_back(outcome.reservation);
    if (outcome.kind == static_cast<uint32_t>(Kind::kGranted) && random_->Below(3) > 0) {
      std::copy(container.begin(), container.end(),
                harness_->arena().begin() + static_cast<ptrdiff_t>(outcome.offset));
    }
  }

  uint64_t AnyHandle() {
    if (handles_.empty() || random_->Below(4) == 0) return random_->Below(100);
    const size_t recent = random_->Below(2) == 0 ? 4 : handles_.size();
    return handles_[handles_.size() - 1 - random_->Below(std::min(handles_.size(), recent))];
  }

  const SessionId session_;
  HandlerHarness* const harness_;
  Random* const random_;
  std::vector<uint64_t> handles_;
};

// Others that have to be asked where chunks are, and answer when the test says so.
class SlowElsewhere : public Elsewhere {
 public:
  size_t CountHeld(uint32_t, std::span<const KeyHash> keys, MonotonicTime) override {
    return known && held ? keys.size() : 0;
  }
  std::optional<PlaceElsewhere> Find(uint32_t, const KeyHash&, MonotonicTime) override {
    return std::nullopt;
  }
  bool Fetch(uint32_t, const KeyHash&, MonotonicTime) override { return false; }
  bool fetching() const override { return !known; }
  bool IsLocating(uint32_t, const KeyHash&) const override { return !known; }

  bool known = false;
  bool held = true;
};

class WaitingMatchTest : public RequestHandlerTest {
 protected:
  WaitingMatchTest() { harness_.core().SetElsewhere(&others_); }
  ~WaitingMatchTest() override { harness_.core().SetElsewhere(nullptr); }

  bool Match(uint32_t flags = 0) {
    return Send(Opcode::kMatch, KeysPayload(space_, {chunk_.item.key}, {}, flags)).wanted;
  }
  // How many chunks each request that is answered now is told of.
  std::vector<uint32_t> Answers(bool can_answer = true) {
    std::vector<uint32_t> chunks;
    harness_.handler().AnswerWaiting(
        harness_.harness().now, [&](SessionId) { return can_answer; },
        [&](SessionId session, const RequestHandler::Reply& reply) {
          EXPECT_EQ(session, session_);
          EXPECT_TRUE(reply.wanted);
          EXPECT_EQ(reply.label.opcode, static_cast<uint16_t>(Opcode::kMatch));
          EXPECT_EQ(reply.label.request_id, 77u);
          MessageReader reader(reply.payload);
          chunks.push_back(reader.Read<MatchReply>().chunks);
        });
    return chunks;
  }

  SlowElsewhere others_;
};

TEST_F(WaitingMatchTest, IsAnsweredWhenItIsKnownWhereChunksAre) {
  EXPECT_FALSE(Match());
  EXPECT_THAT(Answers(), ElementsAre());
  others_.known = true;
  EXPECT_THAT(Answers(/*can_answer=*/false), ElementsAre());
  EXPECT_THAT(Answers(), ElementsAre(1));
  EXPECT_FALSE(harness_.handler().has_waiting());
  // It counts as one lookup.
  EXPECT_EQ(harness_.core().FindSpace(space_)->stats.lookups, 1u);
  EXPECT_TRUE(Match());
}

TEST_F(WaitingMatchTest, IsAnsweredWithoutThemWhenTimeIsOver) {
  EXPECT_FALSE(Match());
  ASSERT_TRUE(harness_.handler().next_deadline().has_value());
  harness_.harness().now = *harness_.handler().next_deadline();
  EXPECT_THAT(Answers(), ElementsAre(0));
  EXPECT_FALSE(harness_.handler().has_waiting());
}

TEST_F(WaitingMatchTest, DoesNotWaitForWhatItDoesNotWant) {
  EXPECT_TRUE(Match(kMatchLocalOnly));
  ASSERT_EQ(Put(chunk_.item, chunk_.container), Code::kOk);
  EXPECT_TRUE(Match());
}

TEST_F(WaitingMatchTest, EndsWithItsSession) {
  EXPECT_FALSE(Match());
  harness_.handler().ForgetSession(session_);
  EXPECT_FALSE(harness_.handler().has_waiting());
}

TEST_F(RequestHandlerTest, RandomRequestsLeaveNothingBehind) {
  uint64_t stored = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    SeededRandom random(seed);
    HandlerHarness harness(8);
    const SpaceHandle space = harness.harness().Open(description_);
    const SessionId sessions[] = {harness.harness().OpenSession(), harness.harness().OpenSession()};
    RandomClient clients[] = {{sessions[0], &harness, &random}, {sessions[1], &harness, &random}};
    const std::vector<std::pair<Opcode, Bytes>> requests = ValidRequests();
    for (int i = 0; i < 1000; ++i) {
      const auto& [opcode, payload] = requests[random.Below(requests.size())];
      clients[random.Below(2)].SendOne(opcode, payload, chunk_.container);
      harness.harness().now.nanoseconds += static_cast<int64_t>(random.Below(1'000'000'000));
      if (random.Below(20) == 0) harness.core().Tick(harness.harness().now);
    }
    stored += harness.core().FindSpace(space)->stats.stored_chunks;
    for (SessionId session : sessions) harness.core().CloseSession(session);
    harness.harness().ClearAll();
    EXPECT_TRUE(harness.harness().IsPristine());
  }
  EXPECT_GT(stored, 200u);  // else the clients were too clumsy for the test to mean much
}

}  // namespace
}  // namespace larder
