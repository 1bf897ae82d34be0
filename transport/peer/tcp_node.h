// One node's TCP transport: the protocol over a PeerIo.
//
// Threads: the engine's thread receives, meets peers, keeps time and calls the handler. Callers
// queue what they send; where nothing is in its way they send it themselves. One mutex guards all
// state and is never held during a system call that moves data, nor during a callback: who sends on
// a connection marks it as his for that time.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/bounded_queue.h"
#include "transport/peer/peer_io.h"
#include "transport/peer/tcp_parts.h"

namespace larder {

class TcpNode final : public PeerTransport {
 public:
  TcpNode(const PeerTransportOptions& options, PeerMemory memory, PeerHandler* handler,
          std::unique_ptr<PeerIo> io);
  ~TcpNode() override;
  absl::Status Listen();
  void StartThread();

  absl::Status SetPeers(std::vector<PeerAddress> peers) override;
  absl::Status Send(const std::string& node, std::span<const uint8_t> payload) override;
  absl::Status SendAfter(const std::string& node, std::span<const uint8_t> payload, uint64_t window,
                         uint64_t window_bytes) override;
  absl::Status OpenWindow(uint64_t window, const std::string& node, WindowAccess access,
                          std::vector<MemoryRange> ranges, PayloadSum sum) override;
  absl::StatusOr<WindowState> CloseWindow(uint64_t window) override;
  absl::StatusOr<WriteState> Write(const std::string& node, PeerTransfer write) override;
  absl::Status Read(const std::string& node, PeerTransfer read) override;
  PeerTransportStats Stats() const override;
  std::string listen_address() const override { return listen_address_; }

 private:
  using Lock = std::unique_lock<std::mutex>;
  using ConnectionPtr = std::shared_ptr<Connection>;
  using SessionPtr = std::shared_ptr<Session>;
  using TransferPtr = std::shared_ptr<Transfer>;
  using WindowPtr = std::shared_ptr<Window>;

  // All below with the mutex held, unless said otherwise. A Lock argument: it is released and taken
  // again in between.

  // tcp_node.cc: callers.
  absl::StatusOr<SessionPtr> FindSession(const std::string& node);
  absl::Status SendMessage(const std::string& node, std::span<const uint8_t> payload,
                           uint64_t window, uint64_t window_bytes);
  void WakeBy(MonotonicTime time);
  void FinishCall(Lock& lock);  // wakes the engine when it must; the mutex is free afterwards

  // tcp_output.cc
  // Sends what is to be sent on the connection until it would block. A caller's thread sends
  // messages and small writes only, and leaves the rest to the engine.
  // By value: the session may lose the connection meanwhile.
  void Pump(Lock& lock, ConnectionPtr connection, bool is_engine);
  void PumpAll(Lock& lock, const SessionPtr& session);
  bool NextOutput(Connection& connection, bool is_engine);
  bool NextPiece(Connection& connection, bool is_engine);
  ssize_t SendSome(Connection& connection);  // without the mutex
  void FinishOutput(Connection& connection);
  void ReleaseOutput(Connection& connection);
  void ReleasePiece(const SessionPtr& session, const TransferPtr& transfer, bool ok);
  void StopTransfer(const SessionPtr& session, const TransferPtr& transfer);
  void EndIfDone(const SessionPtr& session, const TransferPtr& transfer);
  void QueueControl(Connection& connection, PeerFrame frame);

  // tcp_engine.cc: the engine's thread.
  void Run();
  void Drain(Lock& lock);
  void Handle(Lock& lock, const PeerIoEvent& event);
  void DoRequests(Lock& lock);
  void DivertFrom(Lock& lock, const WindowPtr& window);
  void RunNotices(Lock& lock);
  void Accept(Lock& lock);
  void Scan(Lock& lock, MonotonicTime now);
  void ScanConnection(Lock& lock, const ConnectionPtr& connection, MonotonicTime now, bool judge);
  void ScanSession(const SessionPtr& session, MonotonicTime now);
  void DropUnnamed(Lock& lock);
  size_t CountUnauthenticated() const;
  void OnBroken(Lock& lock, const ConnectionPtr& connection, absl::string_view what);
  ConnectionPtr AddConnection(FileDescriptor fd, bool dialled);
  void StartReceive(const ConnectionPtr& connection);
  void OnReceived(Lock& lock, const ConnectionPtr& connection, int64_t result);
  void Close(Lock& lock, const ConnectionPtr& connection, absl::string_view why);
  void Reap(Lock& lock, const ConnectionPtr& connection);
  void ReleaseInput(Connection& connection);

