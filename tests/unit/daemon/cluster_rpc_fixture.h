// A node that others can follow, and one that follows, for tests of the Cluster service.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/index/event_log.h"
#include "daemon/rpc/cluster_service.h"
#include "daemon/rpc/index_followers.h"
#include "tests/unit/daemon/index_testing.h"

namespace larder {

// Chunks by number, and the log of their changes.
class FakeSource final : public ClusterSource {
 public:
  explicit FakeSource(uint64_t epoch, size_t log_capacity = 100'000)
      : log_(std::make_unique<EventLog>(epoch, log_capacity)) {}

  void Put(uint64_t key, uint8_t tiers = kTierMemory) {
    std::lock_guard lock(mutex_);
    chunks_[key] = Held(key, tiers);
    log_->Append(chunks_[key]);
  }
  void Remove(uint64_t key) {
    std::lock_guard lock(mutex_);
    chunks_.erase(key);
    log_->Append(Gone(key));
  }
  void SetSnapshotStep(size_t chunks) {
    std::lock_guard lock(mutex_);
    snapshot_step_ = chunks;
  }
  int snapshots() const {
    std::lock_guard lock(mutex_);
    return snapshots_;
  }

  absl::Status Describe(v1::DescribeResponse* response) override {
    response->set_name("fake");
    response->set_epoch(End().epoch);
    return absl::OkStatus();
  }
  LogEnd End() override {
    std::lock_guard lock(mutex_);
    return {.epoch = log_->epoch(), .next_sequence = log_->next_sequence()};
  }
  EventLog::ReadResult ReadLog(uint64_t from, size_t limit, std::vector<ChunkEvent>* events,
                               LogEnd* end) override {
    std::lock_guard lock(mutex_);
    *end = {.epoch = log_->epoch(), .next_sequence = log_->next_sequence()};
    return log_->Read(from, limit, events);
  }
  absl::StatusOr<bool> SnapshotStep(uint64_t* cursor, size_t limit,
                                    std::vector<ChunkEvent>* events) override {
    std::lock_guard lock(mutex_);
    if (*cursor == 0) ++snapshots_;
    auto chunk = chunks_.lower_bound(*cursor);
    for (; chunk != chunks_.end() && events->size() < std::min(limit, snapshot_step_); ++chunk) {
      events->push_back(chunk->second);
      *cursor = chunk->first + 1;
    }
    return chunk != chunks_.end();
  }

 private:
  mutable std::mutex mutex_;
  std::map<uint64_t, ChunkEvent> chunks_;
  std::unique_ptr<EventLog> log_;
  size_t snapshot_step_ = 1000;
  int snapshots_ = 0;
};

class ClusterServer {
 public:
  explicit ClusterServer(grpc::Service* service, const std::string& listen = "127.0.0.1:0") {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(service);
    server_ = builder.BuildAndStart();
    address_ = absl::StrCat("127.0.0.1:", port);
  }
  ~ClusterServer() {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }
  bool running() const { return server_ != nullptr; }
  const std::string& address() const { return address_; }

 private:
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

// A node with its index; what an event loop would do is done under a lock.
class FollowingNode final : public FollowHandler {
 public:
  FollowPosition OnStreamOpen(const std::string& /*node*/) override {
    std::lock_guard lock(mutex_);
    ++open_;
    return follower_.OnStreamOpen();
  }
  IndexFollower::Taken OnBatch(const std::string& /*node*/, FollowBatch& batch) override {
    std::lock_guard lock(mutex_);
    if (held_back_) return IndexFollower::Taken::kLater;
    const IndexFollower::Taken taken = follower_.OnBatch(batch);
    while (follower_.Step(100'000)) {
    }
    return taken;
  }
  void OnStreamEnd(const std::string& /*node*/, absl::StatusCode code, const std::string& why,
                   bool broken) override {
    std::lock_guard lock(mutex_);
    --open_;
    follower_.OnStreamEnd(broken);
    while (follower_.Step(100'000)) {
    }
    ends_.push_back({.code = code, .why = why, .entries = index_->stats().entries});
  }

  void HoldBack(bool held_back) {
    std::lock_guard lock(mutex_);
    held_back_ = held_back;
  }
  bool Knows(uint64_t key) const {
    std::lock_guard lock(mutex_);
    return index_->Contains(SpaceOf(0), KeyOf(key));
  }
  size_t entries() const {
    std::lock_guard lock(mutex_);
    return index_->stats().entries;
  }
  IndexFollowerStats stats() const {
    std::lock_guard lock(mutex_);
    return follower_.stats();
  }
  int open() const {
    std::lock_guard lock(mutex_);
    return open_;
  }
  struct End {
    absl::StatusCode code;
    std::string why;
    size_t entries;  // that were left
  };
  std::vector<End> ends() const {
    std::lock_guard lock(mutex_);
    return ends_;
  }

 private:
  mutable std::mutex mutex_;
  std::unique_ptr<GlobalIndex> index_ = MakeIndex(1'000'000);
  IndexFollower follower_{index_.get(), 1};
  bool held_back_ = false;
  int open_ = 0;
  std::vector<End> ends_;
};

// Waits until it holds, for a test's patience.
template <typename Condition>
bool Eventually(Condition condition) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

}  // namespace larder
