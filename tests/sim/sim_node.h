// One node of the simulation: the daemon's pure parts, with everything around them simulated.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "common/random.h"
#include "daemon/cluster/cluster_core.h"
#include "daemon/cluster/members.h"
#include "daemon/core/core.h"
#include "daemon/index/event_log.h"
#include "storage/arena/block_table.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/sim_chunks.h"
#include "tests/sim/sim_disk.h"
#include "tests/sim/sim_members.h"
#include "tests/sim/sim_network.h"

namespace larder {

// Deliberate errors, with which the tests see that the checks are able to fail.
struct SimBugs {
  bool believes_arrivals = false;   // what comes is not summed
  bool forgets_removals = false;    // other nodes are not told of some of them
  bool forgets_windows = false;     // closing one has no effect
  bool loses_disk_results = false;  // some are never reported
  bool forgets_leases = false;      // clients do not give some of them back
  bool loses_answers = false;       // some of directory nodes are never heard
};

// What all parts of one simulation share.
struct SimWorld {
  EventQueue* queue = nullptr;
  SimNetwork* network = nullptr;
  SimEtcd* etcd = nullptr;
  SimBugs bugs = {};
  // Something that must not be has happened.
  std::function<void(const std::string&)> fail;
  // The node's log has something new.
  std::function<void(SimNodeId)> log_grew;
};

struct SimNodeOptions {
  uint64_t granules = 128;
  uint32_t disk_segments = 0;  // 0: no disk
  DiskMode disk_mode = DiskMode::kWriteBack;
  size_t log_events = 256;
  double clock_drift = 0;        // its clock's error, per second
  absl::Duration clock_offset;   // of the monotonic clock
  absl::Duration calendar_skew;  // of the calendar
  ClusterCoreOptions cluster = {};
};

inline std::string SimNodeName(SimNodeId id) { return "node" + std::to_string(id); }

// Memory and disk outlive the daemon, unless they are taken away. Not thread-safe.
class SimNode final : public SimNetwork::Port {
 public:
  SimNode(SimWorld* world, SimNodeId id, const SimNodeOptions& options, uint64_t seed);

  void Start();
  // Whether it is a directory node from its next start on.
  void SetDirectory(bool directory) { directory_ = directory; }
  bool directory() const { return directory_; }
  // What is lost with it: nothing, as of kill -9; memory, as of a reboot; or all of it.
  enum class Loss : uint8_t { kNothing, kMemory, kAll };
  void Kill(Loss loss);
  // Offers what it holds to others, then leaves the cluster and ends.
  void Drain(absl::Duration patience);

  SimNodeId id() const { return id_; }
  SimHost& host() { return host_; }
  bool running() const { return cluster_ != nullptr; }
  Core& core() { return *core_; }
  ClusterCore& cluster() { return *cluster_; }
  EventLog& log() { return *log_; }
  uint64_t epoch() const { return epoch_; }
  SimDisk* disk() { return disk_ ? &*disk_ : nullptr; }
  std::span<uint8_t> arena() { return arena_; }
  const SpaceId& IdOf(uint32_t space) const { return core_->FindSpace(space)->id; }
  // The members that it goes by, without itself.
  const std::set<SimNodeId>& others() const { return others_; }

  // By the node's own clock.
  MonotonicTime Now() const { return ToLocal(world_->queue->now()); }

  // Does something in the daemon of that life, and then whatever follows from it.
  void Do(uint64_t life, EventQueue::Action action);
  // Moves what has changed to the log.
  void FlushEvents();

  // SimNetwork::Port
  void OnPeerUp(SimNodeId node, uint64_t epoch) override;
  void OnPeerDown(SimNodeId node, uint64_t epoch) override;
  void OnMessage(SimNodeId node, std::vector<uint8_t> payload, uint64_t window) override;
  void OnWritten(uint64_t token) override;
  void OnWindowClosed(uint64_t window) override;

 private:
  MonotonicTime ToLocal(MonotonicTime time) const;
  MonotonicTime ToGlobal(MonotonicTime local) const;
  int64_t UnixMs() const;
  void MakeCore(bool recover);
  void AttachDisk();
  // Carries on until nothing more follows at once.
  void Pump();
  bool PassDiskOrders();
  bool PassClusterOrders();
  void CarryOut(ClusterOrder& order);
  void SetWakeup();
  void Tick();
  void LookAtMembers();
  void EndDrain();

  SimWorld* const world_;
  const SimNodeId id_;
  const SimNodeOptions options_;
  SeededRandom random_;
  SimHost host_;
  CoreOptions core_options_;
  BlockTableGeometry geometry_;
  std::vector<uint8_t> arena_;
  std::vector<uint64_t> table_memory_;
  bool has_table_ = false;
  bool directory_ = false;
  std::optional<SimDisk> disk_;

  // Of the daemon that runs.
  uint64_t epoch_ = 0;
  std::optional<BlockTable> table_;
  std::unique_ptr<Core> core_;
  std::unique_ptr<ClusterCore> cluster_;
  std::unique_ptr<EventLog> log_;
  std::optional<MemberTable> members_;
  std::set<SimNodeId> others_;
  bool drains_ = false;
  MonotonicTime wakeup_;  // set: an event is under way for it
  uint64_t wakeups_ = 0;
  uint64_t ticks_ = 0;
};

}  // namespace larder
