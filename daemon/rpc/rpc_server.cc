#include "daemon/rpc/rpc_server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/file_descriptor.h"
#include "daemon/node/log.h"
#include "daemon/rpc/admin_service.h"
#include "daemon/rpc/cluster_link.h"
#include "daemon/rpc/cluster_service.h"
#include "daemon/rpc/core_access.h"
#include "daemon/rpc/payload.h"
#include "daemon/rpc/store_service.h"

namespace larder {
namespace {

constexpr absl::string_view kUnixPrefix = "unix:";
// A Put's piece, or kRpcKeysMax of the longest keys, with room for the framing.
constexpr int kReceivedBytesMax = static_cast<int>(kPieceBytesMax) + (64 << 10);
// One a call under way, and a few that wait for the next ones.
constexpr int kThreadsMax = 64;
constexpr int kStreamsPerConnectionMax = 64;
// A caller that is gone without a word is noticed by its silence, one that dawdles by the age of
// its connection; what it holds is given back then.
constexpr int kKeepaliveMs = 20'000;
constexpr int kConnectionAgeMaxMs = 30 * 60'000;
constexpr int kConnectionGraceMs = 30 * 60'000;
constexpr std::chrono::milliseconds kShutdownGrace{500};

struct ListenAddress {
  std::string unix_path;  // empty: TCP
  std::string host;
};

absl::StatusOr<ListenAddress> ParseListen(const std::string& listen) {
  if (absl::StartsWith(listen, kUnixPrefix)) {
    const std::string path = listen.substr(kUnixPrefix.size());
    if (path.empty() || path.size() >= sizeof(sockaddr_un::sun_path)) {
      return absl::InvalidArgumentError(absl::StrCat("rpc listen address \"", listen,
                                                     "\": the path of a Unix socket has 1 to ",
                                                     sizeof(sockaddr_un::sun_path) - 1, " bytes"));
    }
    return ListenAddress{.unix_path = path, .host = ""};
  }
  const size_t colon = listen.rfind(':');
  int port = -1;
  if (colon == std::string::npos || colon == 0 ||
      !absl::SimpleAtoi(listen.substr(colon + 1), &port) || port < 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("rpc listen address \"", listen, "\" is neither HOST:PORT nor unix:PATH"));
  }
  return ListenAddress{.unix_path = "", .host = listen.substr(0, colon)};
}

bool IsLoopback(absl::string_view host) {
  return host == "localhost" || host == "[::1]" || absl::StartsWith(host, "127.");
}

// gRPC takes over a Unix socket's name even when somebody answers there.
absl::Status CheckUnanswered(const std::string& path) {
  FileDescriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!probe) return ErrnoStatus(errno, "probing the rpc socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  if (connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return absl::OkStatus();
  }
  return absl::UnavailableError(absl::StrCat("another process answers on unix:", path));
}

void Configure(grpc::ServerBuilder* builder) {
  grpc::ResourceQuota quota("larder rpc");
  quota.SetMaxThreads(kThreadsMax);
  builder->SetResourceQuota(quota);
  builder->SetMaxReceiveMessageSize(kReceivedBytesMax);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsPerConnectionMax);
  // Two daemons must not share a port without knowing of each other.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder->AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveMs);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, kConnectionAgeMaxMs);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, kConnectionGraceMs);
}

}  // namespace

// Destroyed from the last to the first: the server before the services that it calls.
struct RpcServer::Services {
  Services(const RpcServerOptions& options, Node* node)
      : access(node), store(&access, options.profiles), admin(&access) {
    if (node->cluster() == nullptr) return;
    source = MakeClusterSource(node->cluster());
    cluster.emplace(ClusterServiceOptions{.cluster = node->cluster()->options().name,
                                          .secret = node->cluster()->secret(),
                                          .follow = {}},
                    source.get());
  }

  CoreAccess access;
  StoreService store;
  AdminService admin;
  std::unique_ptr<ClusterSource> source;
  std::optional<ClusterService> cluster;  // none: the node is alone
  std::unique_ptr<grpc::Server> server;
};

RpcServer::RpcServer() = default;

RpcServer::~RpcServer() {
  if (services_ == nullptr || services_->server == nullptr) return;
  services_->server->Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
  services_->server->Wait();
}

absl::StatusOr<std::unique_ptr<RpcServer>> RpcServer::Start(const RpcServerOptions& options,
                                                            Node* node) {
  ASSIGN_OR_RETURN(const ListenAddress listen, ParseListen(options.listen));
  if (!listen.unix_path.empty()) RETURN_IF_ERROR(CheckUnanswered(listen.unix_path));
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();

  std::unique_ptr<RpcServer> rpc(new RpcServer);
  rpc->services_ = std::make_unique<Services>(options, node);
  grpc::ServerBuilder builder;
  Configure(&builder);
  int port = 0;
  builder.AddListeningPort(options.listen, grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&rpc->services_->store);
  builder.RegisterService(&rpc->services_->admin);
  if (rpc->services_->cluster) builder.RegisterService(&*rpc->services_->cluster);
  rpc->services_->server = builder.BuildAndStart();
  if (rpc->services_->server == nullptr || port == 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen for rpc on ", options.listen, ": is the address in use?"));
  }
  if (!listen.unix_path.empty()) {
    rpc->address_ = options.listen;
    if (chmod(listen.unix_path.c_str(), 0600) != 0) {
      return ErrnoStatus(errno, absl::StrCat("restricting ", listen.unix_path));
    }
  } else {
    rpc->address_ = absl::StrCat(listen.host, ":", port);
    if (!IsLoopback(listen.host)) {
      LogWarning("rpc is reachable from other machines without authentication",
                 {{"listen", rpc->address_}});
    }
  }
  LogInfo("rpc ready", {{"listen", rpc->address_}});
  return rpc;
}

}  // namespace larder
