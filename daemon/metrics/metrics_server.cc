#include "daemon/metrics/metrics_server.h"

#include <netinet/in.h>
#include <prometheus/exposer.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"
#include "daemon/metrics/node_collector.h"
#include "daemon/node/log.h"

namespace larder {
namespace {

constexpr size_t kThreads = 2;
constexpr int kPokesMax = 100;
constexpr std::chrono::milliseconds kPokeInterval{5};

// Connects and hangs up. Where the loopback does not reach the server, nothing happens.
void Poke(int port) {
  const FileDescriptor connection(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!connection) return;
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  (void)connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
}

}  // namespace

MetricsServer::MetricsServer() = default;

MetricsServer::~MetricsServer() {
  if (exposer_ != nullptr) StopExposer();
}

// The exposer's HTTP server looks whether it shall end when a connection comes, or after two
// seconds. A daemon that is being restarted has no such time.
void MetricsServer::StopExposer() {
  std::atomic<bool> ended{false};
  std::thread stopper([&] {
    exposer_ = nullptr;
    ended.store(true);
  });
  for (int i = 0; i < kPokesMax && !ended.load(); ++i) {
    Poke(port_);
    std::this_thread::sleep_for(kPokeInterval);
  }
  stopper.join();
}

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
