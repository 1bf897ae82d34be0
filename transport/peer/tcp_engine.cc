// The engine's thread: events, time, and the end of connections.
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "transport/peer/tcp_node.h"

namespace larder {
namespace {

constexpr uint64_t kListenerId = 1;
constexpr int kAcceptsMax = 64;  // at one event
// Answers that a peer has not taken; one that asks on and never reads is broken.
constexpr size_t kControlFramesMax = 4 * kTransfersPerPeerMax;
constexpr absl::Duration kAcceptPause = absl::Milliseconds(100);
// Between two calls of OnPause while there is always more to do.
constexpr absl::Duration kPauseInterval = absl::Microseconds(150);

MonotonicTime Now() { return SystemClock::Get().Now(); }

// sendfile into a connection that has ended raises SIGPIPE, and knows no flag against it. Only this
// thread calls it.
void BlockBrokenPipeSignal() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

}  // namespace

void TcpNode::Run() {
  BlockBrokenPipeSignal();
  std::vector<PeerIoEvent> events;
  bool idle = false;  // the last look found nothing
  Lock lock(mutex_);
  next_scan_ = Now();
  while (!stopping_) {
    DoRequests(lock);
    RunNotices(lock);
    const MonotonicTime now = Now();
    if (now >= next_scan_) Scan(lock, now);
    if (stopping_ || !notices_.empty() || !attention_.empty() || !closing_.empty() ||
        peers_changed_ || !resolved_.empty()) {
      continue;
    }
    asleep_ = true;
    must_wake_ = false;
    const absl::Duration timeout = next_scan_ - now;
    lock.unlock();
    events.clear();
    if (idle || now >= next_pause_) {
      handler_->OnPause();
      next_pause_ = now + kPauseInterval;
    }
    const absl::Status waited = io_->Wait(idle ? timeout : absl::ZeroDuration(), &events);
    idle = !idle && events.empty();
    lock.lock();
    asleep_ = false;
    if (!waited.ok()) {
      for (auto& [node, peer] : peers_) {
        if (peer.session != nullptr) EndSession(lock, peer.session, waited.message());
      }
      RunNotices(lock);
      break;
    }
    for (const PeerIoEvent& event : events) {
      Handle(lock, event);
      RunNotices(lock);
    }
  }
  Drain(lock);
}

// Closes all and waits until the kernel uses none of the memory.
void TcpNode::Drain(Lock& lock) {
  stopping_ = true;
  for (auto& [node, peer] : peers_) peer.named = false;
  std::vector<ConnectionPtr> all;
  for (const auto& [id, connection] : connections_) all.push_back(connection);
  for (const ConnectionPtr& connection : all) Close(lock, connection, "this node has ended");
  if (listener_) io_->Forget(kListenerId, listener_.get());
  std::vector<PeerIoEvent> events;
  while (!connections_.empty() || io_->forgetting()) {
    events.clear();
    if (!io_->Wait(absl::Seconds(1), &events).ok()) return;
    for (const PeerIoEvent& event : events) {
      if (event.kind == PeerIoEvent::Kind::kReceived) Handle(lock, event);
    }
  }
}

void TcpNode::RunNotices(Lock& lock) {
  while (!notices_.empty() && !stopping_) {
    const std::function<void()> notice = std::move(notices_.front());
    notices_.pop_front();
    lock.unlock();
    notice();
    lock.lock();
  }
}

void TcpNode::DoRequests(Lock& lock) {
  if (std::exchange(peers_changed_, false)) {
    DropUnnamed(lock);
    next_scan_ = Now();
  }
  for (const ConnectionPtr& connection : std::exchange(attention_, {})) {
    Connection& c = *connection;
    if (c.closed) {
      Reap(lock, connection);
    } else if (c.send_error != 0) {
      Close(lock, connection, ErrnoStatus(c.send_error, "sending").message());
    } else if (c.blocked) {
      if (!std::exchange(c.awaits_writable, true)) io_->AwaitWritable(c.id, c.socket.fd());
    } else if (c.session != nullptr) {
      PumpAll(lock, c.session);
    }
  }
  for (const WindowPtr& window : std::exchange(closing_, {})) DivertFrom(lock, window);
  for (const Resolved& resolved : std::exchange(resolved_, {})) {
    const auto peer = peers_.find(resolved.node);
    if (peer == peers_.end()) continue;
    peer->second.resolving = false;
    peers_changed_ = peers_changed_ || !peer->second.named;
    if (resolved.code == absl::StatusCode::kOk) {
      DialAt(resolved.node, peer->second, resolved.address);
    } else {
      DialFailed(peer->second, resolved.error);
    }
  }
}

void TcpNode::DropUnnamed(Lock& lock) {
  std::vector<std::string> unnamed;
  for (const auto& [node, peer] : peers_) {
    if (!peer.named) unnamed.push_back(node);
  }
  for (const std::string& node : unnamed) {
    Peer& peer = peers_[node];
    const auto dials = peer.dials;
    for (const auto& [number, connection] : dials) Close(lock, connection, "no longer a peer");
    if (const ConnectionPtr proved = std::exchange(peer.proved, nullptr)) {
      Close(lock, proved, "no longer a peer");
    }
    if (peer.session != nullptr) EndSession(lock, peer.session, "no longer a peer");
    // Otherwise it goes when that is over.
    if (peer.session == nullptr && !peer.resolving) peers_.erase(node);
  }
}

// The window is closed and in use: by receives into it, or by answers to reads out of it.
void TcpNode::DivertFrom(Lock& lock, const WindowPtr& window) {
  for (const auto& [id, connection] : connections_) {
    if (connection->receiving && connection->receiver.window() == window.get()) {
      io_->CancelReceive(id);
    }
  }
  const auto peer = peers_.find(window->node);
  if (window->access != WindowAccess::kRead || peer == peers_.end()) return;
  const SessionPtr session = peer->second.session;
  if (session == nullptr || session->ended) return;
  const std::set<TransferPtr> transfers = session->transfers;
  for (const TransferPtr& transfer : transfers) {
    if (transfer->source != window || transfer->stopped) continue;
    if (transfer->carved_bytes < transfer->bytes) {
      QueueControl(*session->connections[0],
                   {.kind = PeerFrameKind::kReadFailed, .window = transfer->window});
    }
    StopTransfer(session, transfer);
  }
  PumpAll(lock, session);
}

void TcpNode::Handle(Lock& lock, const PeerIoEvent& event) {
  if (event.id == kListenerId) {
    Accept(lock);
    return;
  }
  const auto found = connections_.find(event.id);
  if (found == connections_.end()) return;
  const ConnectionPtr connection = found->second;
  if (event.kind == PeerIoEvent::Kind::kReceived) {
    OnReceived(lock, connection, event.result);
  } else if (connection->phase == Connection::Phase::kConnecting) {
    OnConnected(lock, connection);
  } else {
    connection->awaits_writable = false;
    connection->blocked = false;
    Pump(lock, connection, true);
  }
}

TcpNode::ConnectionPtr TcpNode::AddConnection(FileDescriptor fd, bool dialled) {
  const uint64_t id = next_id_++;
  auto connection = std::make_shared<Connection>(id, std::move(fd), socket_options_, memory_.bytes,
                                                 options_.message_bytes_max);
  connection->dialled = dialled;
  connection->handshake_deadline = Now() + options_.handshake_timeout;
  WakeBy(connection->handshake_deadline);
  connections_[id] = connection;
  return connection;
}

size_t TcpNode::CountUnauthenticated() const {
  return static_cast<size_t>(
      std::count_if(connections_.begin(), connections_.end(), [](const auto& entry) {
        return !entry.second->dialled && entry.second->session == nullptr && !entry.second->closed;
      }));
}

void TcpNode::Accept(Lock&) {
  listening_ = false;
  for (int i = 0; i < kAcceptsMax; ++i) {
    FileDescriptor fd(accept4(listener_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) {
      if (errno == ECONNABORTED || errno == EINTR) continue;
      if (errno != EAGAIN && errno != EWOULDBLOCK) {
        WakeBy(Now() + kAcceptPause);  // no descriptors left: the next scan tries again
        return;
      }
      listening_ = true;
      io_->AwaitReadable(kListenerId, listener_.get());
      return;
    }
    if (CountUnauthenticated() >= options_.unauthenticated_max) {
      ++refused_[static_cast<size_t>(PeerRefusal::kTooMany)];
      continue;
    }
    const ConnectionPtr connection = AddConnection(std::move(fd), false);
    connection->phase = Connection::Phase::kAwaitsHello;
    StartReceive(connection);
  }
  WakeBy(Now());  // there may be more
}

void TcpNode::Scan(Lock& lock, MonotonicTime now) {
  // Who stood still himself has not listened, and must not judge others.
  const bool judge = now - next_scan_ < options_.keepalive_interval;
  next_scan_ = now + options_.keepalive_interval;
  if (listener_ && !listening_) Accept(lock);
  std::vector<ConnectionPtr> all;
  for (const auto& [id, connection] : connections_) all.push_back(connection);
  for (const ConnectionPtr& connection : all) {
    if (!connection->closed) ScanConnection(lock, connection, now, judge);
  }
  for (auto& [node, peer] : peers_) {
    if (peer.session != nullptr && !peer.session->ended) ScanSession(peer.session, now);
    DialMissing(node, peer, now);
  }
}

void TcpNode::ScanConnection(Lock& lock, const ConnectionPtr& connection, MonotonicTime now,
                             bool judge) {
  Connection& c = *connection;
  if (c.phase != Connection::Phase::kUp) {
    if (now < c.handshake_deadline) {
      WakeBy(c.handshake_deadline);
      return;
    }
    if (!c.dialled && c.phase != Connection::Phase::kRefusing) {
      ++refused_[static_cast<size_t>(PeerRefusal::kTimeout)];
    }
    Close(lock, connection, "no handshake within its time");
    return;
  }
  if (judge && now - c.last_heard > options_.peer_timeout) {
    Close(lock, connection,
          absl::StrCat("nothing heard for ", absl::FormatDuration(now - c.last_heard)));
    return;
  }
  if (now >= c.last_ping + options_.keepalive_interval) {
    c.last_ping = now;
    // One that was not sent yet is enough.
    if (c.control.empty()) {
      QueueControl(
          c, {.kind = PeerFrameKind::kPing, .position = static_cast<uint64_t>(now.nanoseconds)});
    }
    Pump(lock, connection, true);
  }
  WakeBy(c.last_ping + options_.keepalive_interval);
}

void TcpNode::ScanSession(const SessionPtr& session, MonotonicTime now) {
  const std::set<TransferPtr> transfers = session->transfers;
  for (const TransferPtr& transfer : transfers) {
    if (transfer->stopped) continue;
    if (now < transfer->deadline) {
      WakeBy(transfer->deadline);
    } else {
      transfer->failed = true;
      StopTransfer(session, transfer);
    }
  }
  std::vector<uint64_t> late;
  for (const auto& [window, read] : session->reads) {
    if (now < read.deadline) {
      WakeBy(read.deadline);
    } else {
      late.push_back(window);
    }
  }
  for (const uint64_t window : late) EndRead(session, window, false);
}

void TcpNode::StartReceive(const ConnectionPtr& connection) {
  Connection& c = *connection;
  if (c.receiver.window() != nullptr && c.receiver.window()->closed) ReleaseInput(c);
  c.receiving = true;
  io_->Receive(c.id, c.socket.fd(), c.receiver.Prepare());
}

void TcpNode::ReleaseInput(Connection& c) {
  if (const WindowPtr window = c.receiver.Divert()) ReleaseWindow(window);
}

void TcpNode::OnReceived(Lock& lock, const ConnectionPtr& connection, int64_t result) {
  Connection& c = *connection;
  c.receiving = false;
  if (c.closed) {
    ReleaseInput(c);
    Reap(lock, connection);
    return;
  }
  if (result == -ECANCELED) {
    StartReceive(connection);
    return;
  }
  if (result <= 0) {
    Close(lock, connection,
          result == 0 ? "closed by the peer"
                      : ErrnoStatus(static_cast<int>(-result), "receiving").message());
    return;
  }
  c.last_heard = Now();
  if (c.phase == Connection::Phase::kRefusing) {
    Close(lock, connection, "talks on after a refusal");
    return;
  }
  if (c.session != nullptr) {
    peers_[c.session->node].stats.bytes_received += static_cast<uint64_t>(result);
  }
  lock.unlock();
  c.receiver.Received(static_cast<size_t>(result));  // sums what came
  if (const FrameReceiver::Landed landed = c.receiver.TakeLanded(); landed.bytes > 0) {
    handler_->OnLanded(landed.window, landed.offset, landed.bytes);
  }
  lock.lock();
  while (!c.closed && c.phase != Connection::Phase::kRefusing) {
    absl::StatusOr<FrameReceiver::Step> step = c.receiver.Next();
    if (step.ok() && *step == FrameReceiver::Step::kNeedMore) break;
    absl::Status status = step.status();
    if (status.ok() && *step == FrameReceiver::Step::kHeader) {
      status = OnHeader(connection);
    } else if (status.ok()) {
      if (const FrameReceiver::Landed landed = c.receiver.TakeLanded(); landed.bytes > 0) {
        notices_.emplace_back(
            [this, landed] { handler_->OnLanded(landed.window, landed.offset, landed.bytes); });
      }
      if (c.phase == Connection::Phase::kUp) {
        status = OnFrame(lock, connection);
      } else {
        Meet(lock, connection);
      }
    }
    if (status.ok() && c.control.size() > kControlFramesMax) {
      status = absl::ResourceExhaustedError("asks and does not read the answers");
    }
    if (!status.ok()) OnBroken(lock, connection, status.message());
  }
  if (c.closed) return;
  Pump(lock, connection, true);
  StartReceive(connection);
}

void TcpNode::OnBroken(Lock& lock, const ConnectionPtr& connection, absl::string_view what) {
  if (connection->phase == Connection::Phase::kUp || connection->dialled) {
    Close(lock, connection, what);
  } else {
    Refuse(lock, connection, PeerRefusal::kMalformed, what);
  }
}

void TcpNode::Close(Lock& lock, const ConnectionPtr& connection, absl::string_view why) {
  Connection& c = *connection;
  if (c.closed) return;
  c.closed = true;
  c.socket.Shutdown();
  io_->Forget(c.id, c.socket.fd());
  if (!c.sending) ReleaseOutput(c);
  if (!c.receiving) ReleaseInput(c);
  if (c.session != nullptr) {
    EndSession(lock, c.session, why);
  } else if (const auto peer = peers_.find(c.dialled ? c.hello.wanted_node : c.hello.node);
             peer != peers_.end()) {
    if (peer->second.proved == connection) peer->second.proved = nullptr;
    const auto dial = peer->second.dials.find(c.hello.connection);
    if (dial != peer->second.dials.end() && dial->second == connection) {
      peer->second.dials.erase(dial);
      DialFailed(peer->second, why);
    }
  }
  Reap(lock, connection);
}

// Buries a closed connection that neither a thread nor the kernel uses any more.
void TcpNode::Reap(Lock& lock, const ConnectionPtr& connection) {
  Connection& c = *connection;
  if (!c.closed || c.receiving || c.sending || connections_.erase(c.id) == 0) return;
  if (c.session == nullptr) return;
  for (ConnectionPtr& one : c.session->connections) {
    if (one == connection) one = nullptr;
  }
  FinishSession(lock, c.session);
}

}  // namespace larder
