// Two processes: each side notices the other's death, and the times that a round trip takes.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <functional>
#include <string>
#include <thread>

#include "absl/strings/str_format.h"
#include "tests/unit/transport/channel_pairs.h"
#include "tests/unit/transport/temporary_directory.h"
#include "transport/local/handshake.h"
#include "transport/local/socket.h"

namespace larder {
namespace {

// Owns a forked child and kills it at the end.
class Child {
 public:
  explicit Child(const std::function<void()>& body) : process_id_(fork()) {
    if (process_id_ == 0) {
      body();
      _exit(0);
    }
  }
  ~Child() { Kill(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void Kill() {
    if (process_id_ <= 0) return;
    kill(process_id_, SIGKILL);
    waitpid(process_id_, nullptr, 0);
    process_id_ = 0;
  }

 private:
  pid_t process_id_;
};

bool WaitFor(int fd, short events) {
  pollfd event = {fd, events, 0};
  return poll(&event, 1, static_cast<int>(absl::ToInt64Milliseconds(kPatience))) == 1;
}

ServerSession AcceptOne(const UnixListener& listener, const ChannelOptions& options) {
  WaitFor(listener.fd(), POLLIN);
  FileDescriptor socket = std::move(listener.Accept().value()->socket);
  WaitFor(socket.get(), POLLIN);
  const Hello hello = ReceiveHello(socket).value().value();
  Welcome offer;
  offer.request_ring_bytes = offer.reply_ring_bytes = kRingBytesDefault;
  const FileDescriptor arena(memfd_create("arena", MFD_CLOEXEC));
  return AcceptHello(std::move(socket), hello, offer, arena, options).value();
}

// Echoes until the client is gone.
void Serve(const UnixListener& listener, const ChannelOptions& options) {
  const ServerSession session = AcceptOne(listener, options);
  Frame frame;
  while (ReceiveWithin(session.channel.get(), &frame).ok()) {
    session.channel->Send({.request_id = frame.header.request_id}, frame.payload).IgnoreError();
  }
}

class ProcessTest : public testing::TestWithParam<bool> {
 protected:
  std::string Path() const { return directory_.path() + "/larder.sock"; }
  ClientHandshake Connect(const ChannelOptions& options) const {
    return ConnectLocal(Path(), {.wants_rings = GetParam(), .channel = options}, After(kPatience))
        .value();
  }

  TemporaryDirectory directory_;
  UnixListener listener_ = UnixListener::Listen({.path = Path()}).value();
};

INSTANTIATE_TEST_SUITE_P(Transports, ProcessTest, testing::Bool(),
                         [](const auto& instance) { return instance.param ? "Rings" : "Socket"; });

TEST_P(ProcessTest, AClientAsleepNoticesThatTheDaemonIsKilled) {
  Child daemon([this] {
    const ServerSession session = AcceptOne(listener_, {});
    pause();
  });
  const ClientHandshake client = Connect({});
  MonotonicTime killed;
  std::thread killer([&] {
    absl::SleepFor(absl::Milliseconds(250));  // The client has slept through more than one slice.
    killed = SystemClock::Get().Now();
    daemon.Kill();
  });
  const absl::Status status = client.channel->WaitReadable(After(kPatience));
  const MonotonicTime noticed = SystemClock::Get().Now();
  killer.join();
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  absl::PrintF("the daemon's death was noticed after %s\n", absl::FormatDuration(noticed - killed));
  EXPECT_TRUE(absl::IsUnavailable(client.channel->Send({}, {})));
}

TEST_P(ProcessTest, AnEventLoopNoticesThatAClientIsKilled) {
  auto client = std::make_unique<Child>([this] {
    const ClientHandshake handshake = Connect({});
    handshake.channel->Send({.request_id = 8}, {}).IgnoreError();
    pause();
  });
  const ServerSession session = AcceptOne(listener_, {});
  Frame frame;
  ASSERT_TRUE(ReceiveWithin(session.channel.get(), &frame).ok());
  client->Kill();
  const int fd = GetParam() ? session.channel->hangup_fd() : session.channel->readable_fd();
  EXPECT_TRUE(WaitFor(fd, POLLRDHUP));
  EXPECT_TRUE(absl::IsUnavailable(session.channel->WaitReadable(After(kPatience))));
  EXPECT_TRUE(absl::IsUnavailable(session.channel->TryReceive(&frame).status()));
}

TEST_P(ProcessTest, AClientWithAFullRingNoticesThatTheDaemonIsKilled) {
  Child daemon([this] {
    const ServerSession session = AcceptOne(listener_, {});
    pause();
  });
  const ClientHandshake client = Connect({});
  absl::Status status;
  while (status.ok()) status = client.channel->Send({}, PatternPayload(1, 5000));
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
  daemon.Kill();
  EXPECT_TRUE(absl::IsUnavailable(client.channel->Send({}, PatternPayload(1, 5000))));
}

// The median and the 99th percentile of up to `rounds` echoes of a request with 48 bytes of
// payload. Ends early on a machine with more to do than cores, where polling waits for time slices.
void PrintRoundTrip(Channel* channel, absl::string_view what, int rounds, absl::Duration pause) {
  std::vector<absl::Duration> times;
  Frame frame;
  const std::vector<uint8_t> payload = PatternPayload(1, 48);
  const MonotonicTime end = After(absl::Seconds(2));
  for (int i = 0; i == 0 || (i < rounds && SystemClock::Get().Now() < end); ++i) {
    if (pause > absl::ZeroDuration()) absl::SleepFor(pause);
    const MonotonicTime start = SystemClock::Get().Now();
    ASSERT_TRUE(channel->Send({.request_id = static_cast<uint64_t>(i)}, payload).ok());
    ASSERT_TRUE(ReceiveWithin(channel, &frame).ok());
    times.push_back(SystemClock::Get().Now() - start);
    ASSERT_EQ(frame.header.request_id, static_cast<uint64_t>(i));
    ASSERT_EQ(frame.payload, payload);
  }
  std::sort(times.begin(), times.end());
  absl::PrintF("%s round trip: p50 %s, p99 %s\n", what,
               absl::FormatDuration(times[times.size() / 2]),
               absl::FormatDuration(times[times.size() * 99 / 100]));
}

TEST_P(ProcessTest, RoundTripWhilePolling) {
  // Polls for as long as allowed: on a busy machine a sleep would be measured otherwise.
  const ChannelOptions options = {.spin_limit = absl::Milliseconds(10)};
  Child daemon([&] { Serve(listener_, options); });
  const ClientHandshake client = Connect(options);
  PrintRoundTrip(client.channel.get(), GetParam() ? "polled ring" : "polled socket", 20'000,
                 absl::ZeroDuration());
}

TEST_P(ProcessTest, RoundTripFromIdle) {
  const ChannelOptions options = {.spin_limit = absl::ZeroDuration()};
  Child daemon([&] { Serve(listener_, options); });
  const ClientHandshake client = Connect(options);
  PrintRoundTrip(client.channel.get(), GetParam() ? "idle ring" : "idle socket", 500,
                 absl::Milliseconds(1));
}

}  // namespace
}  // namespace larder
