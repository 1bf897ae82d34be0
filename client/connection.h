// One session with a daemon: requests out, replies back, the arena mapped.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "client/client.h"
#include "common/clock.h"
#include "common/file_descriptor.h"
#include "common/status.h"
#include "transport/local/channel.h"
#include "transport/local/handshake.h"
#include "transport/local/message_format.h"

namespace larder {

// Thread-safe: any number of threads call at once; one of the waiting threads receives for all.
// Once broken it stays broken, and the owner makes another.
//
// A call that gave up leaves its request with the daemon. What a late reply grants (a lease, a
// reservation) is given back when it arrives. Until any reply arrives the connection is suspect and
// new calls fail at once, which is the circuit breaker for a daemon that hangs.
class Connection {
 public:
  static absl::StatusOr<std::shared_ptr<Connection>> Establish(const ClientOptions& options,
                                                               MonotonicTime deadline);

  // Sends one request and waits for its reply. The reply's own error is returned as this call's.
  // DEADLINE_EXCEEDED when none came in time, UNAVAILABLE when there is no daemon behind it.
  absl::Status Call(Opcode opcode, std::span<const uint8_t> payload, MonotonicTime deadline,
                    Frame* reply);

  // Sends a request that has no reply, and never waits: what finds no room is kept and sent later,
  // because it gives something back to the daemon. When too much is kept the session is given up,
  // which gives everything back.
  void Post(Opcode opcode, std::span<const uint8_t> payload);

  // Takes in late replies and notices a dead or revoking daemon, without waiting.
  void Poll();

  // Tells the daemon that this process is alive. At least every heartbeat_interval.
  void BeatHeart();
  absl::Duration heartbeat_interval() const { return heartbeat_interval_; }

  // False once the session has ended or the daemon has died: leased bytes may have been given to
  // others. A writer into the arena asks before each chunk, because a dead daemon's successor gives
  // unfinished extents to others, in time. Costs a system call.
  bool intact() const;
  bool broken() const { return broken_.load(std::memory_order_relaxed); }
  bool suspect() const { return suspect_.load(std::memory_order_relaxed); }

  // The bytes [offset, offset + size) of the arena; INTERNAL if the daemon sent nonsense.
  absl::StatusOr<std::span<uint8_t>> ArenaBytes(uint64_t offset, uint64_t size) const;

  // Distinguishes the connections of one process.
  uint32_t generation() const { return generation_; }

 private:
  struct Waiter {
    Frame* reply;
    bool done = false;
  };
  struct OwedRequest {
    Opcode opcode;
    std::vector<uint8_t> payload;
  };

  Connection(ClientHandshake handshake, MemoryMapping arena);

  absl::Status SendWithin(Opcode opcode, uint64_t request_id, std::span<const uint8_t> payload,
                          MonotonicTime deadline);
  absl::Status TrySend(Opcode opcode, uint64_t request_id, std::span<const uint8_t> payload);
  void SendOwed();
  absl::Status WaitForReply(Waiter* waiter, MonotonicTime deadline);
  // Receives what is there; REQUIRES: this thread is the receiver. False when nothing was.
  absl::StatusOr<bool> ReceiveOne();
  // Gives back what the reply to an abandoned request granted.
  void Undo(Opcode opcode, const Frame& reply);
  absl::Status Break(const absl::Status& why);

  ClientHandshake handshake_;
  const MemoryMapping arena_;
  const absl::Duration heartbeat_interval_;
  const uint32_t generation_;

  std::mutex send_mutex_;

  std::mutex mutex_;  // guards what follows, but `received_` belongs to the receiver
  std::condition_variable changed_;
  bool receiver_active_ = false;
  uint64_t next_request_id_ = 1;
  absl::flat_hash_map<uint64_t, Waiter*> waiters_;
  absl::flat_hash_map<uint64_t, Opcode> abandoned_;
  std::vector<OwedRequest> owed_;  // what Post could not send yet
  absl::Status broken_status_;
  Frame received_;

  std::atomic<bool> broken_{false};
  std::atomic<bool> suspect_{false};
};

}  // namespace larder
