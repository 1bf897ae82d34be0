// Calls of the Admin service.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "proto/larder/v1/admin.grpc.pb.h"

namespace larder {

// A connection to one daemon's gRPC services. Every call has a deadline. Errors: UNAVAILABLE with
// the address when no daemon answers there, DEADLINE_EXCEEDED when one does but too slowly, and
// what the service says. Not thread-safe.
class AdminClient {
 public:
  // `address` is "HOST:PORT" or "unix:PATH". Connects with the first call.
  AdminClient(std::string address, absl::Duration timeout);

  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (v1::Admin::Stub::*method)(grpc::ClientContext*,
                                                                        const Request&, Response*),
                                const Request& request) {
    grpc::ClientContext context;
    SetDeadline(&context);
    Response response;
    const grpc::Status status = (stub_.get()->*method)(&context, request, &response);
    if (!status.ok()) return Translate(status);
    return response;
  }

  // All pages.
  absl::StatusOr<std::vector<v1::SpaceStatus>> Spaces();

  // Calls `on_message` with each message of the stream.
  absl::Status Verify(const v1::VerifyRequest& request,
                      const std::function<void(const v1::VerifyResponse&)>& on_message);

  // Forgets the connection and what it knew: after a failure gRPC waits long before it tries again.
  void Reconnect();

  const std::string& address() const { return address_; }

 private:
  void SetDeadline(grpc::ClientContext* context) const;
  absl::Status Translate(const grpc::Status& status) const;

  const std::string address_;
  const absl::Duration timeout_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::Admin::Stub> stub_;
};

}  // namespace larder
