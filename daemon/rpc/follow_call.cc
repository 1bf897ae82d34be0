#include "daemon/rpc/follow_call.h"

#include <chrono>

#include "absl/time/clock.h"

namespace larder {
namespace {

// How long the reason for an end may follow it.
constexpr absl::Duration kFinishTimeout = absl::Seconds(1);

}  // namespace

FollowCall::FollowCall(v1::Cluster::Stub* stub, const v1::FollowRequest& request)
    : reader_(stub->PrepareAsyncFollow(&context_, request, &queue_)) {
  reader_->StartCall(this);
}

FollowCall::~FollowCall() {
  if (!finished_) {
    Cancel();
    (void)Finish();
  }
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

bool FollowCall::Wait(absl::Duration timeout) {
  void* tag = nullptr;
  bool ok = false;
  const auto status = queue_.AsyncNext(&tag, &ok, absl::ToChronoTime(absl::Now() + timeout));
  if (status == grpc::CompletionQueue::GOT_EVENT) return ok;
  timed_out_ = true;
  Cancel();
  // What was cancelled ends without the other side.
  (void)queue_.Next(&tag, &ok);
  return false;
}

bool FollowCall::Read(v1::FollowResponse* response, absl::Duration timeout) {
  if (!started_) {
    started_ = true;
    if (!Wait(timeout)) return false;
  }
  reader_->Read(response, this);
  return Wait(timeout);
}

grpc::Status FollowCall::Finish() {
  finished_ = true;
  if (!started_) {
    started_ = true;
    (void)Wait(kFinishTimeout);
  }
  grpc::Status status;
  reader_->Finish(&status, this);
  (void)Wait(kFinishTimeout);
  if (timed_out_) return {grpc::StatusCode::DEADLINE_EXCEEDED, "nothing was heard of it in time"};
  return status;
}

}  // namespace larder
