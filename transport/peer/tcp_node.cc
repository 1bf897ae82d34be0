#include "transport/peer/tcp_node.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "transport/peer/tcp_transport.h"

namespace larder {

TcpNode::TcpNode(const PeerTransportOptions& options, PeerMemory memory, PeerHandler* handler,
                 std::unique_ptr<PeerIo> io)
    : options_(options),
      memory_(memory),
      handler_(handler),
      io_(std::move(io)),
      socket_options_{options.peer_timeout, options.congestion} {}

absl::Status TcpNode::Listen() {
  if (options_.listen.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const SocketAddress address, SocketAddress::Resolve(options_.listen, false));
  SocketAddress bound;
  ASSIGN_OR_RETURN(listener_, ListenOn(address, &bound));
  listen_address_ = bound.ToString();
  return absl::OkStatus();
}

void TcpNode::StartThread() {
  resolver_ = std::thread([this] { Resolve(); });
  thread_ = std::thread([this] { Run(); });
}

TcpNode::~TcpNode() {
  to_resolve_.Close();
  if (thread_.joinable()) {
    Lock lock(mutex_);
    stopping_ = must_wake_ = true;
    FinishCall(lock);
    thread_.join();
  }
  if (resolver_.joinable()) resolver_.join();
}

void TcpNode::WakeBy(MonotonicTime time) {
  if (time >= next_scan_) return;
  next_scan_ = time;
  must_wake_ = true;
}

void TcpNode::FinishCall(Lock& lock) {
  const bool wake = std::exchange(must_wake_, false) && std::exchange(asleep_, false);
  lock.unlock();
  if (wake) io_->Wake();
}

absl::Status TcpNode::SetPeers(std::vector<PeerAddress> peers) {
  if (peers.size() > kPeersMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(peers.size(), " peers, possible are ", kPeersMax));
  }
  for (const PeerAddress& peer : peers) {
    if (!IsNodeName(peer.node) || peer.node == options_.self.node) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", peer.node, "\" is no name for a peer of ", options_.self.node));
    }
  }
  Lock lock(mutex_);
  for (auto& [node, peer] : peers_) peer.named = false;
  for (PeerAddress& address : peers) {
    Peer& peer = peers_[address.node];
    peer.named = true;
    if (peer.address != address.host_port) {
      peer.next_dial = {};
      peer.delay = absl::ZeroDuration();
    }
    peer.address = std::move(address.host_port);
    peer.stats.node = address.node;
  }
  peers_changed_ = must_wake_ = true;
  FinishCall(lock);
  return absl::OkStatus();
}

absl::StatusOr<TcpNode::SessionPtr> TcpNode::FindSession(const std::string& node) {
  const auto found = peers_.find(node);
  if (found != peers_.end() && found->second.named && found->second.session != nullptr &&
      !found->second.session->ended) {
    return found->second.session;
  }
  return absl::UnavailableError(absl::StrCat("peer ", node, " is not connected"));
}

absl::Status TcpNode::Send(const std::string& node, std::span<const uint8_t> payload) {
  return SendMessage(node, payload, 0, 0);
}

absl::Status TcpNode::SendAfter(const std::string& node, std::span<const uint8_t> payload,
                                uint64_t window, uint64_t window_bytes) {
  if (window == 0) return absl::InvalidArgumentError("a message after the bytes of window 0");
  return SendMessage(node, payload, window, window_bytes);
}

absl::Status TcpNode::SendMessage(const std::string& node, std::span<const uint8_t> payload,
                                  uint64_t window, uint64_t window_bytes) {
  if (payload.size() > options_.message_bytes_max) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a message of ", payload.size(), " bytes, possible are ", options_.message_bytes_max));
  }
  std::vector<uint8_t> frame = EncodePeerFrame(
      {.kind = PeerFrameKind::kMessage, .window = window, .position = window_bytes}, payload);
  Lock lock(mutex_);
  ASSIGN_OR_RETURN(const SessionPtr session, FindSession(node));
  if (session->queued_messages >= options_.queued_messages_max ||
      session->queued_bytes + payload.size() > options_.queued_bytes_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the queue of messages to ", node, " is full"));
  }
  ++session->queued_messages;
  session->queued_bytes += payload.size();
  session->messages.push_back(std::move(frame));
  Pump(lock, session->connections[0], false);
  FinishCall(lock);
  return absl::OkStatus();
}

absl::Status TcpNode::OpenWindow(uint64_t window, const std::string& node, WindowAccess access,
                                 std::vector<MemoryRange> ranges, PayloadSum sum) {
  if (window == 0 || window > kWindowMax) {
    return absl::InvalidArgumentError(absl::StrCat("window ", window));
  }
  auto opened = std::make_shared<Window>();
  opened->number = window;
  opened->node = node;
  opened->access = access;
  opened->sum = sum;
  ASSIGN_OR_RETURN(opened->ranges, RangeList::Make(std::move(ranges), memory_.bytes.size()));
  Lock lock(mutex_);
  return windows_.Open(std::move(opened));
}

