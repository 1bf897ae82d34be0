// What Admin tells about chunks: pages of them, and everything about one.
#pragma once

#include <grpcpp/server_context.h>

#include "common/status.h"
#include "daemon/rpc/core_access.h"
#include "proto/larder/v1/admin.pb.h"

namespace larder {

// One chunk of a list.
void FillChunk(const Space& space, const ChunkInfo& chunk, MonotonicTime now,
               v1::ChunkStatus* status);

// As Admin.Chunks says. Thread-safe. The core is asked in bounded steps, so that a listing never
// holds up the event loop.
absl::Status ListChunks(const grpc::ServerContext& context, CoreAccess* access,
                        const v1::ChunksRequest& request, v1::ChunksResponse* response);

// As Admin.Inspect says. Thread-safe. The containers are read on the caller's thread, under a
// lease.
absl::Status InspectChunk(const grpc::ServerContext& context, CoreAccess* access,
                          const v1::InspectRequest& request, v1::InspectResponse* response);

}  // namespace larder
