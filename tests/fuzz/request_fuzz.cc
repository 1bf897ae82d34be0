// Fuzz target of what two clients can ask of a daemon: operation frames with hostile payloads, and
// whatever they write into the arena, with a disk tier whose devices take their time. Besides
// memory safety it checks that every answer fits a frame and that nothing is left when both clients
// are gone and everything is cleared.
//
// An input is a list of actions: u16 action, u16 size, `size` bytes. Actions from 16 on are opcodes
// of the first client, those with the top bit set of the second one; the lowest are below.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "common/byte_order.h"
#include "tests/unit/daemon/request_handler_testing.h"
#include "tests/unit/storage/disk/simulated_devices.h"

namespace larder {
namespace {

constexpr uint64_t kGranules = 8;
// Of the disk: three small chunks a segment.
constexpr uint64_t kSegmentBytes = uint64_t{1} << 15;
constexpr uint32_t kSegments = 6;
constexpr int kRoundsMax = 1000;

enum Action : uint16_t {
  kScribble = 0,        // u32 offset, then the bytes that go there
  kWait = 1,            // u32 milliseconds; an even number: the disk does all that was ordered
  kWriteContainer = 2,  // u32 number of the granule at which a valid one goes
};
constexpr uint16_t kSecondClient = 0x8000;

void Require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "violated: %s\n", what);
  std::abort();
}

class Daemon {
 public:
  Daemon() {
    auto tier = std::make_unique<DiskTier>(DiskTierOptions{}, harness_.harness().now);
    tier_ = tier.get();
    tier_->AddDevice({.device = {1, 1}, .segment_bytes = kSegmentBytes, .segments = kSegments}, {});
    harness_.core().AttachDisk(std::move(tier));
  }

  void Do(uint16_t action, std::span<const uint8_t> bytes) {
    const uint32_t number = bytes.size() < 4 ? 0 : LoadLittleEndian<uint32_t>(bytes.data());
    if (action == kScribble) {
      Write(number % harness_.arena().size(), bytes.subspan(std::min<size_t>(4, bytes.size())));
    } else if (action == kWait) {
      harness_.harness().now.nanoseconds += int64_t{number} * 1'000'000;
      harness_.core().Tick(harness_.harness().now);
      if (number % 2 == 0) CarryOut();
      AnswerWaiting();
    } else if (action == kWriteContainer) {
      Write(number % kGranules * kTestGranuleBytes, chunk_.container);
    } else {
      const bool second = (action & kSecondClient) != 0;
      const TestReply reply =
          harness_.Send(sessions_[second], action & ~kSecondClient, {bytes.begin(), bytes.end()});
      Require(reply.payload.size() <= kFramePayloadBytesMax, "an answer fits a frame");
      Require(reply.status == absl::StatusCode::kOk || !reply.payload.empty(),
              "an error says what was wrong");
    }
  }

  void Finish() {
    CarryOut();
    AnswerWaiting();
    for (SessionId session : sessions_) {
      harness_.core().CloseSession(session);
      harness_.handler().ForgetSession(session);
    }
    harness_.harness().ClearAll();
    CarryOut();
    Require(!harness_.handler().has_waiting(), "nobody waits for ever");
    Require(devices_.misplaced() == 0, "the disk gives what was asked for");
    Require(tier_->Stats().chunks == 0, "nothing is left on disk");
    Require(harness_.harness().IsPristine(), "nothing is left");
  }

 private:
  // Until the devices have nothing more to do.
  void CarryOut() {
    for (int rounds = 0; rounds < kRoundsMax; ++rounds) {
      const std::vector<DiskResult> results = devices_.CarryOut(*tier_, random_);
      if (results.empty()) return;
      for (const DiskResult& result : results) {
        harness_.core().OnDiskResult(result, harness_.harness().now);
      }
    }
    Require(false, "the disk has an end of its work");
  }

  void AnswerWaiting() {
    harness_.handler().AnswerWaiting(
        harness_.harness().now, [](SessionId) { return true; },
        [](SessionId, const RequestHandler::Reply& reply) {
          Require(reply.payload.size() <= kFramePayloadBytesMax, "an answer fits a frame");
        });
  }

  void Write(size_t offset, std::span<const uint8_t> bytes) {
    const size_t size = std::min(bytes.size(), harness_.arena().size() - offset);
    std::copy_n(bytes.begin(), size, harness_.arena().begin() + static_cast<ptrdiff_t>(offset));
  }

  HandlerHarness harness_{kGranules};
  DiskTier* tier_ = nullptr;  // the core's
  SimulatedDevices devices_;
  SeededRandom random_{1};
  const SpaceDescription description_ = TestSpace();
  const SpaceHandle space_ = harness_.harness().Open(description_);
  const SessionId sessions_[2] = {harness_.harness().OpenSession(),
                                  harness_.harness().OpenSession()};
  const TestChunk chunk_ = MakeChunk(description_, 7, description_.manifest.WholePart());
};

}  // namespace
}  // namespace larder

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  larder::ByteReader reader({data, size});
  larder::Daemon daemon;
  while (true) {
    const auto action = reader.Read<uint16_t>();
    const auto bytes = reader.ReadBytes(reader.Read<uint16_t>());
    if (!reader.ok()) break;
    daemon.Do(action, bytes);
  }
  daemon.Finish();
  return 0;
}
