#include "daemon/rpc/index_followers.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <set>
#include <thread>
#include <utility>

#include "daemon/cluster/proof.h"
#include "daemon/index/event_batch_format.h"
#include "daemon/rpc/follow_call.h"
#include "daemon/rpc/follow_messages.h"
#include "proto/larder/v1/cluster.grpc.pb.h"

namespace larder {
namespace {

constexpr int kMessageBytesMax = static_cast<int>(kEventBatchBytesMax) + 1024;
constexpr int kKeepaliveMs = 10'000;
constexpr int kKeepaliveTimeoutMs = 5'000;
constexpr int kReconnectMinMs = 50;
constexpr int kReconnectMaxMs = 2'000;

std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address) {
  grpc::ChannelArguments arguments;
  // A proxy for the web is not on the way to a node.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Channels of this process share connections otherwise, and how long to wait after a failed one.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(kMessageBytesMax);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectMinMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kReconnectMaxMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectMaxMs);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace

// Follows one node at one address until it is told to stop.
class IndexFollowers::Thread {
 public:
  // Begins when `before`, which may be null, has ended.
  Thread(const IndexFollowersOptions& options, FollowHandler* handler, FollowedNode node,
         std::shared_ptr<Thread> before)
      : options_(options),
        handler_(handler),
        node_(std::move(node)),
        stub_(v1::Cluster::NewStub(MakeChannel(node_.rpc_address))) {
    stats_.name = node_.name;
    thread_ = std::thread([this, before = std::move(before)] {
      if (before != nullptr) before->WaitUntilEnded();
      Run();
    });
  }
  ~Thread() {
    Stop();
    thread_.join();
  }

  void Stop() {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    if (call_ != nullptr) call_->Cancel();
    changed_.notify_all();
  }
  bool ended() const {
    std::lock_guard lock(mutex_);
    return ended_;
  }
  void WaitUntilEnded() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ended_; });
  }
  const FollowedNode& node() const { return node_; }
  FollowedNodeStats Stats() const {
    std::lock_guard lock(mutex_);
    return stats_;
  }

 private:
  // How a stream ended.
  struct End {
    absl::StatusCode code = absl::StatusCode::kCancelled;
    std::string why;
    bool broken = false;
  };

  void Run() {
    absl::Duration backoff = options_.backoff_min;
    while (!stopping()) {
      const uint64_t taken_before = taken_;
      const FollowPosition from = handler_->OnStreamOpen(node_.name);
      const End end = RunStream(from);
      handler_->OnStreamEnd(node_.name, end.code, end.why, end.broken);
      Note(end);
      const bool useful = taken_ > taken_before && !end.broken;
      backoff = useful ? options_.backoff_min : std::min(backoff * 2, options_.backoff_max);
      Sleep(backoff);
    }
    std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }

  End RunStream(const FollowPosition& from) {
    v1::FollowRequest request;
    request.set_cluster(options_.cluster);
    request.set_proof(ClusterProof(options_.secret, options_.cluster));
    request.set_follower(options_.self);
    request.set_epoch(from.epoch);
    request.set_from_sequence(from.sequence);
    FollowCall call(stub_.get(), request);
    SetCall(&call);
    End end = ReadAll(&call);
    SetCall(nullptr);
    return end;
  }

  End ReadAll(FollowCall* call) {
    v1::FollowResponse response;
    while (call->Read(&response, options_.silence_max)) {
      absl::StatusOr<FollowBatch> batch = ParseFollowResponse(response);
      if (!batch.ok()) {
        return {.code = absl::StatusCode::kDataLoss,
                .why = std::string(batch.status().message()),
                .broken = true};
      }
      const size_t events = batch->events.size();
      const IndexFollower::Taken taken = Offer(*batch);
      if (taken != IndexFollower::Taken::kTaken) {
        const bool later = taken == IndexFollower::Taken::kLater;
        return {.code = absl::StatusCode::kAborted,
                .why = later ? "a batch could not be taken in time" : "a gap: asking again"};
      }
      ++taken_;
      std::lock_guard lock(mutex_);
      stats_.connected = true;
      ++stats_.batches;
      stats_.events += events;
      stats_.bytes += response.ByteSizeLong();
    }
    const grpc::Status status = call->Finish();
    return {.code = static_cast<absl::StatusCode>(status.error_code()),
            .why = status.error_message()};
  }

  // Until it is taken or refused; kLater when there was no time left.
  IndexFollower::Taken Offer(FollowBatch& batch) {
    const int offers_max = std::max<int>(
        1, static_cast<int>(absl::FDivDuration(options_.offer_max, options_.offer_interval)));
    for (int offers = 0; offers < offers_max && !stopping(); ++offers) {
      const IndexFollower::Taken taken = handler_->OnBatch(node_.name, batch);
      if (taken != IndexFollower::Taken::kLater) return taken;
      Sleep(options_.offer_interval);
    }
    return IndexFollower::Taken::kLater;
  }

  void SetCall(FollowCall* call) {
    std::lock_guard lock(mutex_);
    call_ = call;
    if (call == nullptr) return;
    ++stats_.streams;
    if (stopping_) call->Cancel();
  }
  void Note(const End& end) {
    std::lock_guard lock(mutex_);
    stats_.connected = false;
    stats_.last_error = end.why;
    if (end.broken) ++stats_.broken;
  }
  bool stopping() const {
    std::lock_guard lock(mutex_);
    return stopping_;
  }
  void Sleep(absl::Duration duration) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, absl::ToChronoNanoseconds(duration), [this] { return stopping_; });
  }

  const IndexFollowersOptions options_;
  FollowHandler* const handler_;
  const FollowedNode node_;
  const std::unique_ptr<v1::Cluster::Stub> stub_;
  uint64_t taken_ = 0;  // batches; the thread's own
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  bool ended_ = false;
  FollowCall* call_ = nullptr;
  FollowedNodeStats stats_;
  std::thread thread_;
};

IndexFollowers::IndexFollowers(const IndexFollowersOptions& options, FollowHandler* handler)
    : options_(options), handler_(handler) {}

IndexFollowers::~IndexFollowers() {
  std::lock_guard lock(mutex_);
  for (const auto& [name, thread] : threads_) thread->Stop();
  threads_.clear();
  ending_.clear();
}

void IndexFollowers::SetNodes(const std::vector<FollowedNode>& nodes) {
  std::lock_guard lock(mutex_);
  std::erase_if(ending_, [](const auto& thread) { return thread->ended(); });
  std::set<std::string> named;
  for (const FollowedNode& node : nodes) {
    named.insert(node.name);
    std::shared_ptr<Thread>& thread = threads_[node.name];
    if (thread != nullptr && thread->node() == node) continue;
    std::shared_ptr<Thread> before = thread;
    if (before == nullptr) {
      // It may have been followed a moment ago.
      for (const auto& each : ending_) {
        if (each->node().name == node.name) before = each;
      }
    } else {
      before->Stop();
      ending_.push_back(before);
    }
    thread = std::make_shared<Thread>(options_, handler_, node, std::move(before));
  }
  for (auto each = threads_.begin(); each != threads_.end();) {
    if (named.contains(each->first)) {
      ++each;
      continue;
    }
    each->second->Stop();
    ending_.push_back(std::move(each->second));
    each = threads_.erase(each);
  }
}

std::vector<FollowedNodeStats> IndexFollowers::Stats() const {
  std::lock_guard lock(mutex_);
  std::vector<FollowedNodeStats> stats;
  for (const auto& [name, thread] : threads_) stats.push_back(thread->Stats());
  return stats;
}

}  // namespace larder
