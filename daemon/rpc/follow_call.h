// One stream of Follow, as its caller sees it: every wait has an end.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "absl/time/time.h"
#include "proto/larder/v1/cluster.grpc.pb.h"

namespace larder {

// Used by one thread; Cancel by any. Owns the call and waits for its end when it is destroyed,
// which is soon, since it is cancelled then.
class FollowCall {
 public:
  FollowCall(v1::Cluster::Stub* stub, const v1::FollowRequest& request);
  ~FollowCall();

  // False when the stream has ended, or nothing came in time.
  bool Read(v1::FollowResponse* response, absl::Duration timeout);
  // Why it ended. Waits for it, after a Read that failed.
  grpc::Status Finish();
  void Cancel() { context_.TryCancel(); }

 private:
  // Waits for the operation that was started last; cancels the call when it takes too long. True
  // when the operation succeeded.
  bool Wait(absl::Duration timeout);

  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::ClientAsyncReader<v1::FollowResponse>> reader_;
  bool started_ = false;
  bool finished_ = false;
  bool timed_out_ = false;
};

}  // namespace larder
