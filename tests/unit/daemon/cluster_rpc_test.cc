#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "absl/strings/match.h"
#include "daemon/cluster/proof.h"
#include "daemon/index/event_batch.h"
#include "daemon/rpc/cluster_service.h"
#include "daemon/rpc/index_followers.h"
#include "tests/unit/daemon/cluster_rpc_fixture.h"

namespace larder {
namespace {

constexpr char kCluster[] = "test";
constexpr char kSecret[] = "a secret";

ClusterServiceOptions ServiceOptions() {
  ClusterServiceOptions options{.cluster = kCluster, .secret = kSecret, .follow = {}};
  options.follow.heartbeat = absl::Milliseconds(50);
  return options;
}

IndexFollowersOptions FollowersOptions() {
  IndexFollowersOptions options;
  options.self = "follower";
  options.cluster = kCluster;
  options.secret = kSecret;
  options.silence_max = absl::Seconds(3);
  options.backoff_min = absl::Milliseconds(5);
  options.backoff_max = absl::Milliseconds(40);
  return options;
}

// A node that can be restarted at the same address.
class Followed {
 public:
  explicit Followed(uint64_t epoch, size_t log_capacity = 100'000,
                    const ClusterServiceOptions& options = ServiceOptions())
      : source(epoch, log_capacity), service(options, &source) {
    Start("127.0.0.1:0");
  }
  // gRPC may need a moment until it has let go of the port.
  void Start(const std::string& listen) {
    ASSERT_TRUE(Eventually([&] {
      server = std::make_unique<ClusterServer>(&service, listen);
      return server->running();
    }));
  }

  FakeSource source;
  ClusterService service;
  std::unique_ptr<ClusterServer> server;
};

class FollowTest : public testing::Test {
 protected:
  void Follow(const std::string& address, uint64_t epoch = 1) {
    followers_->SetNodes({{.name = "fake", .epoch = epoch, .rpc_address = address}});
  }
  bool InSync(FakeSource& source) {
    return Eventually([&] {
      const IndexFollowerStats stats = node_.stats();
      return stats.in_sync && stats.epoch == source.End().epoch &&
             stats.next_sequence == source.End().next_sequence;
    });
  }

