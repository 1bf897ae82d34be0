// A client in a process of its own, for tests that kill it: e2e_client MODE ARGUMENTS...
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/random.h"
#include "tests/e2e/known_chunks.h"
#include "tests/e2e/put_records.h"
#include "tests/e2e/raw_session.h"

namespace larder {
namespace {

constexpr absl::Duration kPutTimeout = absl::Milliseconds(200);
constexpr absl::Duration kPauseBetweenPuts = absl::Microseconds(500);
// A thread reads back one of its last so many chains after every few puts.
constexpr uint64_t kReadBackChains = 32;
constexpr uint64_t kPutsPerReadBack = 4;
constexpr int kThreadShift = 24;

void Say(const std::string& text) {
  std::printf("%s\n", text.c_str());
  std::fflush(stdout);
}

// What a put or a fetch may end with while its daemon is killed, stopped and full.
bool IsExpected(const absl::Status& status) {
  return status.ok() || absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsResourceExhausted(status) || absl::IsNotFound(status);
}

// Puts one chain after the other, for ever, and reads some of them back.
class Putter {
 public:
  Putter(ClientSpace space, const PutRecorder& recorder, uint64_t first_chain)
      : space_(std::move(space)),
        recorder_(recorder),
        first_chain_(first_chain),
        random_(first_chain),
        buffers_(kRecordedChainChunks, space_.manifest()) {}

  void Run() {
    for (uint64_t puts = 0;; ++puts) {
      Put(first_chain_ + puts);
      if (puts % kPutsPerReadBack == 0) {
        ReadBack(first_chain_ + puts - random_.Below(std::min(puts + 1, kReadBackChains)));
      }
      absl::SleepFor(kPauseBetweenPuts);
    }
  }

 private:
  void Put(uint64_t chain) {
    const auto keys = KnownKeys(chain, kRecordedChainChunks);
    buffers_.Fill(keys);
    recorder_.Append(chain, 0);
    PutOptions options;
    options.timeout = kPutTimeout;
    const PutResult put = space_.Put(keys, buffers_.sources(keys.size()), options);
    if (put.stored > 0) recorder_.Append(chain, put.stored);
    if (!IsExpected(put.status)) Say(absl::StrCat("TROUBLE: put: ", put.status.ToString()));
  }

  void ReadBack(uint64_t chain) {
    const auto keys = KnownKeys(chain, kRecordedChainChunks);
    buffers_.Spoil();
    FetchOptions options;
    options.timeout = kPutTimeout;
    const FetchResult fetch = space_.Fetch(keys, buffers_.destinations(keys.size()), options);
    if (!IsExpected(fetch.status)) Say(absl::StrCat("TROUBLE: fetch: ", fetch.status.ToString()));
    if (buffers_.CountRight(keys, fetch.chunks) != fetch.chunks) {
      Say(absl::StrCat("TROUBLE: wrong bytes in chain ", chain));
    }
  }

  ClientSpace space_;
  const PutRecorder& recorder_;
  const uint64_t first_chain_;
  SeededRandom random_;
  KnownBuffers buffers_;
};

// put SOCKET RECORDS FIRST_CHAIN THREADS
int PutForEver(const std::vector<std::string>& arguments) {
  uint64_t first_chain = 0;
  int thread_count = 0;
  if (arguments.size() != 4 || !absl::SimpleAtoi(arguments[2], &first_chain) ||
      !absl::SimpleAtoi(arguments[3], &thread_count)) {
    return 2;
  }
  auto client = Client::Connect({.socket_path = arguments[0], .name = "putter"});
  const PutRecorder recorder(arguments[1]);
  std::vector<std::thread> threads;
  for (int i = 0; i < thread_count; ++i) {
    threads.emplace_back([&, i] {
      Putter((*client)->Open(KnownManifest()).value(), recorder,
             first_chain + (static_cast<uint64_t>(i) << kThreadShift))
          .Run();
    });
  }
  for (std::thread& thread : threads) thread.join();
  return 0;
}

// hold SOCKET LEASED_CHAIN RESERVED_CHAIN: views the one, reserves and half writes the other; then
// sleeps until it is killed or, stopped and continued, until it has noticed what became of it.
int Hold(const std::vector<std::string>& arguments) {
  uint64_t leased_chain = 0, reserved_chain = 0;
  if (arguments.size() != 3 || !absl::SimpleAtoi(arguments[1], &leased_chain) ||
      !absl::SimpleAtoi(arguments[2], &reserved_chain)) {
    return 2;
  }
  auto client = Client::Connect({.socket_path = arguments[0], .name = "holder"});
  ClientSpace space = (*client)->Open(KnownManifest()).value();
  const auto leased = KnownKeys(leased_chain, kRecordedChainChunks);
  absl::StatusOr<ChunkView> view = space.View(leased);
  auto session = RawSession::Connect(arguments[0]);
  if (!view.ok() || view->chunks() != leased.size() || !session.ok()) return 3;
  const auto reserved = KnownKeys(reserved_chain, kRecordedChainChunks);
  if (!session->OpenSpace(KnownManifest()).ok()) return 3;
  const auto outcomes = session->Reserve(reserved);
  if (!outcomes.ok()) return 3;
  for (const ReserveOutcomeMessage& outcome : *outcomes) {
    if (outcome.reservation == 0) return 3;
    const auto extent = session->arena().subspan(outcome.offset, session->container_bytes());
    std::fill(extent.begin(), extent.begin() + extent.size() / 2, uint8_t{0x5A});
  }
  Say("holding");
  while (view->intact()) absl::SleepFor(absl::Milliseconds(5));
  Say("not intact");
  // Writes late, as a writer does that was stopped in the middle: nobody else may have the room.
  for (const ReserveOutcomeMessage& outcome : *outcomes) {
    const auto extent = session->arena().subspan(outcome.offset, session->container_bytes());
    std::fill(extent.begin(), extent.end(), uint8_t{0x5A});
  }
  while (space.Match(leased).chunks != leased.size()) absl::SleepFor(absl::Milliseconds(5));
  Say("works again");
  pause();
  return 0;
}

// own LARDERD: keeps a private daemon.
int Own(const std::vector<std::string>& arguments) {
  if (arguments.size() != 1) return 2;
  PrivateDaemonOptions options;
  options.larderd = arguments[0];
  const auto client = Client::StartPrivate(options);
  if (!client.ok()) {
    Say(client.status().ToString());
    return 3;
  }
  Say(absl::StrCat("private ", (*client)->socket_path(), " ready"));
  pause();
  return 0;
}

int Main(const std::vector<std::string>& arguments) {
  if (arguments.empty()) return 2;
  const std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
  if (arguments[0] == "put") return PutForEver(rest);
  if (arguments[0] == "hold") return Hold(rest);
  if (arguments[0] == "own") return Own(rest);
  return 2;
}

}  // namespace
}  // namespace larder

int main(int argc, char** argv) { return larder::Main({argv + 1, argv + argc}); }
