// Ties a node to its cluster: finds the members, follows what they hold.
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "common/status.h"
#include "daemon/cluster/member_source.h"
#include "daemon/node/cluster_node.h"
#include "daemon/rpc/cluster_source.h"
#include "daemon/rpc/index_followers.h"

namespace larder {

// What the node lets others read of it, for the Cluster service. `node` outlives it.
std::unique_ptr<ClusterSource> MakeClusterSource(ClusterNode* node);

// Thread-safe. While it lives, the node is a member.
class ClusterLink {
 public:
  // `node` outlives it. `rpc_address`: where this node's gRPC services listen; empty: nowhere,
  // which is an error. INVALID_ARGUMENT names the setting that is wrong.
  static absl::StatusOr<std::unique_ptr<ClusterLink>> Start(ClusterNode* node,
                                                            const std::string& rpc_address);
  // Leaves, if that takes no longer than a moment.
  ~ClusterLink();

 private:
  explicit ClusterLink(ClusterNode* node);
  absl::Status StartMembers(const std::string& rpc_address);
  void OnMembersChanged();

  ClusterNode* const node_;
  const std::unique_ptr<FollowHandler> sink_;
  std::unique_ptr<IndexFollowers> followers_;
  std::mutex mutex_;  // of the pointer: the source's thread may have news before it is known here
  std::unique_ptr<MemberSource> members_;
};

}  // namespace larder
