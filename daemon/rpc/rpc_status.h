// The one place where our statuses become gRPC's.
#pragma once

#include <grpcpp/support/status.h>

#include "common/status.h"

namespace larder {

// The codes are numbered alike; the message is bounded, since it travels in a header.
inline grpc::Status ToGrpcStatus(const absl::Status& status) {
  constexpr size_t kMessageBytesMax = 1024;
  if (status.ok()) return grpc::Status::OK;
  return {static_cast<grpc::StatusCode>(status.code()),
          std::string(status.message().substr(0, kMessageBytesMax))};
}

}  // namespace larder
