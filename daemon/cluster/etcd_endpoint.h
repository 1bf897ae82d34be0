// Where etcd is and how it is reached. Stateless, thread-safe.
#pragma once

#include <grpcpp/channel.h>

#include <memory>
#include <string>
#include <vector>

#include "common/status.h"
#include "daemon/cluster/member_source.h"

namespace larder {

struct EtcdEndpoint {
  std::string address;  // HOST:PORT
  bool tls = false;
};

// What EtcdOptions says, checked. INVALID_ARGUMENT names the option that is wrong.
absl::StatusOr<std::vector<EtcdEndpoint>> CheckEtcdOptions(const EtcdOptions& options);

// A channel that shares no connection with others. Connects when it is used. The files of `options`
// are read here, so that renewed certificates count from the next connection on.
absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenEtcdChannel(const EtcdOptions& options,
                                                               const EtcdEndpoint& endpoint);

}  // namespace larder
