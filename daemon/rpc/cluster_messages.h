// The cluster as the Admin service tells of it.
#pragma once

#include <span>

#include "common/clock.h"
#include "common/ids.h"
#include "daemon/core/core.h"
#include "daemon/node/cluster_node.h"
#include "proto/larder/v1/admin.pb.h"

namespace larder {

// REQUIRES: called on the event loop's thread.
void FillCluster(ClusterNode& node, MonotonicTime now, v1::ClusterResponse* response);
void FillHolders(ClusterNode& node, Core& core, const Space& space, std::span<const KeyHash> keys,
                 MonotonicTime now, v1::WhereResponse* response);

}  // namespace larder
