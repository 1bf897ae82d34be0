// A whole cluster in simulated time: nodes, network, disks, clients, and what goes wrong.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/random.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/sim_client.h"
#include "tests/sim/sim_follow.h"
#include "tests/sim/sim_members.h"
#include "tests/sim/sim_network.h"
#include "tests/sim/sim_node.h"

namespace larder {

struct ClusterSimOptions {
  uint64_t seed = 1;
  SimBugs bugs = {};
  bool faults = true;
  size_t trace_lines = 0;  // of the trace's end; slower with any
};

struct ClusterSimResult {
  std::string failure;  // what went wrong first; empty: nothing
  uint64_t trace_hash = 0;
  uint64_t events = 0;
  SimClientStats clients;
  uint64_t nodes = 0, faults = 0;
  uint64_t questions = 0;  // to directory nodes
  uint64_t fetched_chunks = 0, corrupt_arrivals = 0, hedges = 0, offers_taken = 0;
  std::vector<std::string> trace;  // its last lines
};

// One run, which is a function of its options. First the clients work while things go wrong; then
// everything is healed, and after a while all must be well. Every third seed's cluster has
// directory nodes, whom the others ask; some of these are none any more after the healing. Not
// thread-safe.
class ClusterSim {
 public:
  explicit ClusterSim(const ClusterSimOptions& options);
  ClusterSimResult Run();

 private:
  SimNodeOptions NodeOptions();
  void StartNode(SimNodeId id);
  void Fail(const std::string& why);

  // What goes wrong, and until when.
  void NextFault();
  void Partition(absl::Duration duration);
  void StopOrSlow(absl::Duration duration);
  void KillOne(absl::Duration duration);
  void LeaveOne(absl::Duration duration);
  void HurtEtcd(absl::Duration duration);
  void HurtDisk(absl::Duration duration);
  void Heal();
  void EndDirectories();

  // Whether it is to ask, as all were started.
  bool ShouldAsk(const SimNode& node) const;
  // What the other nodes say that they hold of a chunk, and what they would give: tiers by name.
  // They differ in chunks on disk whose time is over: of these only asking tells.
  struct Holders {
    std::map<std::string, int> say, give;
  };
  Holders HoldersOf(const SimNode& node, const SimChunk& chunk);
  bool IsGiven(const SimNode& node, const SimChunk& chunk) {
    return !HoldersOf(node, chunk).give.empty();
  }

  // What must be in the end.
  void CheckRest(const SimNode& node);
  void CheckIndex(SimNode& node);
  void CheckAsking(SimNode& node);
  void CheckBelief(SimNode& node, const SimChunk& chunk, const Holders& holders);
  void CheckBytes(SimNode& node);
  void CheckFetching();

  SimNode& AnyNode() { return *nodes_[random_.Below(nodes_.size())]; }

  const ClusterSimOptions options_;
  SeededRandom random_;
  EventQueue queue_;
  SimWorld world_;
  SimEtcd etcd_;
  std::unique_ptr<SimNetwork> network_;
  std::vector<std::unique_ptr<SimNode>> nodes_;
  std::unique_ptr<SimFollow> follow_;
  std::vector<std::vector<std::unique_ptr<SimClient>>> clients_;  // by node; some of past lives
  MonotonicTime work_until_;
  bool healed_ = false;
  ClusterSimResult result_;
};

}  // namespace larder
