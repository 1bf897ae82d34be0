#include "transport/peer/memory_network.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "transport/peer/memory_state.h"

namespace larder {
namespace {

MonotonicTime Now() { return SystemClock::Get().Now(); }

class MemoryTransport final : public PeerTransport {
 public:
  MemoryTransport(std::shared_ptr<MemoryNetworkState> network, std::shared_ptr<MemoryMember> member)
      : network_(std::move(network)), member_(std::move(member)), thread_([this] { Run(); }) {}

  ~MemoryTransport() override {
    {
      std::lock_guard lock(network_->mutex);
      for (auto& [node, peer] : network_->members) {
        if (network_->FindSession(*peer, self(), SessionIdOf(node)) != nullptr) {
          network_->EndOneSide(peer, self(), "closed by the peer");
        }
      }
      if (network_->IsCurrent(*member_)) network_->members.erase(self());
      member_->leaving = true;
      member_->changed.notify_one();
    }
    thread_.join();
    std::lock_guard lock(network_->mutex);
    member_->steps.clear();  // they hold the member itself
    member_->timers.clear();
    member_->sessions.clear();
  }

  absl::Status SetPeers(std::vector<PeerAddress> peers) override {
    std::lock_guard lock(network_->mutex);
    std::map<std::string, bool> named;
    for (const PeerAddress& peer : peers) {
      if (!IsNodeName(peer.node) || peer.node == self()) {
        return absl::InvalidArgumentError(absl::StrCat("peer \"", peer.node, "\""));
      }
      named[peer.node] = !peer.host_port.empty();
    }
    member_->peers = std::move(named);
    std::vector<std::string> dropped;
    for (const auto& [node, session] : member_->sessions) {
      if (!member_->peers.contains(node)) dropped.push_back(node);
    }
    for (const std::string& node : dropped) {
      network_->EndSession(member_, node, "no longer a peer");
    }
    for (const auto& [node, dialled] : member_->peers) network_->Connect(member_, node);
    return absl::OkStatus();
  }

  absl::Status Send(const std::string& node, std::span<const uint8_t> payload) override {
    return SendMessage(node, payload, 0, 0);
  }

  absl::Status SendAfter(const std::string& node, std::span<const uint8_t> payload, uint64_t window,
                         uint64_t window_bytes) override {
    if (window == 0) return absl::InvalidArgumentError("window 0");
    return SendMessage(node, payload, window, window_bytes);
  }

  absl::Status OpenWindow(uint64_t window, const std::string& node, WindowAccess access,
                          std::vector<MemoryRange> ranges, PayloadSum sum) override {
    if (window == 0 || window > kWindowMax) return absl::InvalidArgumentError("window number");
    auto opened = std::make_shared<Window>();
    opened->number = window;
    opened->node = node;
    opened->access = access;
    opened->sum = sum;
    ASSIGN_OR_RETURN(opened->ranges,
                     RangeList::Make(std::move(ranges), member_->memory.bytes.size()));
    std::lock_guard lock(network_->mutex);
    return member_->windows.Open(std::move(opened));
  }

  absl::StatusOr<WindowState> CloseWindow(uint64_t window) override {
    std::lock_guard lock(network_->mutex);
    const std::shared_ptr<Window> closed = member_->windows.Close(window);
    if (closed == nullptr) return absl::NotFoundError(absl::StrCat("window ", window));
    for (auto& [node, session] : member_->sessions) {
      member_->stats[node].dropped_messages += session.held.Drop(window);
    }
    PostOwn([member = member_, window](MemoryLock& held) {
      held.unlock();
      member->handler->OnWindowClosed(window);
      held.lock();
    });
    return WindowState::kClosing;
  }

  absl::StatusOr<WriteState> Write(const std::string& node, PeerTransfer write) override {
    RETURN_IF_ERROR(Move(node, std::move(write), WindowAccess::kWrite));
    return WriteState::kUnderWay;
  }

  absl::Status Read(const std::string& node, PeerTransfer read) override {
    return Move(node, std::move(read), WindowAccess::kRead);
  }

  PeerTransportStats Stats() const override {
    std::lock_guard lock(network_->mutex);
    PeerTransportStats stats;
    stats.engine = "memory";
    stats.refused = member_->refused;
    stats.refusals = member_->refusals;
    for (const auto& [node, dialled] : member_->peers) {
      PeerStats peer = member_->stats[node];
      peer.node = node;
      const auto session = member_->sessions.find(node);
      if (session != member_->sessions.end()) {
        peer.up = true;
        peer.connections = 1;
        peer.queued_messages = session->second.undelivered_messages;
        peer.queued_bytes = session->second.undelivered_bytes;
        peer.transfers = session->second.transfers.size();
      }
      stats.peers.push_back(std::move(peer));
    }
    return stats;
  }

