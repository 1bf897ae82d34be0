// Follows other nodes' chunks over gRPC, each on a thread of its own.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "daemon/index/index_follower.h"

namespace larder {

struct FollowedNode {
  std::string name;
  uint64_t epoch = 0;  // as membership knows it
  std::string rpc_address;

  friend bool operator==(const FollowedNode&, const FollowedNode&) = default;
};

// What comes of it, in the order in which it comes, on one thread for each node. A call may wait
// for the event loop, but no longer than a second or so.
class FollowHandler {
 public:
  virtual ~FollowHandler() = default;

  // As the methods of IndexFollower. `batch` may be moved from when it is taken.
  virtual FollowPosition OnStreamOpen(const std::string& node) = 0;
  virtual IndexFollower::Taken OnBatch(const std::string& node, FollowBatch& batch) = 0;
  // For each OnStreamOpen. `broken`: the node sent what makes no sense.
  virtual void OnStreamEnd(const std::string& node, absl::StatusCode code, const std::string& why,
                           bool broken) = 0;
};

struct IndexFollowersOptions {
  std::string self;  // this node's name
  std::string cluster;
  std::string secret;
  // Nodes speak once a second; one that says nothing for so long is asked anew.
  absl::Duration silence_max = absl::Seconds(5);
  // A batch that is not taken yet is offered again after this time, and given up after that.
  absl::Duration offer_interval = absl::Milliseconds(2);
  absl::Duration offer_max = absl::Seconds(30);
  // Between streams; it doubles as long as no batch is taken.
  absl::Duration backoff_min = absl::Milliseconds(50);
  absl::Duration backoff_max = absl::Seconds(3);
};

struct FollowedNodeStats {
  std::string name;
  bool connected = false;
  uint64_t streams = 0;
  uint64_t batches = 0;
  uint64_t events = 0;
  uint64_t bytes = 0;      // of messages
  uint64_t broken = 0;     // streams that ended with something that makes no sense
  std::string last_error;  // why the last stream ended
};

// Thread-safe. When a node's address or epoch changes its stream is made anew; calls for the old
// one are over before those for the new one begin.
class IndexFollowers {
 public:
  // `handler` outlives it.
  IndexFollowers(const IndexFollowersOptions& options, FollowHandler* handler);
  // Ends all streams; no call of the handler runs afterwards.
  ~IndexFollowers();

  // Follows these, and no longer those that are not named. Does not wait for streams to end.
  void SetNodes(const std::vector<FollowedNode>& nodes);
  std::vector<FollowedNodeStats> Stats() const;

 private:
  class Thread;

  const IndexFollowersOptions options_;
  FollowHandler* const handler_;
  mutable std::mutex mutex_;
  std::map<std::string, std::shared_ptr<Thread>> threads_;
  std::vector<std::shared_ptr<Thread>> ending_;
};

}  // namespace larder
