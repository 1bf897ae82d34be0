// Reading and summing everything that is stored.
#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/sync_stream.h>

#include <optional>
#include <vector>

#include "common/ids.h"
#include "common/status.h"
#include "daemon/rpc/core_access.h"
#include "proto/larder/v1/admin.pb.h"

namespace larder {

// One walk, as Admin.Verify says. It leases one chunk at a time and counts as no use of any.
// Belongs to one RPC's thread; what it is given outlives it.
class VerifyWalk {
 public:
  using Writer = grpc::ServerWriter<v1::VerifyResponse>;

  VerifyWalk(const grpc::ServerContext& context, CoreAccess* access, Writer* writer)
      : context_(context), access_(access), writer_(writer) {}

  // All spaces without one. CANCELLED when the caller has gone.
  absl::Status Run(std::optional<SpaceId> space);

 private:
  struct ChunkName {
    SpaceHandle space;
    KeyHash key;
  };

  absl::Status Begin(std::optional<SpaceId> space);
  absl::Status ListSome(std::optional<ChunkIndex>* cursor, std::vector<ChunkName>* chunks);
  absl::Status VerifyChunk(const ChunkName& chunk);
  absl::Status Quarantine(const ChunkName& chunk, const SpaceId& space, const absl::Status& why);
  absl::Status ReportProgress();
  absl::Status Send(const v1::VerifyResponse& response);

  const grpc::ServerContext& context_;
  CoreAccess* const access_;
  Writer* const writer_;
  std::optional<SpaceHandle> only_;
  std::optional<SpaceInfo> space_;  // of the last chunk
  v1::VerifyProgress progress_;
  MonotonicTime next_report_;
};

}  // namespace larder