  std::string listen_address() const override { return absl::StrCat("memory:", self()); }

 private:
  const std::string& self() const { return member_->options.self.node; }

  // REQUIRES: the network's mutex, as all below.
  uint64_t SessionIdOf(const std::string& node) const {
    const auto found = member_->sessions.find(node);
    return found == member_->sessions.end() ? 0 : found->second.id;
  }

  void PostOwn(MemoryStep step) { network_->Post(self(), *member_, std::move(step)); }

  absl::StatusOr<MemorySession*> FindSession(const std::string& node) {
    const auto found = member_->sessions.find(node);
    if (found != member_->sessions.end() && network_->members.contains(node)) {
      return &found->second;
    }
    return absl::UnavailableError(absl::StrCat("peer ", node, " is not connected"));
  }

  absl::Status SendMessage(const std::string& node, std::span<const uint8_t> payload,
                           uint64_t window, uint64_t window_bytes) {
    if (payload.size() > member_->options.message_bytes_max) {
      return absl::InvalidArgumentError(absl::StrCat("a message of ", payload.size(),
                                                     " bytes, possible are ",
                                                     member_->options.message_bytes_max));
    }
    std::lock_guard lock(network_->mutex);
    ASSIGN_OR_RETURN(MemorySession* const session, FindSession(node));
    if (session->undelivered_messages >= member_->options.queued_messages_max ||
        session->undelivered_bytes + payload.size() > member_->options.queued_bytes_max) {
      return absl::ResourceExhaustedError(absl::StrCat("the queue to ", node, " is full"));
    }
    ++session->undelivered_messages;
    session->undelivered_bytes += payload.size();
    PeerStats& stats = member_->stats[node];
    ++stats.messages_sent;
    stats.bytes_sent += payload.size();
    const std::shared_ptr<MemoryMember> peer = network_->members.at(node);
    HeldMessages::Message message = {window, window_bytes, {payload.begin(), payload.end()}};
    network_->Post(self(), *peer,
                   [network = network_.get(), from = member_, peer, id = session->id,
                    message = std::move(message)](MemoryLock& held) mutable {
                     Deliver(network, from, peer, id, std::move(message), held);
                   });
    return absl::OkStatus();
  }

  static void Deliver(MemoryNetworkState* network, const std::shared_ptr<MemoryMember>& from,
                      const std::shared_ptr<MemoryMember>& to, uint64_t id,
                      HeldMessages::Message message, MemoryLock& lock) {
    const std::string& sender = from->options.self.node;
    if (MemorySession* sending = network->FindSession(*from, to->options.self.node, id)) {
      --sending->undelivered_messages;
      sending->undelivered_bytes -= message.payload.size();
    }
    MemorySession* const session = network->FindSession(*to, sender, id);
    if (session == nullptr) return;
    if (message.window != 0) {
      const std::shared_ptr<Window> window = to->windows.Find(message.window);
      if (window == nullptr || window->node != sender) {
        ++to->stats[sender].dropped_messages;
        return;
      }
      if (window->session != id || window->written_bytes < message.window_bytes) {
        session->held.Hold(std::move(message));
        return;
      }
    }
    Hand(*to, sender, session->peer_epoch, std::move(message), lock);
  }

  static void Hand(MemoryMember& to, const std::string& sender, uint64_t epoch,
                   HeldMessages::Message message, MemoryLock& lock) {
    PeerStats& stats = to.stats[sender];
    ++stats.messages_received;
    stats.bytes_received += message.payload.size();
    lock.unlock();
    to.handler->OnMessage(sender, epoch, std::move(message.payload), message.window);
    lock.lock();
  }

  struct Transfer {
    PeerTransfer request;
    RangeList local;
    WindowAccess access;
    uint64_t number = 0;
    uint64_t session = 0;
  };

  static MemoryStep Finish(std::shared_ptr<MemoryMember> member, uint64_t token,
                           WindowAccess access, bool ok) {
    return [member = std::move(member), token, access, ok](MemoryLock& lock) {
      lock.unlock();
      if (access == WindowAccess::kWrite) {
        member->handler->OnWritten(token, ok);
      } else {
        member->handler->OnRead(token, ok);
      }
      lock.lock();
    };
  }

