// Connecting, handshakes, and the life of sessions.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/byte_order.h"
#include "common/random.h"
#include "transport/peer/tcp_node.h"

namespace larder {
namespace {

MonotonicTime Now() { return SystemClock::Get().Now(); }

PeerNonce RandomNonce() {
  PeerNonce nonce;
  SystemRandom random;
  for (size_t at = 0; at < nonce.size(); at += sizeof(uint64_t)) {
    StoreLittleEndian(nonce.data() + at, random.Next());
  }
  return nonce;
}

}  // namespace

// Only the numbers of connections that this side is to make.
std::vector<uint32_t> TcpNode::Missing(const Peer& peer) const {
  std::vector<uint32_t> missing;
  if (peer.session == nullptr) {
    if (peer.proved == nullptr && peer.dials.empty()) missing.push_back(0);
    return missing;
  }
  const Session& session = *peer.session;
  if (session.ended || !session.dialled) return missing;
  for (uint32_t number = 1; number < options_.connections_per_peer; ++number) {
    const bool there =
        number < session.connections.size() && session.connections[number] != nullptr;
    if (!there && !peer.dials.contains(number)) missing.push_back(number);
  }
  return missing;
}

void TcpNode::DialMissing(const std::string& node, Peer& peer, MonotonicTime now) {
  if (!peer.named || peer.address.empty() || peer.resolving || Missing(peer).empty()) return;
  if (now < peer.next_dial) {
    WakeBy(peer.next_dial);
    return;
  }
  const absl::StatusOr<SocketAddress> address = SocketAddress::Resolve(peer.address, true);
  if (address.ok()) {
    DialAt(node, peer, *address);
  } else if (to_resolve_.TryPush({node, peer.address})) {
    peer.resolving = true;
  } else {
    DialFailed(peer, "too many names are being resolved");
  }
}

void TcpNode::Resolve() {
  while (std::optional<PeerAddress> asked = to_resolve_.Pop()) {
    Resolved resolved;
    resolved.node = asked->node;
    const absl::StatusOr<SocketAddress> address = SocketAddress::Resolve(asked->host_port, false);
    if (address.ok()) {
      resolved.address = *address;
    } else {
      resolved.code = address.status().code();
      resolved.error = std::string(address.status().message());
    }
    Lock lock(mutex_);
    resolved_.push_back(std::move(resolved));
    must_wake_ = true;
    FinishCall(lock);
  }
}

void TcpNode::DialAt(const std::string& node, Peer& peer, const SocketAddress& address) {
  if (peer.session == nullptr) {
    do {
      peer.dial_session = SystemRandom().Next();
    } while (peer.dial_session == 0);
  }
  for (const uint32_t number : Missing(peer)) {
    const absl::Status dialled = Dial(node, peer, number, address);
    if (!dialled.ok()) {
      DialFailed(peer, dialled.message());
      return;
    }
  }
}

absl::Status TcpNode::Dial(const std::string& node, Peer& peer, uint32_t number,
                           const SocketAddress& address) {
  ASSIGN_OR_RETURN(FileDescriptor fd, PeerSocket::Connect(address));
  const ConnectionPtr connection = AddConnection(std::move(fd), true);
  PeerHello& hello = connection->hello;
  hello.connection = number;
  hello.session = peer.session == nullptr ? peer.dial_session : peer.session->id;
  hello.epoch = options_.self.epoch;
  hello.nonce = RandomNonce();
  hello.cluster = options_.self.cluster;
  hello.node = options_.self.node;
  hello.wanted_node = node;
  peer.dials[number] = connection;
  io_->AwaitWritable(connection->id, connection->socket.fd());
  return absl::OkStatus();
}

void TcpNode::DialFailed(Peer& peer, absl::string_view why) {
  peer.stats.last_error = std::string(why);
  peer.delay =
      std::clamp(peer.delay * 2, options_.reconnect_delay_min, options_.reconnect_delay_max);
  peer.next_dial = Now() + peer.delay;
  WakeBy(peer.next_dial);
}

void TcpNode::OnConnected(Lock& lock, const ConnectionPtr& connection) {
  Connection& c = *connection;
  if (const absl::Status connected = c.socket.ConnectResult(); !connected.ok()) {
    Close(lock, connection, connected.message());
    return;
  }
  c.phase = Connection::Phase::kAwaitsChallenge;
  c.hello_bytes = EncodePeerHello(c.hello);
  c.control.push_back(EncodePeerFrame({.kind = PeerFrameKind::kHello}, c.hello_bytes));
  Pump(lock, connection, true);
  if (!c.closed) StartReceive(connection);
}

void TcpNode::Meet(Lock& lock, const ConnectionPtr& connection) {
  using Phase = Connection::Phase;
  Connection& c = *connection;
  const PeerFrameKind kind = c.receiver.frame().kind;
  std::vector<uint8_t> payload = c.receiver.TakePayload();
  if (c.phase == Phase::kAwaitsHello && kind == PeerFrameKind::kHello) {
    MeetHello(lock, connection, std::move(payload));
  } else if (c.phase == Phase::kAwaitsChallenge && kind == PeerFrameKind::kChallenge) {
    MeetChallenge(lock, connection, std::move(payload));
  } else if (c.phase == Phase::kAwaitsProof && kind == PeerFrameKind::kProof) {
    MeetProof(lock, connection, payload);
  } else if (c.phase == Phase::kAwaitsWelcome && kind == PeerFrameKind::kWelcome) {
    MeetWelcome(lock, connection, payload);
  } else if (c.dialled && kind == PeerFrameKind::kRefused) {
    OnRefused(lock, connection, payload);
  } else {
    OnBroken(lock, connection, "a step of the handshake out of its turn");
  }
}

std::optional<PeerRefusal> TcpNode::Judge(const PeerHello& hello) const {
  if (hello.version_min > kPeerVersionMax || hello.version_max < kPeerVersionMin) {
    return PeerRefusal::kVersion;
  }
  if (hello.cluster != options_.self.cluster) return PeerRefusal::kCluster;
  if (hello.node == options_.self.node) return PeerRefusal::kOwnName;
  if (hello.wanted_node != options_.self.node) return PeerRefusal::kWrongNode;
  return std::nullopt;
}

void TcpNode::MeetHello(Lock& lock, const ConnectionPtr& connection, std::vector<uint8_t> payload) {
  Connection& c = *connection;
  absl::StatusOr<PeerHello> hello = DecodePeerHello(payload);
  if (!hello.ok()) {
    Refuse(lock, connection, PeerRefusal::kMalformed, hello.status().message());
    return;
  }
  c.hello = *std::move(hello);
  c.hello_bytes = std::move(payload);
  if (const std::optional<PeerRefusal> refusal = Judge(c.hello)) {
    Refuse(lock, connection, *refusal,
           *refusal == PeerRefusal::kVersion
               ? absl::StrCat("node ", options_.self.node, " speaks protocol versions ",
                              kPeerVersionMin, " to ", kPeerVersionMax, ", node ", c.hello.node,
                              " ", c.hello.version_min, " to ", c.hello.version_max)
               : absl::StrCat("this is node ", options_.self.node, " of cluster ",
                              options_.self.cluster));
    return;
  }
  PeerChallenge challenge;
  challenge.version = std::min(kPeerVersionMax, c.hello.version_max);
  challenge.epoch = options_.self.epoch;
  challenge.nonce = RandomNonce();
  c.challenge_bytes = EncodePeerChallenge(challenge);
  c.phase = Connection::Phase::kAwaitsProof;
  c.control.push_back(EncodePeerFrame({.kind = PeerFrameKind::kChallenge}, c.challenge_bytes));
}

void TcpNode::MeetChallenge(Lock& lock, const ConnectionPtr& connection,
                            std::vector<uint8_t> payload) {
  Connection& c = *connection;
  const absl::StatusOr<PeerChallenge> challenge = DecodePeerChallenge(payload);
  if (!challenge.ok() || challenge->version < kPeerVersionMin ||
      challenge->version > kPeerVersionMax) {
    Close(lock, connection, "its challenge is malformed or of an unknown version");
    return;
  }
  c.acceptor_epoch = challenge->epoch;
  c.challenge_bytes = std::move(payload);
  c.phase = Connection::Phase::kAwaitsWelcome;
  const PeerProof proof =
      MakePeerProof(options_.secret, PeerSide::kDialler, c.hello_bytes, c.challenge_bytes);
  c.control.push_back(EncodePeerFrame({.kind = PeerFrameKind::kProof}, proof));
}

std::optional<PeerRefusal> TcpNode::JudgeProved(const PeerHello& hello) const {
  const auto found = peers_.find(hello.node);
  if (found == peers_.end() || !found->second.named) return PeerRefusal::kUnknownNode;
  const Peer& peer = found->second;
  const Session* const session = peer.session.get();
  if (hello.connection > 0) {
    const bool fits = session != nullptr && !session->ended && session->id == hello.session &&
                      session->epoch == hello.epoch && !session->dialled &&
                      (hello.connection >= session->connections.size() ||
                       session->connections[hello.connection] == nullptr);
    return fits ? std::nullopt : std::optional(PeerRefusal::kDuplicate);
  }
  if (session != nullptr && !session->ended) {
    // Who dialled before and dials again has lost that session. Where this side dialled, both hold
    // the same session, or will find in time that it is dead.
    const bool newer = hello.epoch != session->epoch || !session->dialled;
    return newer ? std::nullopt : std::optional(PeerRefusal::kDuplicate);
  }
  // Both dial at once: the dial of the lower name goes on.
  const auto dial = peer.dials.find(0);
  const bool under_way =
      dial != peer.dials.end() && dial->second->phase != Connection::Phase::kConnecting;
  if (under_way && options_.self.node < hello.node) return PeerRefusal::kDuplicate;
  return std::nullopt;
}

void TcpNode::MeetProof(Lock& lock, const ConnectionPtr& connection,
                        std::span<const uint8_t> payload) {
  Connection& c = *connection;
  const PeerProof expected =
      MakePeerProof(options_.secret, PeerSide::kDialler, c.hello_bytes, c.challenge_bytes);
  if (!IsPeerProof(expected, payload)) {
    Refuse(lock, connection, PeerRefusal::kSecret, "the secret is another one");
    return;
  }
  if (const std::optional<PeerRefusal> refusal = JudgeProved(c.hello)) {
    Refuse(lock, connection, *refusal,
           *refusal == PeerRefusal::kDuplicate ? "there is a connection already"
                                               : "not a known member");
    return;
  }
  c.phase = Connection::Phase::kProved;
  if (c.hello.connection > 0) {
    Welcome(lock, connection);
    return;
  }
  Peer& peer = peers_[c.hello.node];
  const auto dials = std::exchange(peer.dials, {});
  for (const auto& [number, dial] : dials) Close(lock, dial, "the peer dialled");
  if (const ConnectionPtr older = std::exchange(peer.proved, nullptr)) {
    Close(lock, older, "replaced by a newer session");
  }
  peer.proved = connection;
  const SessionPtr session = peer.session;
  if (session == nullptr) {
    Welcome(lock, std::exchange(peer.proved, nullptr));
  } else {
    EndSession(lock, session, "replaced by a newer session");  // then FinishSession welcomes
  }
}

void TcpNode::Welcome(Lock& lock, const ConnectionPtr& connection) {
  Connection& c = *connection;
  const PeerProof proof =
      MakePeerProof(options_.secret, PeerSide::kAcceptor, c.hello_bytes, c.challenge_bytes);
  c.control.push_back(EncodePeerFrame({.kind = PeerFrameKind::kWelcome}, proof));
  Join(connection, c.hello.epoch);
  Pump(lock, connection, true);
}

void TcpNode::MeetWelcome(Lock& lock, const ConnectionPtr& connection,
                          std::span<const uint8_t> payload) {
  Connection& c = *connection;
  const PeerProof expected =
      MakePeerProof(options_.secret, PeerSide::kAcceptor, c.hello_bytes, c.challenge_bytes);
  if (!IsPeerProof(expected, payload)) {
    ++refused_[static_cast<size_t>(PeerRefusal::kSecret)];
    Close(lock, connection, "the peer does not know the secret");
    return;
  }
  Peer& peer = peers_[c.hello.wanted_node];
  const SessionPtr session = peer.session;
  const bool fits = c.hello.connection == 0
                        ? session == nullptr
                        : session != nullptr && !session->ended && session->id == c.hello.session &&
                              session->epoch == c.acceptor_epoch;
  if (!fits) {
    Close(lock, connection, "its session has ended");
    return;
  }
  peer.dials.erase(c.hello.connection);
  Join(connection, c.acceptor_epoch);
}

// The connection is one of its session from now on, which the first of them begins.
void TcpNode::Join(const ConnectionPtr& connection, uint64_t epoch) {
  Connection& c = *connection;
  const std::string& node = c.dialled ? c.hello.wanted_node : c.hello.node;
  Peer& peer = peers_[node];
  if (c.hello.connection == 0) {
    peer.session = std::make_shared<Session>();
    peer.session->id = c.hello.session;
    peer.session->node = node;
    peer.session->epoch = epoch;
    peer.session->dialled = c.dialled;
    ++peer.stats.sessions;
    peer.stats.epoch = epoch;
    notices_.emplace_back([this, node, epoch] { handler_->OnPeerUp(node, epoch); });
  }
  std::vector<ConnectionPtr>& connections = peer.session->connections;
  if (connections.size() <= c.hello.connection) connections.resize(c.hello.connection + 1);
  connections[c.hello.connection] = connection;
  c.session = peer.session;
  c.phase = Connection::Phase::kUp;
  c.last_heard = Now();
  peer.delay = absl::ZeroDuration();
  peer.next_dial = c.last_heard;
  WakeBy(c.last_heard);  // the other connections, and the first ping
}

void TcpNode::OnRefused(Lock& lock, const ConnectionPtr& connection,
                        std::span<const uint8_t> payload) {
  const absl::StatusOr<PeerRefused> refused = DecodePeerRefused(payload);
  if (!refused.ok()) {
    Close(lock, connection, refused.status().message());
    return;
  }
  ++refusals_[static_cast<size_t>(refused->reason)];
  Close(lock, connection,
        absl::StrCat("refused: ", PeerRefusalName(refused->reason), ": ", refused->text));
}

void TcpNode::Refuse(Lock& lock, const ConnectionPtr& connection, PeerRefusal reason,
                     absl::string_view text) {
  Connection& c = *connection;
  ++refused_[static_cast<size_t>(reason)];
  c.control.push_back(EncodePeerFrame({.kind = PeerFrameKind::kRefused},
                                      EncodePeerRefused({reason, std::string(text)})));
  Pump(lock, connection, true);
  c.phase = Connection::Phase::kRefusing;
  c.socket.ShutdownSending();
}

void TcpNode::EndSession(Lock& lock, const SessionPtr& session, absl::string_view why) {
  if (session->ended) return;
  session->ended = true;
  session->why_ended = std::string(why);
  peers_[session->node].stats.last_error = session->why_ended;
  const std::vector<ConnectionPtr> connections = session->connections;
  for (const ConnectionPtr& connection : connections) {
    if (connection != nullptr) Close(lock, connection, session->why_ended);
  }
  const auto dials = peers_[session->node].dials;
  for (const auto& [number, dial] : dials) Close(lock, dial, session->why_ended);
  const std::set<TransferPtr> transfers = session->transfers;
  for (const TransferPtr& transfer : transfers) StopTransfer(session, transfer);
  session->waiting.clear();
  session->messages.clear();
  while (!session->reads.empty()) EndRead(session, session->reads.begin()->first, false);
  FinishSession(lock, session);
}

// Once neither a thread nor the kernel uses anything of an ended session.
void TcpNode::FinishSession(Lock& lock, const SessionPtr& session) {
  const auto found = peers_.find(session->node);
  const bool used = std::any_of(session->connections.begin(), session->connections.end(),
                                [](const ConnectionPtr& one) { return one != nullptr; });
  if (!session->ended || used || !session->transfers.empty() || !session->reads.empty() ||
      found == peers_.end() || found->second.session != session) {
    return;
  }
  Peer& peer = found->second;
  notices_.emplace_back(
      [this, session] { handler_->OnPeerDown(session->node, session->epoch, session->why_ended); });
  peer.session = nullptr;
  peers_changed_ = peers_changed_ || !peer.named;
  peer.next_dial = Now() + options_.reconnect_delay_min;
  WakeBy(peer.next_dial);
  if (const ConnectionPtr proved = std::exchange(peer.proved, nullptr)) Welcome(lock, proved);
}

}  // namespace larder
