// Nodes for tests of the peer transports: each with memory of its own and a handler that records.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"
#include "common/random.h"
#include "transport/peer/memory_network.h"

namespace larder {

inline constexpr uint64_t kNodeMemoryBytes = 16 << 20;
// Long enough for a loaded machine and a sanitizer; a test that waits so long has failed.
inline constexpr absl::Duration kPatience = absl::Seconds(20);

inline std::vector<uint8_t> Text(absl::string_view text) { return {text.begin(), text.end()}; }

inline MonotonicTime In(absl::Duration duration) { return SystemClock::Get().Now() + duration; }

// Records everything; a test may wait for a state of the record, or have the thread stopped.
class RecordingHandler final : public PeerHandler {
 public:
  struct Message {
    std::string node;
    uint64_t epoch = 0;
    std::vector<uint8_t> payload;
    uint64_t window = 0;
  };
  struct Record {
    std::map<std::string, uint64_t> up;  // node -> epoch
    std::vector<std::string> changes;    // "up b 2", "down b 2"
    std::vector<Message> messages;
    std::map<uint64_t, bool> written, read;  // token -> ok
    std::vector<uint64_t> closed;
  };

  void OnPeerUp(const std::string& node, uint64_t epoch) override {
    Change([&](Record& record) {
      EXPECT_FALSE(record.up.contains(node)) << node;
      record.up[node] = epoch;
      record.changes.push_back(absl::StrCat("up ", node, " ", epoch));
    });
  }
  void OnPeerDown(const std::string& node, uint64_t epoch, absl::string_view why) override {
    EXPECT_FALSE(why.empty());
    Change([&](Record& record) {
      EXPECT_EQ(record.up.erase(node), 1u) << node;
      record.changes.push_back(absl::StrCat("down ", node, " ", epoch));
    });
  }
  void OnMessage(const std::string& node, uint64_t epoch, std::vector<uint8_t> payload,
                 uint64_t window) override {
    if (echo) echo(node, payload);
    Change([&](Record& record) {
      record.messages.push_back({node, epoch, std::move(payload), window});
    });
  }
  void OnWritten(uint64_t token, bool ok) override {
    Change([&](Record& record) { EXPECT_TRUE(record.written.emplace(token, ok).second) << token; });
  }
  void OnRead(uint64_t token, bool ok) override {
    Change([&](Record& record) { EXPECT_TRUE(record.read.emplace(token, ok).second) << token; });
  }
  void OnWindowClosed(uint64_t window) override {
    Change([&](Record& record) { record.closed.push_back(window); });
  }

  // True when it holds before the patience ends.
  bool WaitFor(const std::function<bool(const Record&)>& condition,
               absl::Duration patience = kPatience) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoNanoseconds(patience),
                             [&] { return condition(record_); });
  }
  bool WaitUp(const std::string& node) {
    return WaitFor([&](const Record& record) { return record.up.contains(node); });
  }
  bool WaitDown(const std::string& node) {
    return WaitFor([&](const Record& record) { return !record.up.contains(node); });
  }
  bool WaitMessages(size_t count) {
    return WaitFor([&](const Record& record) { return record.messages.size() >= count; });
  }
  bool WaitClosed(uint64_t window) {
    return WaitFor([&](const Record& record) {
      return std::count(record.closed.begin(), record.closed.end(), window) == 1;
    });
  }
  // For the next life of the node: one that ends gets no OnPeerDown.
  void ForgetPeers() {
    std::lock_guard lock(mutex_);
    record_.up.clear();
  }
  Record record() {
    std::lock_guard lock(mutex_);
    return record_;
  }

  // The transport's thread stands still in its next callback until Release.
  void Stop() {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  void Release() {
    {
      std::lock_guard lock(mutex_);
      stopped_ = false;
    }
    changed_.notify_all();
  }

  // Called with each message before it is recorded. Set before the transport starts.
  std::function<void(const std::string&, const std::vector<uint8_t>&)> echo;

 private:
  template <typename Function>
  void Change(Function&& change) {
    std::unique_lock lock(mutex_);
    change(record_);
    changed_.notify_all();
    changed_.wait(lock, [&] { return !stopped_; });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  Record record_;
  bool stopped_ = false;
};

// Memory on a file, as an arena's, filled from a seed.
class NodeMemory {
 public:
  explicit NodeMemory(uint64_t seed, uint64_t bytes = kNodeMemoryBytes)
      : file_(memfd_create("node", MFD_CLOEXEC)) {
    EXPECT_EQ(ftruncate(file_.get(), static_cast<off_t>(bytes)), 0);
    mapping_ = MemoryMapping::MapShared(file_, bytes, true).value();
    SeededRandom random(seed);
    for (uint64_t at = 0; at + 8 <= bytes; at += 8) {
      const uint64_t word = random.Next();
      std::memcpy(mapping_.data() + at, &word, sizeof word);
    }
  }

  PeerMemory memory() const { return {mapping_.bytes(), file_.get()}; }
  std::vector<uint8_t> Copy(uint64_t offset, uint64_t bytes) const {
    return {mapping_.data() + offset, mapping_.data() + offset + bytes};
  }
  uint8_t* data() const { return mapping_.data(); }

 private:
  FileDescriptor file_;
  MemoryMapping mapping_;
};

struct TestNode {
  explicit TestNode(uint64_t seed) : memory(seed) {}

  // Closes the window; the handler hears of it in any case.
  absl::Status Close(uint64_t window) {
    const absl::StatusOr<WindowState> state = transport->CloseWindow(window);
    if (state.ok() && *state == WindowState::kClosed) handler.OnWindowClosed(window);
    return state.status();
  }

  NodeMemory memory;
  RecordingHandler handler;
  std::unique_ptr<PeerTransport> transport;  // last: ends first
};

inline PeerTransportOptions NodeOptions(const std::string& name, uint64_t epoch = 1) {
  PeerTransportOptions options;
  options.self = {"test", name, epoch};
  options.secret = "between us";
  options.listen = "127.0.0.1:0";
  options.keepalive_interval = absl::Milliseconds(100);
  options.reconnect_delay_min = absl::Milliseconds(10);
  options.reconnect_delay_max = absl::Milliseconds(100);
  return options;
}

}  // namespace larder
