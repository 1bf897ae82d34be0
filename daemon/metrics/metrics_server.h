// The daemon's metrics over HTTP, at /metrics.
#pragma once

#include <memory>
#include <string>

#include "common/status.h"
#include "daemon/node/node.h"

namespace prometheus {
class Exposer;
}  // namespace prometheus

namespace larder {

class NodeCollector;

struct MetricsServerOptions {
  // "HOST:PORT" (port 0: any free one). There is no authentication, and tenants and models can be
  // read.
  std::string listen = "127.0.0.1:7412";
};

// Owns the HTTP server's threads. Thread-safe.
class MetricsServer {
 public:
  // `node` outlives the server; it need not run yet. UNAVAILABLE when the address can't be listened
  // on.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(const MetricsServerOptions& options,
                                                              Node* node);
  // Waits for the scrapes under way, which wait no longer than a second for the node.
  ~MetricsServer();

  int port() const { return port_; }

 private:
  MetricsServer();
  // Ends the exposer without its usual delay of two seconds.
  void StopExposer();

  // The exposer refers to the collector weakly and goes first.
  std::shared_ptr<NodeCollector> collector_;
  std::unique_ptr<prometheus::Exposer> exposer_;
  int port_ = 0;
};

}  // namespace larder