  // tcp_frames.cc: what comes in a session.
  absl::Status OnHeader(const ConnectionPtr& connection);
  absl::Status OnFrame(Lock& lock, const ConnectionPtr& connection);
  absl::Status OnMessageFrame(Connection& connection);
  void OnWriteFrame(const ConnectionPtr& connection);
  absl::Status OnReadFrame(const ConnectionPtr& connection);
  absl::Status OnTakenFrame(Connection& connection);
  void HandMessage(const SessionPtr& session, std::vector<uint8_t> payload, uint64_t window);
  void ReleaseWindow(const WindowPtr& window);
  void ReportClosed(const WindowPtr& window);
  void EndRead(const SessionPtr& session, uint64_t reply_window, bool ok);

  // tcp_meeting.cc: connecting, handshakes, and the life of sessions.
  // Dials what is missing, when its time has come.
  void DialMissing(const std::string& node, Peer& peer, MonotonicTime now);
  void DialAt(const std::string& node, Peer& peer, const SocketAddress& address);
  std::vector<uint32_t> Missing(const Peer& peer) const;
  absl::Status Dial(const std::string& node, Peer& peer, uint32_t number,
                    const SocketAddress& address);
  void DialFailed(Peer& peer, absl::string_view why);
  void Resolve();  // the resolver's thread; without the mutex
  void OnConnected(Lock& lock, const ConnectionPtr& connection);
  void Meet(Lock& lock, const ConnectionPtr& connection);
  void MeetHello(Lock& lock, const ConnectionPtr& connection, std::vector<uint8_t> payload);
  void MeetChallenge(Lock& lock, const ConnectionPtr& connection, std::vector<uint8_t> payload);
  void MeetProof(Lock& lock, const ConnectionPtr& connection, std::span<const uint8_t> payload);
  void MeetWelcome(Lock& lock, const ConnectionPtr& connection, std::span<const uint8_t> payload);
  // Before and after the proof.
  std::optional<PeerRefusal> Judge(const PeerHello& hello) const;
  std::optional<PeerRefusal> JudgeProved(const PeerHello& hello) const;
  void OnRefused(Lock& lock, const ConnectionPtr& connection, std::span<const uint8_t> payload);
  void Refuse(Lock& lock, const ConnectionPtr& connection, PeerRefusal reason,
              absl::string_view text);
  void Welcome(Lock& lock, const ConnectionPtr& connection);
  void Join(const ConnectionPtr& connection, uint64_t epoch);
  void EndSession(Lock& lock, const SessionPtr& session, absl::string_view why);
  void FinishSession(Lock& lock, const SessionPtr& session);

  const PeerTransportOptions options_;
  const PeerMemory memory_;
  PeerHandler* const handler_;
  const std::unique_ptr<PeerIo> io_;
  FileDescriptor listener_;
  std::string listen_address_;
  SocketOptions socket_options_;

  mutable std::mutex mutex_;
  bool stopping_ = false;
  bool asleep_ = false;     // the engine waits, and must be woken
  bool must_wake_ = false;  // at the end of this call
  MonotonicTime next_scan_;
  MonotonicTime next_pause_;
  std::map<std::string, Peer> peers_;
  std::map<uint64_t, ConnectionPtr> connections_;  // until nothing of them is under way
  uint64_t next_id_ = 2;
  uint64_t next_reply_window_ = kWindowMax + 1;
  WindowTable windows_;
  bool file_works_ = options_.send_file;  // and not refused yet
  std::array<uint64_t, kPeerRefusals> refused_ = {}, refusals_ = {};
  // For the engine's thread.
  std::deque<std::function<void()>> notices_;  // callbacks, in order
  std::vector<ConnectionPtr> attention_;       // to be sent on, waited for, or buried
  std::vector<WindowPtr> closing_;
  bool peers_changed_ = false;
  bool listening_ = false;  // an event of the listener is awaited
  struct Resolved {
    std::string node;
    absl::StatusCode code = absl::StatusCode::kOk;
    std::string error;
    SocketAddress address;
  };
  std::vector<Resolved> resolved_;

  BoundedQueue<PeerAddress> to_resolve_{kPeersMax};
  std::thread resolver_;
  std::thread thread_;  // last: started when all else is there
};

}  // namespace larder
