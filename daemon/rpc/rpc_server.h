// The daemon's gRPC endpoint: larder.v1.Store and larder.v1.Admin, with health and reflection.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/status.h"
#include "daemon/node/node.h"
#include "kernels/format/coded_container.h"

namespace larder {

struct RpcServerOptions {
  // "HOST:PORT" (port 0: any free one) or "unix:PATH". There is no authentication: beyond the
  // loopback whoever reaches the port may read, write and remove everything. A Unix socket is for
  // this process's user alone.
  std::string listen = "127.0.0.1:7411";
  // Fetch reads chunks of codec larder that were stored with these, or with the generic one. Put
  // stores with the generic one.
  std::vector<ProfilePointer> profiles = {};
};

// Owns gRPC's threads, which are bounded; a call beyond them is RESOURCE_EXHAUSTED. Thread-safe.
class RpcServer {
 public:
  // `node` outlives the server; it need not run yet, calls wait for it until their deadline.
  // INVALID_ARGUMENT for a malformed address, UNAVAILABLE when it can't be listened on.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(const RpcServerOptions& options,
                                                          Node* node);
  // Ends the calls under way: within seconds, since none waits longer for the core.
  ~RpcServer();

  // As listened on, with the real port.
  const std::string& address() const { return address_; }

 private:
  struct Services;

  RpcServer();

  std::unique_ptr<Services> services_;
  std::string address_;
};

}  // namespace larder
