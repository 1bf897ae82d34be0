#include "daemon/cluster/etcd_client.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace larder {
namespace {

constexpr size_t kTokenBytesMax = 4096;

// gRPC ends the program over metadata that is no text.
bool IsToken(absl::string_view token) {
  return token.size() <= kTokenBytesMax && std::all_of(token.begin(), token.end(), [](char c) {
           return absl::ascii_isgraph(static_cast<unsigned char>(c));
         });
}

}  // namespace

absl::Status FromEtcd(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  return {static_cast<absl::StatusCode>(status.error_code()), ShownReason(status.error_message())};
}

std::string EndOfPrefix(absl::string_view prefix) {
  return absl::StrCat(absl::StripSuffix(prefix, "/"), "0");  // '0' follows '/'
}

void CallGate::Stop() {
  std::lock_guard lock(mutex_);
  stopped_ = true;
  if (current_ != nullptr) current_->TryCancel();
}

bool CallGate::Enter(grpc::ClientContext* context) {
  std::lock_guard lock(mutex_);
  if (stopped_) return false;
  current_ = context;
  return true;
}

void CallGate::Leave() {
  std::lock_guard lock(mutex_);
  current_ = nullptr;
}

EtcdClient::EtcdClient(std::shared_ptr<grpc::Channel> channel, absl::Duration call_timeout,
                       CallGate* gate)
    : call_timeout_(call_timeout),
      gate_(gate),
      values_(etcdserverpb::KV::NewStub(channel)),
      leases_(etcdserverpb::Lease::NewStub(channel)),
      auth_(etcdserverpb::Auth::NewStub(channel)) {}

template <typename Call>
absl::Status EtcdClient::Run(const Call& call) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoNanoseconds(call_timeout_));
  if (!token_.empty()) context.AddMetadata("token", token_);
  if (!gate_->Enter(&context)) return absl::CancelledError("stopping");
  const grpc::Status status = call(&context);
  gate_->Leave();
  return FromEtcd(status);
}

absl::StatusOr<std::string> EtcdClient::Authenticate(const std::string& user,
                                                     const std::string& password) {
  etcdserverpb::AuthenticateRequest request;
  request.set_name(user);
  request.set_password(password);
  etcdserverpb::AuthenticateResponse response;
  const absl::Status status = Run([&](grpc::ClientContext* context) {
    return auth_->Authenticate(context, request, &response);
  });
  // Where etcd asks nobody who they are, there is no token to be had, and no need of one.
  if (absl::IsFailedPrecondition(status) &&
      absl::StrContains(status.message(), "authentication is not enabled")) {
    return std::string();
  }
  RETURN_IF_ERROR(Annotate(status, absl::StrCat("as user ", user)));
  if (!IsToken(response.token())) return absl::InternalError("a token that is no text");
  return response.token();
}

absl::StatusOr<EtcdClient::Listing> EtcdClient::List(const std::string& prefix, int64_t limit) {
  etcdserverpb::RangeRequest request;
  request.set_key(prefix);
  request.set_range_end(EndOfPrefix(prefix));
  request.set_limit(limit);
  etcdserverpb::RangeResponse response;
  RETURN_IF_ERROR(Run(
      [&](grpc::ClientContext* context) { return values_->Range(context, request, &response); }));
  Listing listing{.entries = {}, .more = response.more(), .revision = response.header().revision()};
  for (etcdserverpb::KeyValue& item : *response.mutable_kvs()) {
    absl::string_view name = item.key();
    if (!absl::ConsumePrefix(&name, prefix)) continue;
    listing.entries.push_back(
        {std::string(name), std::move(*item.mutable_value()), item.mod_revision()});
  }
  return listing;
}

absl::StatusOr<int64_t> EtcdClient::Put(const std::string& key, const std::string& value,
                                        int64_t lease) {
  etcdserverpb::PutRequest request;
  request.set_key(key);
  request.set_value(value);
  request.set_lease(lease);
  etcdserverpb::PutResponse response;
  RETURN_IF_ERROR(
      Run([&](grpc::ClientContext* context) { return values_->Put(context, request, &response); }));
  return response.header().revision();
}

absl::StatusOr<int64_t> EtcdClient::GrantLease(absl::Duration ttl) {
  etcdserverpb::LeaseGrantRequest request;
  request.set_ttl(absl::ToInt64Seconds(ttl));
  etcdserverpb::LeaseGrantResponse response;
  RETURN_IF_ERROR(Run([&](grpc::ClientContext* context) {
    return leases_->LeaseGrant(context, request, &response);
  }));
  if (!response.error().empty() || response.id() == 0) {
    return absl::InternalError(absl::StrCat("no lease: ", ShownReason(response.error())));
  }
  return response.id();
}

absl::StatusOr<bool> EtcdClient::RenewLease(int64_t lease) {
  etcdserverpb::LeaseKeepAliveRequest request;
  request.set_id(lease);
  etcdserverpb::LeaseKeepAliveResponse response;
  bool answered = false;
  const absl::Status status = Run([&](grpc::ClientContext* context) {
    const auto stream = leases_->LeaseKeepAlive(context);
    if (stream->Write(request) && stream->WritesDone()) answered = stream->Read(&response);
    return stream->Finish();
  });
  if (answered) return response.ttl() > 0;
  RETURN_IF_ERROR(status);
  return absl::UnavailableError("no answer to the renewal of the lease");
}

absl::Status EtcdClient::RevokeLease(int64_t lease) {
  etcdserverpb::LeaseRevokeRequest request;
  request.set_id(lease);
  etcdserverpb::LeaseRevokeResponse response;
  return Run([&](grpc::ClientContext* context) {
    return leases_->LeaseRevoke(context, request, &response);
  });
}

}  // namespace larder