  FollowingNode node_;
  std::optional<IndexFollowers> followers_{std::in_place, FollowersOptions(), &node_};
};

TEST_F(FollowTest, ASnapshotThenEveryChange) {
  Followed followed(7);
  for (uint64_t key = 0; key < 20'000; ++key) followed.source.Put(key);
  Follow(followed.server->address());
  for (uint64_t key = 0; key < 1000; ++key) followed.source.Remove(key * 3);
  ASSERT_TRUE(InSync(followed.source));
  for (uint64_t key = 0; key < 20'000; ++key) {
    ASSERT_EQ(node_.Knows(key), key >= 3000 || key % 3 != 0) << key;
  }
  followed.source.Put(50'000);
  EXPECT_TRUE(Eventually([&] { return node_.Knows(50'000); }));
  EXPECT_EQ(followed.source.snapshots(), 1);
  EXPECT_EQ(followed.service.followers(), 1u);
  const std::vector<FollowedNodeStats> stats = followers_->Stats();
  ASSERT_EQ(stats.size(), 1u);
  EXPECT_TRUE(stats[0].connected);
  EXPECT_GE(stats[0].events, 20'000u - 1000u);
  EXPECT_GE(stats[0].bytes, stats[0].events * 24);
  // Whoever leaves is noticed.
  followers_->SetNodes({});
  EXPECT_TRUE(Eventually([&] { return followed.service.followers() == 0; }));
  EXPECT_TRUE(Eventually([&] { return node_.open() == 0; }));
}

TEST_F(FollowTest, AfterABrokenConnectionItGoesOnWhereItWas) {
  Followed followed(7);
  for (uint64_t key = 0; key < 1000; ++key) followed.source.Put(key);
  Follow(followed.server->address());
  ASSERT_TRUE(InSync(followed.source));
  const std::string address = followed.server->address();
  followed.server.reset();
  followed.source.Put(5000);
  followed.source.Remove(1);
  EXPECT_TRUE(node_.Knows(1));
  ASSERT_NO_FATAL_FAILURE(followed.Start(address));
  ASSERT_TRUE(InSync(followed.source));
  EXPECT_TRUE(node_.Knows(5000));
  EXPECT_FALSE(node_.Knows(1));
  EXPECT_EQ(followed.source.snapshots(), 1);
}

TEST_F(FollowTest, WhoIsTooSlowTakesASnapshotAgain) {
  Followed followed(7, /*log_capacity=*/100);
  followed.source.SetSnapshotStep(10);
  for (uint64_t key = 0; key < 50; ++key) followed.source.Put(key);
  Follow(followed.server->address());
  ASSERT_TRUE(InSync(followed.source));
  const std::string address = followed.server->address();
  followed.server.reset();
  for (uint64_t key = 0; key < 50; ++key) followed.source.Remove(key);
  for (uint64_t key = 100; key < 400; ++key) followed.source.Put(key);
  ASSERT_NO_FATAL_FAILURE(followed.Start(address));
  ASSERT_TRUE(InSync(followed.source));
  EXPECT_EQ(followed.source.snapshots(), 2);
  EXPECT_TRUE(Eventually([&] { return node_.entries() == 300; }));
  EXPECT_FALSE(node_.Knows(1));
  EXPECT_TRUE(node_.Knows(399));
}

TEST_F(FollowTest, AFollowerThatTakesNothingCostsOneMessageAndCatchesUp) {
  Followed followed(7, /*log_capacity=*/1000);
  followed.source.Put(1);
  Follow(followed.server->address());
  ASSERT_TRUE(InSync(followed.source));
  node_.HoldBack(true);
  // More than the log, the connection and its buffers hold.
  for (uint64_t key = 0; key < 300'000; ++key) {
    followed.source.Put(key % 5000, key % 2 == 0 ? kTierMemory : kTierDisk);
    if (key % 1000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  node_.HoldBack(false);
  ASSERT_TRUE(InSync(followed.source));
  EXPECT_EQ(node_.entries(), 5000u);
  bool told = false;
  for (const auto& end : node_.ends()) told |= end.code == absl::StatusCode::kOutOfRange;
  EXPECT_TRUE(told);
}

TEST_F(FollowTest, ARestartedNodeIsForgottenAndLearntAnew) {
  std::optional<Followed> followed(std::in_place, 7u);
  for (uint64_t key = 0; key < 100; ++key) followed->source.Put(key);
  Follow(followed->server->address(), 7);
  ASSERT_TRUE(InSync(followed->source));
  followed->server.reset();
  Followed restarted(8);
  restarted.source.Put(7777);
  Follow(restarted.server->address(), 8);
  ASSERT_TRUE(InSync(restarted.source));
  EXPECT_EQ(node_.entries(), 1u);
  EXPECT_TRUE(node_.Knows(7777));
}

TEST_F(FollowTest, StrangersAreRefused) {
  Followed followed(7);
  auto stub = v1::Cluster::NewStub(
      grpc::CreateChannel(followed.server->address(), grpc::InsecureChannelCredentials()));
  const auto ask = [&](const std::string& cluster, const std::string& proof) {
    grpc::ClientContext context, follow_context;
    v1::DescribeRequest request;
    request.set_cluster(cluster);
    request.set_proof(proof);
    v1::DescribeResponse response;
    const grpc::Status status = stub->Describe(&context, request, &response);
    v1::FollowRequest follow_request;
    follow_request.set_cluster(cluster);
    follow_request.set_proof(proof);
    v1::FollowResponse first;
    auto reader = stub->Follow(&follow_context, follow_request);
    EXPECT_EQ(reader->Read(&first), status.ok());
    if (status.ok()) follow_context.TryCancel();
    const grpc::Status follow_status = reader->Finish();
    if (!status.ok()) {
      EXPECT_EQ(follow_status.error_code(), status.error_code());
    }
    return status.error_code();
  };
  EXPECT_EQ(ask(kCluster, ClusterProof(kSecret, kCluster)), grpc::StatusCode::OK);
  EXPECT_EQ(ask(kCluster, ClusterProof("guess", kCluster)), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(ask(kCluster, ""), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(ask("other", ClusterProof(kSecret, "other")), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(FollowTest, AWrongSecretIsSaidAndTriedAgain) {
  ClusterServiceOptions options = ServiceOptions();
  options.secret = "another one";
  Followed followed(7, 100, options);
  Follow(followed.server->address());
  EXPECT_TRUE(Eventually([&] { return node_.ends().size() >= 2; }));
  EXPECT_EQ(node_.ends()[0].code, absl::StatusCode::kPermissionDenied);
  EXPECT_TRUE(absl::StrContains(followers_->Stats()[0].last_error, "proof"));
}

TEST_F(FollowTest, MoreFollowersThanItsBoundAreRefused) {
  ClusterServiceOptions options = ServiceOptions();
  options.follow.followers_max = 1;
  Followed followed(7, 100, options);
  Follow(followed.server->address());
  ASSERT_TRUE(InSync(followed.source));
  FollowingNode second;
  IndexFollowers more(FollowersOptions(), &second);
  more.SetNodes({{.name = "fake", .epoch = 1, .rpc_address = followed.server->address()}});
  EXPECT_TRUE(Eventually([&] { return !second.ends().empty(); }));
  EXPECT_EQ(second.ends()[0].code, absl::StatusCode::kResourceExhausted);
  followers_.reset();
  EXPECT_TRUE(Eventually([&] { return second.stats().in_sync; }));
}

// Sends one message of the test's choice in each stream, and then nothing.
class HostileService final : public v1::Cluster::Service {
 public:
  explicit HostileService(std::vector<v1::FollowResponse> messages)
      : messages_(std::move(messages)) {}
  grpc::Status Follow(grpc::ServerContext* context, const v1::FollowRequest* request,
                      grpc::ServerWriter<v1::FollowResponse>* writer) override {
    {
      std::lock_guard lock(mutex_);
      asked_.push_back({.epoch = request->epoch(), .sequence = request->from_sequence()});
    }
    for (const v1::FollowResponse& message : messages_) writer->Write(message);
    while (!context->IsCancelled()) std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return grpc::Status::OK;
  }
  // Where each stream was to begin.
  std::vector<FollowPosition> asked() const {
    std::lock_guard lock(mutex_);
    return asked_;
  }

 private:
  const std::vector<v1::FollowResponse> messages_;
  mutable std::mutex mutex_;
  std::vector<FollowPosition> asked_;
};

v1::FollowResponse GoodMessage() {
  v1::FollowResponse message;
  message.set_epoch(3);
  message.set_phase(v1::FOLLOW_PHASE_SNAPSHOT_END);
  const ChunkEvent event = Held(1);
  message.set_events(EncodeEvents(std::span(&event, 1)));
  return message;
}

TEST_F(FollowTest, NothingIsKeptOfANodeThatSendsGarbage) {
  const auto changed = [](auto change) {
    v1::FollowResponse message = GoodMessage();
    change(&message);
    return message;
  };
  const std::pair<v1::FollowResponse, std::string> cases[] = {
      {changed([](auto* message) { message->set_epoch(0); }), "epoch"},
      {changed([](auto* message) { message->set_phase(v1::FOLLOW_PHASE_UNSPECIFIED); }), "phase"},
      {changed([](auto* message) { message->set_events("garbage"); }), "header"},
      {changed([](auto* message) { message->mutable_events()->at(20) ^= 1; }), "checksum"},
      {changed([](auto* message) { message->set_first_sequence(9); }), "next_sequence"},
  };
  for (const auto& [bad, wanted] : cases) {
    SCOPED_TRACE(wanted);
    HostileService service({GoodMessage(), bad});
    ClusterServer server(&service);
    FollowingNode node;
    IndexFollowers followers(FollowersOptions(), &node);
    followers.SetNodes({{.name = "fake", .epoch = 3, .rpc_address = server.address()}});
    ASSERT_TRUE(Eventually([&] { return !node.ends().empty(); }));
    EXPECT_EQ(node.ends()[0].code, absl::StatusCode::kDataLoss);
    EXPECT_TRUE(absl::StrContains(node.ends()[0].why, wanted)) << node.ends()[0].why;
    EXPECT_EQ(node.ends()[0].entries, 0u);
    EXPECT_TRUE(Eventually([&] { return followers.Stats()[0].broken > 0; }));
  }
}

TEST_F(FollowTest, AfterAGapItAsksForWhatItMissed) {
  v1::FollowResponse snapshot = GoodMessage(), deltas = GoodMessage();
  snapshot.set_first_sequence(5);
  snapshot.set_next_sequence(5);
  deltas.set_phase(v1::FOLLOW_PHASE_DELTAS);
  deltas.set_first_sequence(7);
  deltas.set_next_sequence(8);
  HostileService service({snapshot, deltas});
  ClusterServer server(&service);
  Follow(server.address(), 3);
  ASSERT_TRUE(Eventually([&] { return service.asked().size() >= 2; }));
  EXPECT_EQ(service.asked()[0], FollowPosition{});
  EXPECT_EQ(service.asked()[1], (FollowPosition{3, 5}));
  EXPECT_EQ(node_.ends()[0].code, absl::StatusCode::kAborted);
  EXPECT_GE(node_.stats().gaps, 1u);
  EXPECT_TRUE(node_.Knows(1));
  followers_.reset();
}

TEST_F(FollowTest, ANodeThatFallsSilentIsAskedAnew) {
  HostileService service({GoodMessage()});
  ClusterServer server(&service);
  IndexFollowersOptions options = FollowersOptions();
  options.silence_max = absl::Milliseconds(100);
  FollowingNode node;
  IndexFollowers followers(options, &node);
  followers.SetNodes({{.name = "fake", .epoch = 3, .rpc_address = server.address()}});
  ASSERT_TRUE(Eventually([&] { return node.ends().size() >= 2; }));
  EXPECT_EQ(node.ends()[0].code, absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(node.Knows(1));  // silence is not garbage
}

}  // namespace
}  // namespace larder
