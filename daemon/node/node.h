// One daemon's data plane: the arena, the core and the event loop that drives it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "common/clock.h"
#include "common/file_descriptor.h"
#include "common/status.h"
#include "daemon/core/core.h"
#include "daemon/node/cluster_node.h"
#include "daemon/node/disk_devices.h"
#include "daemon/node/local_server.h"
#include "daemon/node/poller.h"
#include "daemon/node/task_queue.h"
#include "daemon/node/verifier.h"
#include "daemon/session/request_handler.h"
#include "storage/arena/arena.h"

namespace larder {

struct NodeOptions {
  ArenaOptions arena;
  LocalServerOptions local;
  CoreOptions core;  // its sizes and seed are filled in from the arena
  DiskOptions disk;
  ClusterNodeOptions cluster;
  std::string version;  // of the program, for the other nodes
  // How long the loop polls after the last request before it sleeps; zero never polls.
  absl::Duration spin_limit = absl::Microseconds(100);
  // How long a drain waits for reservations to be committed.
  absl::Duration drain_timeout = absl::Seconds(10);
  // The daemon stops when this descriptor hangs up or becomes readable; -1: none.
  int owner_fd = -1;
};

// Run belongs to one thread, on which the core lives; everything public but the constructor's
// arguments is for any thread.
class Node {
 public:
  // Opens the arena, recovers what is in it and listens. Nothing is served before Run.
  static absl::StatusOr<std::unique_ptr<Node>> Start(const NodeOptions& options);
  ~Node();

  // Serves until Stop, a finished drain or the owner's end.
  void Run();

  // Ends Run soon.
  void Stop();
  // Takes no new clients and chunks; Run ends when nothing is being written any more, or at the
  // drain timeout. Leases do not hold it up: whoever reads in place verifies or sees the end.
  void Drain();

  // Runs `task` with the core on the loop's thread and waits for it; see TaskQueue::Call.
  absl::Status WithCore(MonotonicTime deadline, std::function<void(Core&, MonotonicTime)> task);

  // Opens a space as a client's request would: lasting over restarts.
  // REQUIRES: called on the loop's thread.
  absl::StatusOr<SpaceHandle> OpenSpace(const SpaceDescription& description);
  // Doubts these chunks (see Verifier). REQUIRES: called on the loop's thread.
  void VerifySoon(SpaceHandle space, std::span<const KeyHash> keys);

  // Null when this node is alone. Its functions say on which threads they may be called.
  ClusterNode* cluster() const { return cluster_.get(); }
  // Null without a disk tier. REQUIRES: called on the loop's thread.
  const DiskDevices* disk() const { return disk_.get(); }

  std::span<uint8_t> arena_data() const { return arena_->data(); }
  const std::string& arena_directory() const { return options_.arena.directory; }
  MonotonicTime started() const { return started_; }
  // Tasks of other threads that wait for the loop.
  size_t waiting_tasks() const { return tasks_->size(); }
  const RecoveryReport& recovery() const { return recovery_; }
  uint64_t epoch() const { return epoch_; }
  Arena& arena() { return *arena_; }
  // REQUIRES: called on the loop's thread.
  const LocalServerStats& local_stats() const { return local_->stats(); }

 private:
  explicit Node(const NodeOptions& options) : options_(options) {}
  absl::Status Init();
  absl::Status RecoverSpaces();
  absl::Status StartServing();
  absl::Status OpenDisk();
  absl::Status StartCluster();
  void WriteSpaces();
  void WaitForFirstMemory();
  bool RunOnce();
  // True if a client was among them.
  bool HandleEvents(absl::Duration timeout);
  void Tick(MonotonicTime now);
  // Whether requests that wait may be answered now.
  bool HasAnswers(MonotonicTime now);
  // Answers those for which a disk or a node has brought something; true if anybody was answered.
  bool AnswerWaiting(MonotonicTime now);
  absl::Duration TimeToSleep(MonotonicTime now) const;

  NodeOptions options_;
  std::string spaces_path_;
  uint64_t epoch_ = 0;
  MonotonicTime started_;
  std::unique_ptr<Arena> arena_;
  std::unique_ptr<Core> core_;
  RecoveryReport recovery_;
  std::unique_ptr<Poller> poller_;
  std::unique_ptr<TaskQueue> tasks_;
  std::unique_ptr<DiskDevices> disk_;
  std::unique_ptr<ClusterNode> cluster_;
  uint64_t loads_ended_seen_ = 0;
  std::unique_ptr<Verifier> verifier_;
  std::unique_ptr<RequestHandler> handler_;
  std::unique_ptr<LocalServer> local_;

  std::atomic<bool> stop_{false};
  bool backing_reported_ = false;
  MonotonicTime drain_deadline_;  // zero: not draining
  MonotonicTime last_activity_;
  MonotonicTime crowded_until_;  // others want the core: no polling
  MonotonicTime next_tick_;
  uint32_t polls_ = 0;
};

}  // namespace larder