  absl::Status Move(const std::string& node, PeerTransfer request, WindowAccess access) {
    auto transfer = std::make_shared<Transfer>();
    ASSIGN_OR_RETURN(transfer->local, RangeList::Make(request.local, member_->memory.bytes.size()));
    std::lock_guard lock(network_->mutex);
    ASSIGN_OR_RETURN(MemorySession* const session, FindSession(node));
    if (session->transfers.size() >= kTransfersPerPeerMax) {
      return absl::ResourceExhaustedError(absl::StrCat("too many transfers to ", node));
    }
    transfer->number = network_->next_transfer++;
    transfer->session = session->id;
    transfer->access = access;
    transfer->request = std::move(request);
    const uint64_t token = transfer->request.token;
    session->transfers[transfer->number] = Finish(member_, token, access, false);
    const std::shared_ptr<MemoryMember> peer = network_->members.at(node);
    network_->AddTimer(*member_, transfer->request.deadline,
                       [network = network_.get(), from = member_, node, transfer](
                           MemoryLock& held) { End(network, from, node, *transfer, false, held); });
    network_->Post(self(), *peer,
                   [network = network_.get(), from = member_, peer, transfer](MemoryLock& held) {
                     Copy(network, from, peer, transfer, held);
                   });
    return absl::OkStatus();
  }

  // On the thread of the node that asked: calls its handler, once.
  static void End(MemoryNetworkState* network, const std::shared_ptr<MemoryMember>& from,
                  const std::string& node, const Transfer& transfer, bool ok, MemoryLock& lock) {
    MemorySession* const session = network->FindSession(*from, node, transfer.session);
    if (session == nullptr || session->transfers.erase(transfer.number) == 0) return;
    Finish(from, transfer.request.token, transfer.access, ok)(lock);
  }

  // On the thread of the window's owner.
  static void Copy(MemoryNetworkState* network, const std::shared_ptr<MemoryMember>& from,
                   const std::shared_ptr<MemoryMember>& to,
                   const std::shared_ptr<Transfer>& transfer, MemoryLock& lock) {
    const std::string &sender = from->options.self.node, &own = to->options.self.node;
    MemorySession* const asking = network->FindSession(*from, own, transfer->session);
    MemorySession* const session = network->FindSession(*to, sender, transfer->session);
    if (asking == nullptr || session == nullptr || !asking->transfers.contains(transfer->number)) {
      return;  // too late
    }
    const PeerTransfer& request = transfer->request;
    const bool write = transfer->access == WindowAccess::kWrite;
    const uint64_t bytes = transfer->local.bytes();
    const std::shared_ptr<Window> window =
        to->windows.Use(request.window, sender, transfer->access, request.window_offset, bytes,
                        !write || request.sum == PayloadSum::kTransport);
    if (window != nullptr) {
      std::vector<MemoryRange> there, here;
      window->ranges.Slice(request.window_offset, bytes, kWindowRangesMax, &there);
      transfer->local.Slice(0, bytes, kWindowRangesMax, &here);
      if (write) {
        CopyRanges(from->memory, here, to->memory, there);
      } else {
        CopyRanges(to->memory, there, from->memory, here);
      }
    } else if (write) {
      to->stats[sender].dropped_bytes += bytes;
    }
    const bool ok = write || window != nullptr;
    network->Post(own, *from, [network, from, own, transfer, ok](MemoryLock& held) {
      End(network, from, own, *transfer, ok, held);
    });
    if (!write || window == nullptr) return;
    window->AddWritten(transfer->session, bytes);
    std::vector<HeldMessages::Message> ready;
    session->held.TakeReady(window->number, window->written_bytes, &ready);
    const uint64_t epoch = session->peer_epoch;
    for (HeldMessages::Message& message : ready) Hand(*to, sender, epoch, std::move(message), lock);
  }

  static void CopyRanges(const PeerMemory& from, std::span<const MemoryRange> sources,
                         const PeerMemory& to, std::span<const MemoryRange> targets) {
    size_t source = 0;
    uint64_t skipped = 0;
    for (const MemoryRange& target : targets) {
      for (uint64_t done = 0; done < target.bytes;) {
        const MemoryRange& part = sources[source];
        const uint64_t bytes = std::min(target.bytes - done, part.bytes - skipped);
        std::memcpy(to.bytes.data() + target.offset + done,
                    from.bytes.data() + part.offset + skipped, bytes);
        done += bytes;
        skipped += bytes;
        if (skipped == part.bytes) ++source, skipped = 0;
      }
    }
  }

