#include "daemon/metrics/metrics_server.h"

#include <prometheus/exposer.h>

#include <exception>

#include "absl/strings/str_cat.h"
#include "daemon/metrics/node_collector.h"
#include "daemon/node/log.h"

namespace larder {
namespace {

constexpr size_t kThreads = 2;

}  // namespace

MetricsServer::MetricsServer() = default;
MetricsServer::~MetricsServer() = default;

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(
    const MetricsServerOptions& options, Node* node) {
  std::unique_ptr<MetricsServer> server(new MetricsServer);
  server->collector_ = std::make_shared<NodeCollector>(node);
  // The library's way to fail.
  try {
    server->exposer_ = std::make_unique<prometheus::Exposer>(options.listen, kThreads);
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrCat("cannot serve metrics on ", options.listen, ": ", error.what()));
  }
  server->exposer_->RegisterCollectable(server->collector_);
  const std::vector<int> ports = server->exposer_->GetListeningPorts();
  if (!ports.empty()) server->port_ = ports.front();
  LogInfo("metrics ready", {{"listen", options.listen}, {"port", absl::StrCat(server->port_)}});
  return server;
}

}  // namespace larder
