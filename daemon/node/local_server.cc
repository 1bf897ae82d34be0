#include "daemon/node/local_server.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/node/log.h"

namespace larder {
namespace {

constexpr uint64_t kListenerToken = LocalServer::kTokenBit;
constexpr size_t kGreetingsMax = 1024;
// Frames of one session answered before the next one has its turn.
constexpr int kFramesPerTurnMax = 16;
constexpr int kAcceptsPerEventMax = 64;

}  // namespace

absl::StatusOr<std::unique_ptr<LocalServer>> LocalServer::Start(const LocalServerOptions& options,
                                                                const Welcome& welcome,
                                                                const FileDescriptor* arena_file,
                                                                Core* core, RequestHandler* handler,
                                                                Poller* poller, MonotonicTime) {
  ASSIGN_OR_RETURN(UnixListener listener, UnixListener::Listen(options.listen));
  RETURN_IF_ERROR(poller->Watch(listener.fd(), kListenerToken, /*readable=*/true));
  return std::unique_ptr<LocalServer>(
      new LocalServer(options, welcome, arena_file, core, handler, poller, std::move(listener)));
}

LocalServer::LocalServer(const LocalServerOptions& options, const Welcome& welcome,
                         const FileDescriptor* arena_file, Core* core, RequestHandler* handler,
                         Poller* poller, UnixListener listener)
    : options_(options),
      welcome_(welcome),
      arena_file_(arena_file),
      core_(core),
      handler_(handler),
      poller_(poller),
      listener_(std::make_unique<UnixListener>(std::move(listener))) {}

LocalServer::~LocalServer() = default;

void LocalServer::StopListening() {
  if (listener_ == nullptr) return;
  poller_->Forget(listener_->fd());
  listener_ = nullptr;
}

// --- meeting ------------------------------------------------------------------------------------

void LocalServer::OnEvent(const Poller::Event& event, MonotonicTime now) {
  if (event.token == kListenerToken) {
    AcceptAll(now);
    return;
  }
  if (greetings_.contains(event.token)) {
    Greet(event.token, now);
    return;
  }
  const auto found = sessions_.find(event.token);
  if (found == sessions_.end()) return;  // It ended while this event was on its way.
  Session& session = *found->second;
  if (event.readable && !session.ended) {
    session.transport.channel->DisarmWakeup();
    Activate(session);
  }
  if (event.hung_up) {
    // What was sent before the end counts: an engine may put and exit. It is no more than fits into
    // a ring, unless the client has only closed one direction and goes on sending.
    for (uint64_t frames = 0; frames < options_.ring_bytes / sizeof(FrameHeader) &&
                              !session.ended && !session.blocked && Serve(session, now);
         frames += kFramesPerTurnMax) {
    }
    Close(event.token);
  }
}

void LocalServer::AcceptAll(MonotonicTime now) {
  for (int i = 0; i < kAcceptsPerEventMax; ++i) {
    absl::StatusOr<std::optional<UnixConnection>> accepted = listener_->Accept();
    if (!accepted.ok()) {
      // Most likely there is no descriptor left. Looking again at once would help nobody: the next
      // tick does.
      LogWarning("accept failed", {{"why", std::string(accepted.status().message())}});
      poller_->Forget(listener_->fd());
      accept_paused_ = true;
      return;
    }
    if (!accepted->has_value()) return;
    UnixConnection connection = **std::move(accepted);
    absl::Status admitted = CheckPeer(connection.peer);
    if (admitted.ok() && greetings_.size() >= kGreetingsMax) {
      admitted = absl::ResourceExhaustedError("too many clients are connecting at once");
    }
    const uint64_t token = kTokenBit | next_token_++;
    if (admitted.ok()) admitted = poller_->Watch(connection.socket.get(), token, true);
    if (!admitted.ok()) {
      ++stats_.refused;
      LogWarning("client refused", {{"pid", absl::StrCat(connection.peer.process_id)},
                                    {"uid", absl::StrCat(connection.peer.user_id)},
                                    {"why", std::string(admitted.message())}});
      RefuseConnection(connection.socket, admitted);
      continue;
    }
    greetings_.try_emplace(token, Greeting{std::move(connection), now});
  }
}

absl::Status LocalServer::CheckPeer(const PeerCredentials& peer) const {
  if (options_.allow_any_user || peer.user_id == geteuid() || peer.user_id == 0) {
    return absl::OkStatus();
  }
  if (std::find(options_.allowed_users.begin(), options_.allowed_users.end(), peer.user_id) !=
      options_.allowed_users.end()) {
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(
      absl::StrCat("user ", peer.user_id, " is not among the daemon's allowed_users"));
}

void LocalServer::Greet(uint64_t token, MonotonicTime now) {
  const auto found = greetings_.find(token);
  absl::StatusOr<std::optional<Hello>> hello = ReceiveHello(found->second.connection.socket);
  if (hello.ok() && !hello->has_value()) return;  // Not yet.
  Greeting greeting = std::move(found->second);
  greetings_.erase(found);
  poller_->Forget(greeting.connection.socket.get());
  absl::Status status = hello.status();
  if (status.ok()) {
    status = OpenSession(std::move(greeting), **hello, now);
  } else if (!absl::IsUnavailable(status)) {
    RefuseConnection(greeting.connection.socket, status);
  }
  if (!status.ok()) ++stats_.refused;
  if (!status.ok() && !absl::IsUnavailable(status)) {
    LogWarning("client refused", {{"why", std::string(status.message())}});
  }
}

absl::Status LocalServer::OpenSession(Greeting greeting, const Hello& hello, MonotonicTime now) {
  const absl::StatusOr<SessionId> id = core_->OpenSession();
  if (!id.ok()) {
    RefuseConnection(greeting.connection.socket, id.status());
    return id.status();
  }
  const PeerCredentials peer = greeting.connection.peer;
  Welcome offer = welcome_;
  offer.session = *id;
  offer.request_ring_bytes = offer.reply_ring_bytes = options_.ring_bytes;
  absl::StatusOr<ServerSession> transport =
      AcceptHello(std::move(greeting.connection.socket), hello, offer, *arena_file_, {});
  auto session = std::make_unique<Session>();
  if (absl::Status status = transport.status(); !status.ok()) {
    core_->CloseSession(*id);
    return status;
  }
  session->token = kTokenBit | next_token_++;
  session->id = *id;
  session->client =
      absl::StrCat(hello.client_name, " (pid ", peer.process_id, ", uid ", peer.user_id, ")");
  session->transport = *std::move(transport);
  session->heartbeat_changed = now;
  Channel& channel = *session->transport.channel;
  absl::Status watched = poller_->Watch(channel.readable_fd(), session->token, true);
  if (watched.ok() && channel.hangup_fd() >= 0) {
    watched = poller_->Watch(channel.hangup_fd(), session->token, false);
  }
  if (!watched.ok()) {
    core_->CloseSession(*id);
    return watched;
  }
  ++stats_.accepted;
  Session& kept = *sessions_.try_emplace(session->token, std::move(session)).first->second;
  by_id_[kept.id] = &kept;
  Activate(kept);  // Its first frame may be there already; the next sleep arms it.
  return absl::OkStatus();
}

// --- serving ------------------------------------------------------------------------------------

void LocalServer::Activate(Session& session) {
  if (session.active || session.ended) return;
  session.active = true;
  active_.push_back(&session);
}

bool LocalServer::PollOnce(MonotonicTime now) {
  bool progress = false;
  for (size_t i = 0; i < active_.size(); ++i) {
    Session& session = *active_[i];
    if (!session.ended && Serve(session, now)) progress = true;
  }
  return progress;
}

bool LocalServer::Serve(Session& session, MonotonicTime now) {
  if (session.blocked && !SendBlocked(session)) return false;
  bool progress = false;
  for (int i = 0; i < kFramesPerTurnMax && !session.blocked; ++i) {
    const absl::StatusOr<bool> received = session.transport.channel->TryReceive(&frame_);
    if (!received.ok()) {
      // A peer that is gone is reported by the poller too, which closes the session. A ring does
      // not notice that by itself: there the client has declared its own session ended.
      if (!absl::IsUnavailable(received.status()) || session.transport.rings != nullptr) {
        ++stats_.malformed;
        End(session, received.status());
      }
      return progress;
    }
    if (!*received) return progress;
    progress = true;
    HandleFrame(session, now);
  }
  return progress;
}

void LocalServer::HandleFrame(Session& session, MonotonicTime now) {
  RequestStats::Operation& operation = stats_.requests.Of(frame_.header.opcode);
  ++operation.frames;
  if (++stats_.frames % RequestStats::kTimedFrames != 0) {
    Answer(session, handler_->Handle(session.id, frame_, now));
    return;
  }
  const MonotonicTime begin = SystemClock::Get().Now();
  Answer(session, handler_->Handle(session.id, frame_, now));
  operation.handling.Add(SystemClock::Get().Now() - begin);
}

void LocalServer::Answer(Session& session, const RequestHandler::Reply& reply) {
  if (!reply.wanted) return;
  const absl::Status sent = session.transport.channel->Send(reply.label, reply.payload);
  if (sent.ok() || absl::IsUnavailable(sent)) return;
  if (!absl::IsResourceExhausted(sent)) {
    End(session, sent);
    return;
  }
  session.blocked = true;
  session.blocked_label = reply.label;
  session.blocked_payload.assign(reply.payload.begin(), reply.payload.end());
  ++blocked_;
}

bool LocalServer::CanAnswer(SessionId id) const {
  const auto found = by_id_.find(id);
  return found != by_id_.end() && !found->second->ended && !found->second->blocked;
}

void LocalServer::AnswerLater(SessionId id, const RequestHandler::Reply& reply) {
  Answer(*by_id_.at(id), reply);
}

bool LocalServer::SendBlocked(Session& session) {
  const absl::Status sent =
      session.transport.channel->Send(session.blocked_label, session.blocked_payload);
  if (absl::IsResourceExhausted(sent)) return false;
  session.blocked = false;
  --blocked_;
  return true;
}

bool LocalServer::PrepareToSleep() {
  size_t kept = 0;
  for (Session* session : active_) {
    // A blocked session stays active: the tick looks whether its client has read meanwhile.
    if (!session->ended && (session->blocked || !session->transport.channel->ArmWakeup())) {
      active_[kept++] = session;
    } else {
      session->active = false;
    }
  }
  active_.resize(kept);
  return kept == blocked_;
}

void LocalServer::End(Session& session, const absl::Status& why) {
  LogWarning("session ended", {{"client", session.client}, {"why", std::string(why.message())}});
  handler_->ForgetSession(session.id);
  core_->RevokeSession(session.id);
  if (session.transport.rings != nullptr) session.transport.rings->Revoke();
  poller_->StopReading(session.transport.channel->readable_fd(), session.token);
  if (session.blocked) {
    session.blocked = false;
    --blocked_;
  }
  session.ended = true;
}

void LocalServer::Close(uint64_t token) {
  const auto found = sessions_.find(token);
  Session& session = *found->second;
  if (session.blocked) --blocked_;
  if (session.active) std::erase(active_, &session);
  by_id_.erase(session.id);
  handler_->ForgetSession(session.id);
  core_->CloseSession(session.id);
  poller_->Forget(session.transport.channel->readable_fd());
  if (session.transport.channel->hangup_fd() >= 0) {
    poller_->Forget(session.transport.channel->hangup_fd());
  }
  sessions_.erase(found);
}

// --- looking after ------------------------------------------------------------------------------

void LocalServer::Tick(MonotonicTime now) {
  if (accept_paused_ && listener_ != nullptr) {
    accept_paused_ = !poller_->Watch(listener_->fd(), kListenerToken, /*readable=*/true).ok();
  }
  for (auto it = greetings_.begin(); it != greetings_.end();) {
    const auto greeting = it++;
    if (now - greeting->second.since < options_.handshake_timeout) continue;
    RefuseConnection(greeting->second.connection.socket,
                     absl::DeadlineExceededError("no hello came in time"));
    ++stats_.refused;
    greetings_.erase(greeting);
  }
  for (auto& [token, session] : sessions_) {
    if (session->blocked) (void)Serve(*session, now);
    if (session->transport.rings != nullptr && !session->ended) CheckHeartbeat(*session, now);
  }
}

void LocalServer::CheckHeartbeat(Session& session, MonotonicTime now) {
  session.transport.rings->Beat();
  const uint64_t heartbeat = session.transport.rings->PeerHeartbeat();
  if (heartbeat != session.heartbeat) {
    session.heartbeat = heartbeat;
    session.heartbeat_changed = now;
  } else if (now - session.heartbeat_changed > options_.session_timeout) {
    ++stats_.revoked;
    End(session, absl::DeadlineExceededError(absl::StrCat(
                     "no heartbeat for ", absl::FormatDuration(now - session.heartbeat_changed))));
  }
}

}  // namespace larder
