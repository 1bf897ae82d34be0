// Where the streams of other nodes' logs go.
#pragma once

#include <string>

#include "daemon/index/index_follower.h"

namespace larder {

// Called on the followers' threads, never two at once for one node. Each call is answered by the
// event loop, in bounded time.
class FollowSink {
 public:
  virtual ~FollowSink() = default;

  // Where a new stream of the node is to begin.
  virtual FollowPosition OnOpen(const std::string& node) = 0;
  virtual IndexFollower::Taken OnBatch(const std::string& node, FollowBatch batch) = 0;
  // `broken`: what came could not be understood.
  virtual void OnEnd(const std::string& node, bool broken) = 0;
};

}  // namespace larder
