// The state behind a Client: its connection, who mends it, and the threads of asynchronous calls.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "client/client.h"
#include "client/connection.h"
#include "client/space_state.h"
#include "common/bounded_queue.h"
#include "common/clock.h"

namespace larder {

// Thread-safe. One thread keeps the connection: it beats its heart, takes in late replies and, when
// it is broken, makes another with growing pauses. Calls never connect themselves, so that without
// a daemon they fail at once.
class ClientCore {
 public:
  explicit ClientCore(ClientOptions options);
  ~ClientCore();

  const ClientOptions& options() const { return options_; }

  // Tries once to connect, within the call timeout; then starts the keeper.
  void Start();

  // Ends the threads after the calls that were handed to them, and the session. The owner calls it,
  // because the last reference may be dropped on one of those threads.
  void Stop();

  MonotonicTime DeadlineOf(const CallOptions& call) const;

  // The connection, or UNAVAILABLE with the reason of the last failure.
  absl::StatusOr<std::shared_ptr<Connection>> Live();

  // The daemon's handle of the space on this connection, opened there if need be.
  absl::StatusOr<uint32_t> HandleOf(SpaceState& space, Connection& connection,
                                    MonotonicTime deadline);

  // Runs `work` on another thread; false when too many calls wait.
  bool RunLater(std::function<void()> work) { return work_.TryPush(std::move(work)); }

  // Learns from a fetch how fast this machine copies; PredictLoad uses it.
  void RecordFetch(uint64_t bytes, absl::Duration took);
  absl::Duration PredictLoad(uint64_t bytes) const;

 private:
  void Keep();
  // One look after the connection; returns how long to sleep before the next.
  absl::Duration KeepOnce(absl::Duration* reconnect_pause);
  void TryConnect(MonotonicTime deadline);

  const ClientOptions options_;
  BoundedQueue<std::function<void()>> work_;

  std::mutex mutex_;  // guards the following
  std::condition_variable wake_keeper_;
  std::shared_ptr<Connection> connection_;
  // Not a status: each caller makes its own, because sanitizers cannot see how copies share one.
  std::string last_failure_ = "not connected yet";
  bool stopping_ = false;

  std::atomic<double> fetch_bytes_per_s_;
  std::vector<std::thread> threads_;
};

}  // namespace larder
