#include "daemon/rpc/cluster_service.h"

#include <memory>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "daemon/cluster/proof.h"
#include "daemon/rpc/rpc_status.h"

namespace larder {
namespace {

constexpr size_t kShownBytesMax = 64;

// Ends at once, and goes when gRPC has done with it.
class RefusedStream final : public grpc::ServerWriteReactor<v1::FollowResponse> {
 public:
  static grpc::ServerWriteReactor<v1::FollowResponse>* Make(const grpc::Status& status) {
    auto stream = std::make_unique<RefusedStream>();
    stream->Finish(status);
    return stream.release();
  }
  void OnDone() override { std::unique_ptr<RefusedStream> last(this); }
};

}  // namespace

absl::Status ClusterService::Check(const std::string& cluster, const std::string& proof) const {
  if (cluster != options_.cluster) {
    return absl::FailedPreconditionError(
        absl::StrCat("cluster: this node belongs to \"", options_.cluster, "\", not to \"",
                     absl::CHexEscape(cluster.substr(0, kShownBytesMax)), "\""));
  }
  if (!ProvesCluster(proof, options_.secret, cluster)) {
    return absl::PermissionDeniedError("proof: not of this cluster's secret");
  }
  return absl::OkStatus();
}

grpc::Status ClusterService::Describe(grpc::ServerContext* /*context*/,
                                      const v1::DescribeRequest* request,
                                      v1::DescribeResponse* response) {
  absl::Status status = Check(request->cluster(), request->proof());
  if (status.ok()) status = source_->Describe(response);
  return ToGrpcStatus(status);
}

grpc::ServerWriteReactor<v1::FollowResponse>* ClusterService::Follow(
    grpc::CallbackServerContext* context, const v1::FollowRequest* request) {
  const absl::Status status = Check(request->cluster(), request->proof());
  if (!status.ok()) return RefusedStream::Make(ToGrpcStatus(status));
  return followers_.Open(context,
                         {.epoch = request->epoch(), .sequence = request->from_sequence()});
}

}  // namespace larder
