#include "daemon/cluster/etcd_endpoint.h"

#include <fcntl.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/file_descriptor.h"

namespace larder {
namespace {

constexpr size_t kPemBytesMax = 1 << 20;
constexpr size_t kTextBytesMax = 255;
constexpr absl::Duration kLeaseMin = absl::Seconds(2);  // etcd grants no shorter ones
constexpr absl::Duration kLeaseMax = absl::Hours(1);
// A list of all members, with room for what strangers put there.
constexpr int kReceivedBytesMax = 16 << 20;

absl::Status Wrong(absl::string_view option, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("etcd ", option, " ", what));
}

absl::StatusOr<EtcdEndpoint> ParseEndpoint(absl::string_view text, bool tls_files) {
  absl::string_view address = text;
  const bool plain = absl::ConsumePrefix(&address, "http://");
  const bool tls = !plain && absl::ConsumePrefix(&address, "https://");
  const size_t colon = address.rfind(':');
  uint32_t port = 0;
  if (address.size() > kTextBytesMax || colon == 0 || colon == absl::string_view::npos ||
      absl::StrContains(address, '/') || !absl::SimpleAtoi(address.substr(colon + 1), &port) ||
      port == 0 || port > 65535) {
    return Wrong("endpoint", absl::StrCat("\"", text, "\" is not [http[s]://]HOST:PORT"));
  }
  if (plain && tls_files) {
    return Wrong("endpoint",
                 absl::StrCat("\"", text, "\" is without TLS, for which files are set"));
  }
  return EtcdEndpoint{std::string(address), tls || tls_files};
}

// The content of a PEM file; empty for no path.
absl::StatusOr<std::string> ReadPem(const std::string& path) {
  std::string text;
  if (path.empty()) return text;
  FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) return ErrnoStatus(errno, path);
  text.resize(kPemBytesMax + 1);
  size_t bytes = 0;
  while (bytes < text.size()) {
    const ssize_t got = read(file.get(), text.data() + bytes, text.size() - bytes);
    if (got < 0) return ErrnoStatus(errno, path);
    if (got == 0) break;
    bytes += static_cast<size_t>(got);
  }
  text.resize(bytes);
  if (bytes > kPemBytesMax || !absl::StrContains(text, "-----BEGIN ")) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": is not PEM of at most ", kPemBytesMax, " bytes"));
  }
  return text;
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> Credentials(const EtcdOptions& options,
                                                                      bool tls) {
  if (!tls) return grpc::InsecureChannelCredentials();
  grpc::SslCredentialsOptions files;
  ASSIGN_OR_RETURN(files.pem_root_certs, ReadPem(options.ca_file));
  ASSIGN_OR_RETURN(files.pem_cert_chain, ReadPem(options.certificate_file));
  ASSIGN_OR_RETURN(files.pem_private_key, ReadPem(options.key_file));
  return grpc::SslCredentials(files);
}

}  // namespace

absl::StatusOr<std::vector<EtcdEndpoint>> CheckEtcdOptions(const EtcdOptions& options) {
  if (options.endpoints.empty() || options.endpoints.size() > kEtcdEndpointsMax) {
    return Wrong("endpoints", absl::StrCat("are ", options.endpoints.size(), ", must be 1 to ",
                                           kEtcdEndpointsMax));
  }
  const bool files =
      !options.ca_file.empty() || !options.certificate_file.empty() || !options.key_file.empty();
  std::vector<EtcdEndpoint> endpoints;
  for (const std::string& text : options.endpoints) {
    ASSIGN_OR_RETURN(endpoints.emplace_back(), ParseEndpoint(text, files));
  }
  const auto printable = [](char c) { return c > ' ' && c < 0x7f; };
  if (options.prefix.size() > kTextBytesMax || !absl::EndsWith(options.prefix, "/") ||
      !std::all_of(options.prefix.begin(), options.prefix.end(), printable)) {
    return Wrong("prefix", absl::StrCat("must be printable, end in '/' and have at most ",
                                        kTextBytesMax, " bytes"));
  }
  RETURN_IF_ERROR(Annotate(CheckMemberName(options.cluster), "cluster"));
  if (options.user.empty() && !options.password.empty()) return Wrong("password", "has no user");
  if (options.certificate_file.empty() != options.key_file.empty()) {
    return Wrong("certificate and key", "go together: one of the two files is not set");
  }
  if (options.lease_ttl < kLeaseMin || options.lease_ttl > kLeaseMax ||
      options.lease_ttl != absl::Trunc(options.lease_ttl, absl::Seconds(1))) {
    return Wrong("lease_ttl",
                 absl::StrCat("must be whole seconds from ", absl::FormatDuration(kLeaseMin),
                              " to ", absl::FormatDuration(kLeaseMax)));
  }
  return endpoints;
}

absl::StatusOr<std::shared_ptr<grpc::Channel>> OpenEtcdChannel(const EtcdOptions& options,
                                                               const EtcdEndpoint& endpoint) {
  ASSIGN_OR_RETURN(const std::shared_ptr<grpc::ChannelCredentials> credentials,
                   Credentials(options, endpoint.tls));
  grpc::ChannelArguments arguments;
  // A new channel is a new attempt: no waiting for the backoff of an earlier one.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetMaxReceiveMessageSize(kReceivedBytesMax);
  return grpc::CreateCustomChannel(endpoint.address, credentials, arguments);
}

}  // namespace larder
