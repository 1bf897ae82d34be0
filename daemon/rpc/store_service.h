// larder.v1.Store: chunks for callers in any language.
#pragma once

#include <span>

#include "common/status.h"
#include "daemon/rpc/core_access.h"
#include "daemon/rpc/payload.h"
#include "proto/larder/v1/store.grpc.pb.h"

namespace larder {

// Thread-safe: gRPC calls it on its own threads. Bytes are copied on those, between the arena and
// pieces that count against one budget; only decisions are taken on the event loop. Leases last as
// long as one chunk's copy, so that a slow reader holds none. `access` outlives it.
class StoreService final : public v1::Store::Service {
 public:
  // `profiles`: those of which chunks of codec larder are read, besides the generic one.
  StoreService(CoreAccess* access, std::span<const ProfilePointer> profiles);

  grpc::Status OpenSpace(grpc::ServerContext* context, const v1::OpenSpaceRequest* request,
                         v1::OpenSpaceResponse* response) override;
  grpc::Status Match(grpc::ServerContext* context, const v1::MatchRequest* request,
                     v1::MatchResponse* response) override;
  grpc::Status Put(grpc::ServerContext* context, grpc::ServerReader<v1::PutRequest>* reader,
                   v1::PutResponse* response) override;
  grpc::Status Fetch(grpc::ServerContext* context, const v1::FetchRequest* request,
                     grpc::ServerWriter<v1::FetchResponse>* writer) override;
  grpc::Status Hint(grpc::ServerContext* context, const v1::HintRequest* request,
                    v1::HintResponse* response) override;

 private:
  using FetchWriter = grpc::ServerWriter<v1::FetchResponse>;

  absl::Status FetchChunks(const grpc::ServerContext& context, const v1::FetchRequest& request,
                           FetchWriter* writer);
  // False when the chunk is not stored.
  absl::StatusOr<bool> ReadChunk(const grpc::ServerContext& context, const SpaceInfo& space,
                                 const WantedChunk& wanted, Payload* payload,
                                 ChunkIdentity* identity);

  CoreAccess* const access_;
  const ContainerCodecs codecs_;
  PayloadBudget budget_;
};

}  // namespace larder
