// larder.v1.Admin: what operators and their tools need.
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "common/status.h"
#include "daemon/rpc/core_access.h"
#include "proto/larder/v1/admin.grpc.pb.h"

namespace larder {

// Thread-safe: gRPC calls it on its own threads. `access` outlives it.
class AdminService final : public v1::Admin::Service {
 public:
  explicit AdminService(CoreAccess* access) : access_(access) {}

  grpc::Status Status(grpc::ServerContext* context, const v1::StatusRequest* request,
                      v1::StatusResponse* response) override;
  grpc::Status Spaces(grpc::ServerContext* context, const v1::SpacesRequest* request,
                      v1::SpacesResponse* response) override;
  grpc::Status Chunks(grpc::ServerContext* context, const v1::ChunksRequest* request,
                      v1::ChunksResponse* response) override;
  grpc::Status Inspect(grpc::ServerContext* context, const v1::InspectRequest* request,
                       v1::InspectResponse* response) override;
  grpc::Status Explain(grpc::ServerContext* context, const v1::KeysRequest* request,
                       v1::ExplainResponse* response) override;
  grpc::Status Pin(grpc::ServerContext* context, const v1::KeysRequest* request,
                   v1::KeysResponse* response) override;
  grpc::Status Unpin(grpc::ServerContext* context, const v1::KeysRequest* request,
                     v1::KeysResponse* response) override;
  grpc::Status Remove(grpc::ServerContext* context, const v1::KeysRequest* request,
                      v1::KeysResponse* response) override;
  grpc::Status Clear(grpc::ServerContext* context, const v1::ClearRequest* request,
                     v1::ClearResponse* response) override;
  grpc::Status Verify(grpc::ServerContext* context, const v1::VerifyRequest* request,
                      grpc::ServerWriter<v1::VerifyResponse>* writer) override;
  grpc::Status RetireDisk(grpc::ServerContext* context, const v1::RetireDiskRequest* request,
                          v1::RetireDiskResponse* response) override;
  grpc::Status Insight(grpc::ServerContext* context, const v1::InsightRequest* request,
                       v1::InsightResponse* response) override;
  grpc::Status Cluster(grpc::ServerContext* context, const v1::ClusterRequest* request,
                       v1::ClusterResponse* response) override;
  grpc::Status Where(grpc::ServerContext* context, const v1::KeysRequest* request,
                     v1::WhereResponse* response) override;
  grpc::Status Drain(grpc::ServerContext* context, const v1::DrainRequest* request,
                     v1::DrainResponse* response) override;

 private:
  using KeysAction =
      absl::FunctionRef<absl::StatusOr<uint32_t>(Core&, SpaceHandle, std::span<const KeyHash>)>;

  // Runs `action` on the chunks of the request.
  absl::Status ExplainKeys(const grpc::ServerContext& context, const v1::KeysRequest& request,
                           v1::ExplainResponse* response);
  absl::Status FindHolders(const grpc::ServerContext& context, const v1::KeysRequest& request,
                           v1::WhereResponse* response);
  absl::StatusOr<ClusterNode*> NodeOfCluster() const;
  absl::Status WithKeys(const grpc::ServerContext& context, const v1::KeysRequest& request,
                        v1::KeysResponse* response, KeysAction action);
  absl::Status ListSpaces(const grpc::ServerContext& context, const v1::SpacesRequest& request,
                          v1::SpacesResponse* response);
  absl::Status ClearAll(const grpc::ServerContext& context, const v1::ClearRequest& request,
                        uint64_t* removed);

  CoreAccess* const access_;
};

}  // namespace larder
