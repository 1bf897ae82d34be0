// Fuzz target of what two clients can ask of a daemon: operation frames with hostile payloads, and
// whatever they write into the arena. Besides memory safety it checks that every answer fits a
// frame and that nothing is left when both clients are gone and everything is cleared.
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

namespace larder {
namespace {

constexpr uint64_t kGranules = 8;

enum Action : uint16_t {
  kScribble = 0,        // u32 offset, then the bytes that go there
  kWait = 1,            // u32 milliseconds
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
  void Do(uint16_t action, std::span<const uint8_t> bytes) {
    const uint32_t number = bytes.size() < 4 ? 0 : LoadLittleEndian<uint32_t>(bytes.data());
    if (action == kScribble) {
      Write(number % harness_.arena().size(), bytes.subspan(std::min<size_t>(4, bytes.size())));
    } else if (action == kWait) {
      harness_.harness().now.nanoseconds += int64_t{number} * 1'000'000;
      harness_.core().Tick(harness_.harness().now);
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
    for (SessionId session : sessions_) harness_.core().CloseSession(session);
    harness_.harness().ClearAll();
    Require(harness_.harness().IsPristine(), "nothing is left");
  }

 private:
  void Write(size_t offset, std::span<const uint8_t> bytes) {
    const size_t size = std::min(bytes.size(), harness_.arena().size() - offset);
    std::copy_n(bytes.begin(), size, harness_.arena().begin() + static_cast<ptrdiff_t>(offset));
  }

  HandlerHarness harness_{kGranules};
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
