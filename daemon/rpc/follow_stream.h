// One follower of this node, and the thread that serves all of them.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "daemon/index/index_follower.h"
#include "daemon/rpc/cluster_source.h"
#include "proto/larder/v1/cluster.pb.h"

namespace larder {

struct FollowServerOptions {
  size_t followers_max = 1024;
  absl::Duration heartbeat = absl::Seconds(1);
  // How long one message may wait for a follower to take it.
  absl::Duration write_timeout = absl::Seconds(20);
};

class FollowServer;

// Calls of gRPC come on its threads; everything else runs on the server's one thread. At most one
// message is under way, so a slow follower costs no memory: it falls behind in the log, and when
// that has gone on without it, its stream ends.
class FollowStream final : public grpc::ServerWriteReactor<v1::FollowResponse> {
 public:
  FollowStream(FollowServer* server, grpc::CallbackServerContext* context,
               const FollowPosition& from)
      : server_(server), context_(context), from_(from) {}

  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // Sends the next message, if there is one and none is under way, or ends the stream. False when
  // it has ended.
  bool Advance(ClusterSource* source, const FollowServerOptions& options, MonotonicTime now);

 private:
  void Begin(ClusterSource* source);
  // The next message, into message_; false when there is nothing to say.
  absl::StatusOr<bool> NextMessage(ClusterSource* source, const FollowServerOptions& options,
                                   MonotonicTime now);
  absl::Status ReadSnapshot(ClusterSource* source, FollowBatch* batch);
  absl::Status ReadDeltas(ClusterSource* source, FollowBatch* batch);

  FollowServer* const server_;
  grpc::CallbackServerContext* const context_;
  const FollowPosition from_;
  std::atomic<bool> cancelled_ = false;
  std::atomic<bool> writing_ = false;
  bool begun_ = false;
  bool timed_out_ = false;
  uint64_t epoch_ = 0;
  uint64_t next_ = 0;  // the next delta
  bool in_snapshot_ = false;
  uint64_t cursor_ = 0;  // of the snapshot
  uint64_t part_ = 0;
  bool deltas_turn_ = false;  // parts of a snapshot and deltas take turns
  MonotonicTime last_write_;
  v1::FollowResponse message_;
};

// Thread-safe. REQUIRES: the gRPC server is shut down before this is destroyed.
class FollowServer {
 public:
  // `source` outlives it.
  FollowServer(ClusterSource* source, const FollowServerOptions& options);
  ~FollowServer();

  // A stream that begins at `from`, or one that ends at once with RESOURCE_EXHAUSTED.
  grpc::ServerWriteReactor<v1::FollowResponse>* Open(grpc::CallbackServerContext* context,
                                                     const FollowPosition& from);
  size_t followers() const;

 private:
  friend class FollowStream;
  void Wake();
  void Forget(FollowStream* stream);
  void Run();

  ClusterSource* const source_;
  const FollowServerOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool woken_ = false;
  bool stopping_ = false;
  // Whose streams the thread still serves, and all that gRPC has not let go of.
  std::vector<FollowStream*> serving_;
  absl::flat_hash_map<FollowStream*, std::unique_ptr<FollowStream>> streams_;
  std::thread thread_;
};

}  // namespace larder
