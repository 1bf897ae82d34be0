// larder.v1.Cluster: what other nodes ask this one.
#pragma once

#include <string>

#include "common/status.h"
#include "daemon/rpc/cluster_source.h"
#include "daemon/rpc/follow_stream.h"
#include "proto/larder/v1/cluster.grpc.pb.h"

namespace larder {

struct ClusterServiceOptions {
  std::string cluster;
  std::string secret;  // empty: the callers have none either
  FollowServerOptions follow;
};

// Thread-safe: gRPC calls it on its own threads. A stream of Follow holds none of them while there
// is nothing to send. `source` outlives it; REQUIRES: the server is shut down before it goes.
class ClusterService final : public v1::Cluster::WithCallbackMethod_Follow<v1::Cluster::Service> {
 public:
  ClusterService(const ClusterServiceOptions& options, ClusterSource* source)
      : options_(options), source_(source), followers_(source, options.follow) {}

  grpc::Status Describe(grpc::ServerContext* context, const v1::DescribeRequest* request,
                        v1::DescribeResponse* response) override;
  grpc::ServerWriteReactor<v1::FollowResponse>* Follow(grpc::CallbackServerContext* context,
                                                       const v1::FollowRequest* request) override;

  size_t followers() const { return followers_.followers(); }

 private:
  absl::Status Check(const std::string& cluster, const std::string& proof) const;

  const ClusterServiceOptions options_;
  ClusterSource* const source_;
  FollowServer followers_;
};

}  // namespace larder
