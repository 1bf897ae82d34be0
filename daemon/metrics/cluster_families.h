// What a node knows of its cluster as Prometheus metrics.
#pragma once

#include <prometheus/metric_family.h>

#include <vector>

#include "daemon/cluster/cluster_core.h"
#include "daemon/node/cluster_node.h"

namespace larder {

// What the event loop knows; a plain value.
struct ClusterSample {
  ClusterCore::Stats stats;
  bool asks = false;
  std::vector<ClusterCore::PeerStatus> peers;  // at most the members that a cluster may have
};

// For the event loop's thread.
ClusterSample TakeClusterSample(ClusterNode& node, MonotonicTime now);

// For any thread.
void AddCluster(const ClusterNode& node, const ClusterSample& sample,
                std::vector<prometheus::MetricFamily>* families);

}  // namespace larder
