// FollowBatch and the message that carries it. Stateless, thread-safe.
#pragma once

#include "common/status.h"
#include "daemon/index/index_follower.h"
#include "proto/larder/v1/cluster.pb.h"

namespace larder {

void ToMessage(const FollowBatch& batch, v1::FollowResponse* response);
// INVALID_ARGUMENT: what is wrong with it.
absl::StatusOr<FollowBatch> ParseFollowResponse(const v1::FollowResponse& response);

}  // namespace larder
