#include "tools/ctl/admin_client.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status.h"
#include "tools/console/units.h"

namespace larder {
namespace {

// A page of inspected containers can be large: a chunk has up to a million parts.
constexpr int kMessageBytesMax = 256 << 20;
constexpr uint32_t kSpacesPageSize = 1000;
// As many spaces as a daemon can have, and room for empty pages.
constexpr int kSpacesPagesMax = 10'000;

// "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:7411: Failed to connect
// to remote host: Connection refused" begins with nothing new.
std::string LastReason(const std::string& message) {
  const std::vector<std::string> parts = absl::StrSplit(message, ": ");
  return parts.back();
}

}  // namespace

AdminClient::AdminClient(std::string address, absl::Duration timeout)
    : address_(std::move(address)), timeout_(timeout) {
  Reconnect();
}

void AdminClient::Reconnect() {
  grpc::ChannelArguments arguments;
  // A proxy for the web is not on the way to a daemon.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Channels of this process share connections otherwise, and how long to wait after a failed one.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(kMessageBytesMax);
  channel_ = grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments);
  stub_ = v1::Admin::NewStub(channel_);
}

void AdminClient::SetDeadline(grpc::ClientContext* context) const {
  // A year is as good as forever and cannot overflow.
  const absl::Duration timeout = std::min(timeout_, absl::Hours(24 * 365));
  context->set_deadline(absl::ToChronoTime(absl::Now() + timeout));
}

absl::Status AdminClient::Translate(const grpc::Status& status) const {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAVAILABLE:
      return absl::UnavailableError(absl::StrCat("no daemon at ", address_, ": ",
                                                 LastReason(status.error_message()),
                                                 " (--address names another)"));
    case grpc::StatusCode::DEADLINE_EXCEEDED: {
      const std::string within = absl::StrCat(" within ", FormatTimeSpan(timeout_), " (--timeout)");
      if (channel_->GetState(/*try_to_connect=*/false) != GRPC_CHANNEL_READY) {
        return absl::UnavailableError(absl::StrCat("no daemon answers at ", address_, within));
      }
      return absl::DeadlineExceededError(
          absl::StrCat("the daemon at ", address_, " did not finish", within));
    }
    case grpc::StatusCode::UNIMPLEMENTED:
      return absl::UnimplementedError(
          absl::StrCat("what answers at ", address_,
                       " is no Larder daemon, or an older one: ", status.error_message()));
    default:
      // The codes of gRPC and of absl are the same numbers.
      return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                          status.error_message());
  }
}

absl::StatusOr<std::vector<v1::SpaceStatus>> AdminClient::Spaces() {
  std::vector<v1::SpaceStatus> spaces;
  v1::SpacesRequest request;
  request.set_page_size(kSpacesPageSize);
  for (int page = 0; page < kSpacesPagesMax; ++page) {
    ASSIGN_OR_RETURN(v1::SpacesResponse response, Call(&v1::Admin::Stub::Spaces, request));
    std::move(response.mutable_spaces()->begin(), response.mutable_spaces()->end(),
              std::back_inserter(spaces));
    if (response.next_page_token().empty()) return spaces;
    request.set_page_token(response.next_page_token());
  }
  return absl::InternalError(
      absl::StrCat("the daemon's list of spaces has more than ", kSpacesPagesMax, " pages"));
}

absl::Status AdminClient::Verify(const v1::VerifyRequest& request,
                                 const std::function<void(const v1::VerifyResponse&)>& on_message) {
  grpc::ClientContext context;
  SetDeadline(&context);
  const std::unique_ptr<grpc::ClientReader<v1::VerifyResponse>> reader =
      stub_->Verify(&context, request);
  v1::VerifyResponse response;
  while (reader->Read(&response)) on_message(response);
  const grpc::Status status = reader->Finish();
  return status.ok() ? absl::OkStatus() : Translate(status);
}

}  // namespace larder
