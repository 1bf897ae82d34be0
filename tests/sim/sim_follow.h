// How the nodes of the simulation follow each other's logs: one stream for each pair.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "common/random.h"
#include "daemon/index/index_follower.h"
#include "tests/sim/sim_node.h"

namespace larder {

// Streams open, stall, break and open again, as the network has it. Batches keep their order. Not
// thread-safe; the nodes outlive it.
class SimFollow {
 public:
  struct Faults {
    double loses = 0;    // this share of the batches, and the stream with them
    double garbles = 0;  // this share makes no sense to the follower
  };

  SimFollow(SimWorld* world, std::vector<std::unique_ptr<SimNode>>* nodes, uint64_t seed);

  // The node's log has something new.
  void OnGrowth(SimNodeId publisher);

  Faults faults;

 private:
  struct Stream {
    SimNodeId follower = 0, publisher = 0;
    uint64_t follower_life = 0, publisher_life = 0;
    bool open = true;
    // The publisher's side.
    bool begun = false;
    uint64_t next = 0;  // delta
    std::optional<uint64_t> cursor;
    bool in_snapshot = false;
    uint64_t part = 0;
    uint32_t in_flight = 0;
    MonotonicTime sent_at;
    // The follower's.
    MonotonicTime heard_at;
    MonotonicTime last_arrival;
    std::deque<FollowBatch> inbox;
    bool taking = false;
  };
  using StreamPointer = std::shared_ptr<Stream>;
  using Pair = std::pair<SimNodeId, SimNodeId>;  // follower, publisher

  void Pulse();
  void Open(SimNode& follower, SimNode& publisher);
  void Begin(const StreamPointer& stream, FollowPosition position);
  // Sends as much as may be under way.
  void Publish(const StreamPointer& stream, bool even_nothing);
  bool NextBatch(Stream& stream, bool even_nothing, FollowBatch* batch);
  void Arrive(const StreamPointer& stream, FollowBatch batch);
  void Take(const StreamPointer& stream);
  void End(const StreamPointer& stream, bool broken);
  SimNode& NodeAt(SimNodeId id) { return *(*nodes_)[id]; }

  SimWorld* const world_;
  std::vector<std::unique_ptr<SimNode>>* const nodes_;
  SeededRandom random_;
  std::map<Pair, StreamPointer> streams_;
  std::map<Pair, MonotonicTime> open_at_;
};

}  // namespace larder