  void Run() {
    MemoryLock lock(network_->mutex);
    while (!member_->leaving) {
      MonotonicTime wakeup = Now() + absl::Seconds(1);
      if (std::optional<MemoryStep> step = TakeStep(&wakeup)) {
        (*step)(lock);
        lock.unlock();
        member_->handler->OnPause();
        lock.lock();
        continue;
      }
      const auto nanoseconds = std::max<int64_t>((wakeup - Now()) / absl::Nanoseconds(1), 0);
      member_->changed.wait_for(lock, std::chrono::nanoseconds(nanoseconds));
    }
  }

  // The oldest step that may run now; otherwise when to look again.
  std::optional<MemoryStep> TakeStep(MonotonicTime* wakeup) {
    if (member_->paused) return std::nullopt;
    const MonotonicTime now = Now();
    std::deque<MemoryMember::Waiting>* oldest = nullptr;
    for (auto& [from, waiting] : member_->steps) {
      if (waiting.empty() || network_->cut.contains(MemoryPairOf(from, self()))) continue;
      if (waiting.front().due > now) {
        *wakeup = std::min(*wakeup, waiting.front().due);
      } else if (oldest == nullptr || waiting.front().sequence < oldest->front().sequence) {
        oldest = &waiting;
      }
    }
    MemoryStep step;
    if (oldest != nullptr) {
      step = std::move(oldest->front().step);
      oldest->pop_front();
      return step;
    }
    if (member_->timers.empty()) return std::nullopt;
    const auto timer = member_->timers.begin();
    if (timer->first > now) {
      *wakeup = std::min(*wakeup, timer->first);
      return std::nullopt;
    }
    step = std::move(timer->second);
    member_->timers.erase(timer);
    return step;
  }

  const std::shared_ptr<MemoryNetworkState> network_;
  const std::shared_ptr<MemoryMember> member_;
  std::thread thread_;
};

}  // namespace

MemoryNetwork::MemoryNetwork() : state_(std::make_shared<MemoryNetworkState>()) {}
MemoryNetwork::~MemoryNetwork() = default;

absl::StatusOr<std::unique_ptr<PeerTransport>> MemoryNetwork::Join(
    const PeerTransportOptions& options, PeerMemory memory, PeerHandler* handler) {
  RETURN_IF_ERROR(CheckPeerOptions(options));
  auto member = std::make_shared<MemoryMember>();
  member->options = options;
  member->memory = memory;
  member->handler = handler;
  {
    std::lock_guard lock(state_->mutex);
    const std::string& self = options.self.node;
    for (auto& [node, peer] : state_->members) {
      if (node != self) state_->EndOneSide(peer, self, "replaced by a newer session");
    }
    state_->members[self] = member;
  }
  return std::make_unique<MemoryTransport>(state_, std::move(member));
}

void MemoryNetwork::Cut(const std::string& one, const std::string& other) {
  std::lock_guard lock(state_->mutex);
  state_->cut.insert(MemoryPairOf(one, other));
  for (const auto& [node, peer] : {std::pair(one, other), std::pair(other, one)}) {
    const auto member = state_->members.find(node);
    if (member != state_->members.end()) state_->EndUnlessHeard(member->second, peer);
  }
}

void MemoryNetwork::Heal(const std::string& one, const std::string& other) {
  std::lock_guard lock(state_->mutex);
  state_->cut.erase(MemoryPairOf(one, other));
  for (auto& [node, member] : state_->members) member->changed.notify_one();
}

void MemoryNetwork::SetDelay(const std::string& one, const std::string& other,
                             absl::Duration delay) {
  std::lock_guard lock(state_->mutex);
  state_->delays[MemoryPairOf(one, other)] = delay;
}

void MemoryNetwork::Pause(const std::string& node) {
  std::lock_guard lock(state_->mutex);
  const auto paused = state_->members.find(node);
  if (paused == state_->members.end()) return;
  paused->second->paused = true;
  for (auto& [peer, member] : state_->members) state_->EndUnlessHeard(member, node);
}

void MemoryNetwork::Resume(const std::string& node) {
  std::lock_guard lock(state_->mutex);
  const auto paused = state_->members.find(node);
  if (paused == state_->members.end()) return;
  paused->second->paused = false;
  for (auto& [peer, member] : state_->members) {
    // What a peer gave up while the node was stopped, it learns now.
    if (paused->second->sessions.contains(peer) && peer != node &&
        state_->FindSession(*member, node, paused->second->sessions[peer].id) == nullptr) {
      state_->EndOneSide(paused->second, peer, "closed by the peer");
    }
  }
  paused->second->changed.notify_one();
}

}  // namespace larder
