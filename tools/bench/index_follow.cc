// A new follower over gRPC on the loopback: how long until it knows all, and how far behind it is
// afterwards.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/status.h"
#include "daemon/index/event_log.h"
#include "daemon/rpc/cluster_service.h"
#include "daemon/rpc/index_followers.h"
#include "tools/bench/index_parts.h"
#include "tools/console/latency_histogram.h"

namespace larder {
namespace {

constexpr uint64_t kEpoch = 1;
constexpr size_t kLogCapacity = 1 << 20;
constexpr size_t kForgetSlots = 1 << 16;
constexpr absl::Duration kSyncTimeout = absl::Minutes(5);
constexpr std::chrono::microseconds kPoll{100};
constexpr double kSyncGoalSeconds = 60;
constexpr int kLagProbes = 200;
constexpr char kCluster[] = "bench";

// Holds keys 0 to entries - 1, all in memory, and says so.
class NumberedSource final : public ClusterSource {
 public:
  explicit NumberedSource(uint64_t entries) : entries_(entries), log_(kEpoch, kLogCapacity) {}

  void Append(const ChunkEvent& event) {
    std::lock_guard lock(mutex_);
    log_.Append(event);
  }
  absl::Status Describe(v1::DescribeResponse* response) override {
    response->set_epoch(kEpoch);
    return absl::OkStatus();
  }
  LogEnd End() override {
    std::lock_guard lock(mutex_);
    return {.epoch = kEpoch, .next_sequence = log_.next_sequence()};
  }
  EventLog::ReadResult ReadLog(uint64_t from, size_t limit, std::vector<ChunkEvent>* events,
                               LogEnd* end) override {
    std::lock_guard lock(mutex_);
    *end = {.epoch = kEpoch, .next_sequence = log_.next_sequence()};
    return log_.Read(from, limit, events);
  }
  absl::StatusOr<bool> SnapshotStep(uint64_t* cursor, size_t limit,
                                    std::vector<ChunkEvent>* events) override {
    const uint64_t end = std::min(entries_, *cursor + limit);
    for (; *cursor < end; ++*cursor) events->push_back(IndexBenchEvent(*cursor));
    return *cursor < entries_;
  }

 private:
  const uint64_t entries_;
  std::mutex mutex_;
  EventLog log_;
};

// The index of the node that follows; the lock stands for its event loop.
class BenchFollower final : public FollowHandler {
 public:
  explicit BenchFollower(std::unique_ptr<GlobalIndex> index) : index_(std::move(index)) {}

  FollowPosition OnStreamOpen(const std::string& /*node*/) override {
    std::lock_guard lock(mutex_);
    return follower_.OnStreamOpen();
  }
  IndexFollower::Taken OnBatch(const std::string& /*node*/, FollowBatch& batch) override {
    std::lock_guard lock(mutex_);
    const IndexFollower::Taken taken = follower_.OnBatch(batch);
    follower_.Step(kForgetSlots);
    return taken;
  }
  void OnStreamEnd(const std::string& /*node*/, absl::StatusCode /*code*/, const std::string& why,
                   bool broken) override {
    std::lock_guard lock(mutex_);
    follower_.OnStreamEnd(broken);
    why_ = why;
  }

  bool HasApplied(uint64_t next_sequence) const {
    std::lock_guard lock(mutex_);
    const IndexFollowerStats stats = follower_.stats();
    return stats.in_sync && stats.next_sequence >= next_sequence;
  }
  size_t entries() const {
    std::lock_guard lock(mutex_);
    return index_->stats().entries;
  }
  std::string why() const {
    std::lock_guard lock(mutex_);
    return why_;
  }

