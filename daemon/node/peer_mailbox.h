// What the peer transport has to say, on its way to the event loop.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "daemon/cluster/checked_arrival.h"
#include "transport/peer/peer_transport.h"

namespace larder {

struct PeerEvent {
  enum class Kind : uint8_t { kUp, kDown, kMessage, kWritten, kWindowClosed };
  Kind kind = Kind::kMessage;
  std::string node;
  uint64_t epoch = 0;
  uint64_t number = 0;  // of the window, or the write's token
  std::vector<uint8_t> payload;
  std::optional<CheckedArrival> arrival;  // of a message that came after a window's bytes
  std::string why;                        // kDown
};

// The transport's callbacks put events in, on its threads; the loop takes them. What has come into
// a window is checked on the way, on the transport's thread. Thread-safe.
class PeerMailbox : public PeerHandler {
 public:
  // Messages that wait; further ones are dropped and counted. Whoever sent them asks again, or
  // somebody else.
  static constexpr size_t kMessagesMax = 65536;

  // `wake` is called when the transport pauses, if there is something that it was not called for.
  PeerMailbox(std::span<const uint8_t> arena, std::function<void()> wake)
      : arena_(arena), wake_(std::move(wake)) {}

  bool pending() const { return pending_.load(std::memory_order_acquire); }
  std::vector<PeerEvent> TakeAll();
  uint64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

  // Where a window's bytes are, from its opening until it is closed: OnWindowClosed forgets it,
  // too.
  void SetWindow(uint64_t window, const MemoryRange& room);
  void ForgetWindow(uint64_t window);

  void OnPeerUp(const std::string& node, uint64_t epoch) override;
  void OnPeerDown(const std::string& node, uint64_t epoch, absl::string_view why) override;
  void OnMessage(const std::string& node, uint64_t epoch, std::vector<uint8_t> payload,
                 uint64_t window) override;
  void OnLanded(uint64_t window, uint64_t offset, uint64_t bytes) override;
  void OnWritten(uint64_t token, bool ok) override;
  void OnRead(uint64_t, bool) override {}  // This node reads nobody's memory.
  void OnWindowClosed(uint64_t window) override;
  void OnPause() override;

 private:
  void Add(PeerEvent event);
  std::shared_ptr<ArrivalCheck> CheckOf(uint64_t window);

  const std::span<const uint8_t> arena_;
  const std::function<void()> wake_;
  std::atomic<bool> pending_{false};
  std::atomic<uint64_t> dropped_{0};
  std::mutex mutex_;
  std::vector<PeerEvent> events_;
  bool unannounced_ = false;                                   // the loop may sleep
  std::map<uint64_t, std::shared_ptr<ArrivalCheck>> windows_;  // the checks: the transport's thread
};

}  // namespace larder
