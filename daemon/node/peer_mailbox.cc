#include "daemon/node/peer_mailbox.h"

#include "daemon/cluster/peer_messages.h"

namespace larder {

std::vector<PeerEvent> PeerMailbox::TakeAll() {
  std::lock_guard lock(mutex_);
  pending_.store(false, std::memory_order_release);
  return std::exchange(events_, {});
}

void PeerMailbox::Add(PeerEvent event) {
  std::lock_guard lock(mutex_);
  if (event.kind == PeerEvent::Kind::kMessage && events_.size() >= kMessagesMax) {
    dropped_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  unannounced_ = unannounced_ || events_.empty();
  events_.push_back(std::move(event));
  pending_.store(true, std::memory_order_release);
}

void PeerMailbox::OnPause() {
  {
    std::lock_guard lock(mutex_);
    if (!std::exchange(unannounced_, false) || events_.empty()) return;
  }
  wake_();
}

void PeerMailbox::SetWindow(uint64_t window, const MemoryRange& room) {
  std::lock_guard lock(mutex_);
  windows_[window] = std::make_shared<ArrivalCheck>(arena_.subspan(room.offset, room.bytes));
}

void PeerMailbox::ForgetWindow(uint64_t window) {
  std::lock_guard lock(mutex_);
  windows_.erase(window);
}

void PeerMailbox::OnPeerUp(const std::string& node, uint64_t epoch) {
  PeerEvent event;
  event.kind = PeerEvent::Kind::kUp;
  event.node = node;
  event.epoch = epoch;
  Add(std::move(event));
}

void PeerMailbox::OnPeerDown(const std::string& node, uint64_t epoch, absl::string_view why) {
  PeerEvent event;
  event.kind = PeerEvent::Kind::kDown;
  event.node = node;
  event.epoch = epoch;
  event.why = std::string(why);
  Add(std::move(event));
}

void PeerMailbox::OnMessage(const std::string& node, uint64_t epoch, std::vector<uint8_t> payload,
                            uint64_t window) {
  PeerEvent event;
  event.node = node;
  event.epoch = epoch;
  event.number = window;
  if (window != 0) {
    const std::shared_ptr<ArrivalCheck> check = CheckOf(window);
    const absl::StatusOr<PeerFetched> fetched = ReadFetched(payload);
    // Of a message that names another window than the one it came after, nothing is believed.
    if (check != nullptr && fetched.ok() && fetched->window == window) {
      event.arrival = check->Finish(*fetched);
    }
  }
  event.payload = std::move(payload);
  Add(std::move(event));
}

std::shared_ptr<ArrivalCheck> PeerMailbox::CheckOf(uint64_t window) {
  std::lock_guard lock(mutex_);
  const auto found = windows_.find(window);
  return found == windows_.end() ? nullptr : found->second;
}

void PeerMailbox::OnLanded(uint64_t window, uint64_t offset, uint64_t bytes) {
  if (const auto check = CheckOf(window)) check->OnLanded(offset, bytes);
}

void PeerMailbox::OnWritten(uint64_t token, bool) {
  PeerEvent event;
  event.kind = PeerEvent::Kind::kWritten;
  event.number = token;
  Add(std::move(event));
}

void PeerMailbox::OnWindowClosed(uint64_t window) {
  ForgetWindow(window);
  PeerEvent event;
  event.kind = PeerEvent::Kind::kWindowClosed;
  event.number = window;
  Add(std::move(event));
}

}  // namespace larder
