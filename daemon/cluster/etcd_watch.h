// A stream of changes from etcd, driven by the completions of a queue.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>

#include <memory>
#include <string>

#include "common/status.h"
#include "proto/etcd/etcd.grpc.pb.h"

namespace larder {

// Not thread-safe: the thread that takes from the queue. The queue outlives it.
class EtcdWatch {
 public:
  // Asks for the changes of all keys that start with `prefix` from `revision` on.
  EtcdWatch(const std::shared_ptr<grpc::Channel>& channel, const std::string& token,
            const std::string& prefix, int64_t revision, grpc::CompletionQueue* queue);
  // REQUIRES: !busy().
  ~EtcdWatch() = default;

  enum class Step { kNothing, kResponse, kEnded };
  // To be called with each completion of the queue.
  Step OnCompletion(const void* tag, bool ok);

  // After kResponse, until Continue, which asks for the next one.
  const etcdserverpb::WatchResponse& response() const { return response_; }
  void Continue();
  // After kEnded; never OK.
  absl::Status status() const;

  // etcd answers with an empty response.
  void AskProgress();

  // Everything under way completes soon.
  void Cancel() { context_.TryCancel(); }
  // Completions are to come.
  bool busy() const { return under_way_ > 0; }

 private:
  void Write(const etcdserverpb::WatchRequest& request);

  std::unique_ptr<etcdserverpb::Watch::Stub> stub_;
  grpc::ClientContext context_;
  etcdserverpb::WatchRequest create_;
  etcdserverpb::WatchResponse response_;
  grpc::Status status_;
  std::unique_ptr<
      grpc::ClientAsyncReaderWriter<etcdserverpb::WatchRequest, etcdserverpb::WatchResponse>>
      stream_;
  int under_way_ = 0;
  bool started_ = false;
  bool writing_ = false;
  char start_tag_ = 0, write_tag_ = 0, read_tag_ = 0, finish_tag_ = 0;
};

}  // namespace larder