absl::StatusOr<WindowState> TcpNode::CloseWindow(uint64_t window) {
  Lock lock(mutex_);
  WindowPtr closed = windows_.Close(window);
  if (closed == nullptr)
    return absl::NotFoundError(absl::StrCat("window ", window, " is not open"));
  const auto peer = peers_.find(closed->node);
  if (peer != peers_.end() && peer->second.session != nullptr) {
    peer->second.stats.dropped_messages += peer->second.session->held.Drop(window);
  }
  if (closed->users == 0) return WindowState::kClosed;
  closing_.push_back(std::move(closed));
  must_wake_ = true;
  FinishCall(lock);
  return WindowState::kClosing;
}

absl::StatusOr<WriteState> TcpNode::Write(const std::string& node, PeerTransfer write) {
  auto transfer = std::make_shared<Transfer>();
  ASSIGN_OR_RETURN(transfer->local, RangeList::Make(std::move(write.local), memory_.bytes.size()));
  transfer->token = write.token;
  transfer->bytes = transfer->local.bytes();
  transfer->window = write.window;
  transfer->window_offset = write.window_offset;
  transfer->sum = write.sum;
  transfer->deadline = write.deadline;
  if (write.window_offset > ~uint64_t{0} - transfer->bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("a write at offset ", write.window_offset, " of a window"));
  }
  Lock lock(mutex_);
  ASSIGN_OR_RETURN(const SessionPtr session, FindSession(node));
  if (session->transfers.size() + session->reads.size() >= kTransfersPerPeerMax) {
    return absl::ResourceExhaustedError(absl::StrCat("too many transfers to ", node));
  }
  session->transfers.insert(transfer);
  session->waiting.push_back(transfer);
  transfer->caller_waits = true;
  Pump(lock, session->connections[0], false);
  transfer->caller_waits = false;
  const bool ended = transfer->ended, failed = transfer->failed;
  if (!ended) WakeBy(transfer->deadline);
  FinishCall(lock);
  if (!ended) return WriteState::kUnderWay;
  if (failed) return absl::UnavailableError(absl::StrCat("peer ", node, " went down"));
  return WriteState::kDone;
}

absl::Status TcpNode::Read(const std::string& node, PeerTransfer read) {
  auto window = std::make_shared<Window>();
  ASSIGN_OR_RETURN(window->ranges, RangeList::Make(std::move(read.local), memory_.bytes.size()));
  window->node = node;
  window->sum = read.sum;
  window->read_token = read.token;
  Lock lock(mutex_);
  ASSIGN_OR_RETURN(const SessionPtr session, FindSession(node));
  if (session->transfers.size() + session->reads.size() >= kTransfersPerPeerMax) {
    return absl::ResourceExhaustedError(absl::StrCat("too many transfers to ", node));
  }
  window->number = next_reply_window_++;
  const uint64_t bytes = window->ranges.bytes();
  const int64_t left_ms = absl::ToInt64Milliseconds(read.deadline - SystemClock::Get().Now());
  const PeerReadRequest request = {
      .reply_window = window->number,
      .bytes = bytes,
      .sum = read.sum == PayloadSum::kTransport ? 1u : 0u,
      .deadline_ms = static_cast<uint32_t>(std::clamp<int64_t>(left_ms, 0, ~uint32_t{0}))};
  session->reads[window->number] = {window, read.deadline};
  RETURN_IF_ERROR(windows_.Open(std::move(window)));
  Connection& connection = *session->connections[0];
  connection.control.push_back(EncodePeerFrame(
      {.kind = PeerFrameKind::kRead, .window = read.window, .position = read.window_offset},
      EncodeReadRequest(request)));
  Pump(lock, session->connections[0], false);
  WakeBy(read.deadline);
  FinishCall(lock);
  return absl::OkStatus();
}

PeerTransportStats TcpNode::Stats() const {
  Lock lock(mutex_);
  PeerTransportStats stats;
  stats.engine = io_->name();
  stats.refused = refused_;
  stats.refusals = refusals_;
  stats.unauthenticated = CountUnauthenticated();
  for (const auto& [node, peer] : peers_) {
    if (!peer.named) continue;
    PeerStats& one = stats.peers.emplace_back(peer.stats);
    if (peer.session == nullptr || peer.session->ended) continue;
    const Session& session = *peer.session;
    one.up = true;
    for (const ConnectionPtr& connection : session.connections) {
      one.connections += connection != nullptr ? 1 : 0;
    }
    one.queued_messages = session.queued_messages;
    one.queued_bytes = session.queued_bytes;
    one.transfers = session.transfers.size() + session.reads.size();
  }
  return stats;
}

absl::StatusOr<std::unique_ptr<PeerTransport>> StartTcpTransport(
    const PeerTransportOptions& options, PeerMemory memory, PeerHandler* handler) {
  RETURN_IF_ERROR(CheckPeerOptions(options));
  absl::StatusOr<std::unique_ptr<PeerIo>> io = absl::UnimplementedError("");
  if (options.engine != PeerEngine::kEpoll) io = MakeUringPeerIo();
  if (options.engine == PeerEngine::kEpoll || (options.engine == PeerEngine::kAuto && !io.ok())) {
    io = MakeEpollPeerIo();
  }
  if (!io.ok()) return io.status();
  auto node = std::make_unique<TcpNode>(options, memory, handler, *std::move(io));
  RETURN_IF_ERROR(node->Listen());
  node->StartThread();
  return node;
}

}  // namespace larder