 private:
  mutable std::mutex mutex_;
  std::unique_ptr<GlobalIndex> index_;
  IndexFollower follower_{index_.get(), 0};
  std::string why_;
};

absl::StatusOr<absl::Duration> WaitUntilApplied(const BenchFollower& follower,
                                                uint64_t next_sequence) {
  const MonotonicTime begin = SystemClock::Get().Now();
  while (!follower.HasApplied(next_sequence)) {
    if (SystemClock::Get().Now() - begin > kSyncTimeout) {
      return absl::DeadlineExceededError(
          absl::StrCat("the follower is not in sync; its last stream ended so: ", follower.why()));
    }
    std::this_thread::sleep_for(kPoll);
  }
  return SystemClock::Get().Now() - begin;
}

absl::Status MeasureSync(const IndexBenchOptions& options, const BenchFollower& follower,
                         const IndexFollowers& followers, MicroReport* report) {
  ASSIGN_OR_RETURN(const absl::Duration sync, WaitUntilApplied(follower, 0));
  if (follower.entries() != options.entries) {
    return absl::DataLossError(absl::StrCat("the follower knows ", follower.entries(), " of ",
                                            options.entries, " entries"));
  }
  const FollowedNodeStats stats = followers.Stats().at(0);
  report->AddAtMost("follower_sync_10m_s", absl::ToDoubleSeconds(sync), kSyncGoalSeconds,
                    "gRPC's copies, the index");
  report->AddRaw("follower_sync_entries", static_cast<double>(options.entries));
  report->AddRaw("wire_bytes_per_event",
                 static_cast<double>(stats.bytes) / static_cast<double>(stats.events));
  return absl::OkStatus();
}

// One event at a time, each when the last one has arrived.
absl::Status MeasureLag(const BenchFollower& follower, const IndexFollowers& followers,
                        NumberedSource* source, MicroReport* report) {
  // The snapshot's last message is counted by the time that the next one arrives.
  source->Append(IndexBenchEvent(0));
  RETURN_IF_ERROR(WaitUntilApplied(follower, source->End().next_sequence).status());
  LatencyHistogram histogram;
  const FollowedNodeStats before = followers.Stats().at(0);
  for (int i = 0; i < kLagProbes; ++i) {
    source->Append(IndexBenchEvent(i, i % 2 == 0 ? kTiersAll : kTierMemory));
    ASSIGN_OR_RETURN(const absl::Duration lag,
                     WaitUntilApplied(follower, source->End().next_sequence));
    histogram.Record(lag);
  }
  const FollowedNodeStats after = followers.Stats().at(0);
  report->AddRaw("event_lag_p50_ms", absl::ToDoubleMilliseconds(histogram.Percentile(0.5)));
  report->AddRaw("event_lag_p99_ms", absl::ToDoubleMilliseconds(histogram.Percentile(0.99)));
  report->AddRaw("wire_bytes_per_single_event",
                 static_cast<double>(after.bytes - before.bytes) /
                     static_cast<double>(after.events - before.events));
  return absl::OkStatus();
}

}  // namespace

absl::Status MeasureFollowerSync(const IndexBenchOptions& options, MicroReport* report) {
  NumberedSource source(options.entries);
  ClusterService service({.cluster = kCluster, .secret = "", .follow = {}}, &source);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) return absl::UnavailableError("cannot listen on the loopback");

  ASSIGN_OR_RETURN(std::unique_ptr<GlobalIndex> index,
                   GlobalIndex::Create({.entries_max = options.entries * 2, .seed = 1}));
  BenchFollower follower(std::move(index));
  absl::Status status;
  {
    IndexFollowers followers({.self = "bench", .cluster = kCluster, .secret = ""}, &follower);
    followers.SetNodes(
        {{.name = "followed", .epoch = kEpoch, .rpc_address = absl::StrCat("127.0.0.1:", port)}});
    status = MeasureSync(options, follower, followers, report);
    if (status.ok()) status = MeasureLag(follower, followers, &source, report);
  }
  server->Shutdown(std::chrono::system_clock::now());
  server->Wait();
  return status;
}

}  // namespace larder
