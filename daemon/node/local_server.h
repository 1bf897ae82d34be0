// Serves the clients on this machine: meets them on the Unix socket, then answers their frames.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "common/clock.h"
#include "common/file_descriptor.h"
#include "common/status.h"
#include "daemon/core/core.h"
#include "daemon/node/poller.h"
#include "daemon/node/request_stats.h"
#include "daemon/session/request_handler.h"
#include "transport/local/handshake.h"
#include "transport/local/socket.h"

namespace larder {

struct LocalServerOptions {
  UnixListenerOptions listen;
  // Users who may connect besides this process's own and root; the socket's mode decides first.
  std::vector<uid_t> allowed_users;
  // With true every user that the socket's permissions admit may connect.
  bool allow_any_user = false;
  uint32_t ring_bytes = kRingBytesDefault;
  absl::Duration heartbeat_interval = absl::Seconds(1);
  // A client whose heart has not beaten for so long loses its leases.
  absl::Duration session_timeout = absl::Seconds(30);
  absl::Duration handshake_timeout = absl::Seconds(5);
};

struct LocalServerStats {
  uint64_t accepted = 0, refused = 0, revoked = 0, malformed = 0;
  uint64_t frames = 0;
  RequestStats requests;
};

// Part of the event loop and not thread-safe. Everything a client sends is hostile input: a
// malformed frame ends its session, a slow reader is not read from until it has room for replies.
//
// While requests come in, the loop polls (PollOnce); before it sleeps it declares so to every
// client (PrepareToSleep), and the clients' first frames then wake it through the poller.
class LocalServer {
 public:
  // Tokens with this bit belong to the server (see OnEvent).
  static constexpr uint64_t kTokenBit = uint64_t{1} << 63;

  // `core`, `handler`, `poller` and `arena_file` outlive the server. `welcome` is the offer to
  // every client but for its session.
  static absl::StatusOr<std::unique_ptr<LocalServer>> Start(const LocalServerOptions& options,
                                                            const Welcome& welcome,
                                                            const FileDescriptor* arena_file,
                                                            Core* core, RequestHandler* handler,
                                                            Poller* poller, MonotonicTime now);
  ~LocalServer();

  // Answers what the recently active sessions have sent. True if there was anything.
  bool PollOnce(MonotonicTime now);

  // True when nothing is there and every client knows that it must wake the loop.
  bool PrepareToSleep();

  void OnEvent(const Poller::Event& event, MonotonicTime now);

  // For requests that are not answered at once: whether the session takes a reply now.
  bool CanAnswer(SessionId session) const;
  // REQUIRES: CanAnswer.
  void AnswerLater(SessionId session, const RequestHandler::Reply& reply);

  // Looks after heartbeats, handshakes and blocked replies. About once a second, and more often
  // while `has_blocked()`.
  void Tick(MonotonicTime now);
  bool has_blocked() const { return blocked_ > 0; }

  // Accepts nobody from now on.
  void StopListening();

  const LocalServerStats& stats() const { return stats_; }

 private:
  struct Greeting {
    UnixConnection connection;
    MonotonicTime since;
  };
  struct Session {
    uint64_t token = 0;
    SessionId id;
    std::string client;  // name, process and user, for logs
    ServerSession transport;
    bool active = false;
    bool ended = false;  // revoked or malformed: waiting for the process to go
    uint64_t heartbeat = 0;
    MonotonicTime heartbeat_changed;
    // A reply that found no room; nothing more is read until it is sent.
    bool blocked = false;
    FrameLabel blocked_label;
    std::vector<uint8_t> blocked_payload;
  };

  LocalServer(const LocalServerOptions& options, const Welcome& welcome,
              const FileDescriptor* arena_file, Core* core, RequestHandler* handler, Poller* poller,
              UnixListener listener);

  void AcceptAll(MonotonicTime now);
  absl::Status CheckPeer(const PeerCredentials& peer) const;
  void Greet(uint64_t token, MonotonicTime now);
  absl::Status OpenSession(Greeting greeting, const Hello& hello, MonotonicTime now);
  bool Serve(Session& session, MonotonicTime now);
  // Answers frame_.
  void HandleFrame(Session& session, MonotonicTime now);
  void Answer(Session& session, const RequestHandler::Reply& reply);
  bool SendBlocked(Session& session);
  void Activate(Session& session);
  // Ends the session while its process may live on: what it may still write to stays reserved.
  void End(Session& session, const absl::Status& why);
  void Close(uint64_t token);
  void CheckHeartbeat(Session& session, MonotonicTime now);

  const LocalServerOptions options_;
  const Welcome welcome_;
  const FileDescriptor* const arena_file_;
  Core* const core_;
  RequestHandler* const handler_;
  Poller* const poller_;
  std::unique_ptr<UnixListener> listener_;
  bool accept_paused_ = false;

  uint64_t next_token_ = 1;
  absl::flat_hash_map<uint64_t, Greeting> greetings_;
  absl::flat_hash_map<uint64_t, std::unique_ptr<Session>> sessions_;
  absl::flat_hash_map<SessionId, Session*> by_id_;
  std::vector<Session*> active_;
  size_t blocked_ = 0;
  Frame frame_;
  LocalServerStats stats_;
};

}  // namespace larder
