// The source of members against an etcd that does what a real one does only in rare moments.
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <fstream>
#include <mutex>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "daemon/cluster/member_source.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/etcd/etcd.grpc.pb.h"

namespace larder {
namespace {

using testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Seconds(10);

MemberRecord Self() {
  return {.name = "a", .epoch = 1, .peer_address = "h:1", .rpc_address = "h:2", .version = "test"};
}

// An etcd with a history of its own.
class FakeEtcd final : public etcdserverpb::KV::Service,
                       public etcdserverpb::Watch::Service,
                       public etcdserverpb::Lease::Service,
                       public etcdserverpb::Auth::Service {
 public:
  FakeEtcd() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(static_cast<etcdserverpb::KV::Service*>(this));
    builder.RegisterService(static_cast<etcdserverpb::Watch::Service*>(this));
    builder.RegisterService(static_cast<etcdserverpb::Lease::Service*>(this));
    builder.RegisterService(static_cast<etcdserverpb::Auth::Service*>(this));
    server_ = builder.BuildAndStart();
    endpoint_ = absl::StrCat("127.0.0.1:", port);
  }
  ~FakeEtcd() override {
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }
  const std::string& endpoint() const { return endpoint_; }

  grpc::Status Range(grpc::ServerContext* context, const etcdserverpb::RangeRequest*,
                     etcdserverpb::RangeResponse* response) override {
    ++lists;
    while (hangs && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    response->mutable_header()->set_revision(10 + puts);
    std::lock_guard lock(mutex_);
    if (event_.has_kv()) *response->add_kvs() = event_.kv();
    return grpc::Status::OK;
  }
  grpc::Status Put(grpc::ServerContext*, const etcdserverpb::PutRequest* request,
                   etcdserverpb::PutResponse* response) override {
    const int64_t revision = 10 + ++puts;
    response->mutable_header()->set_revision(revision);
    std::lock_guard lock(mutex_);
    event_.set_type(etcdserverpb::Event::PUT);
    event_.mutable_kv()->set_key(request->key());
    event_.mutable_kv()->set_value(request->value());
    event_.mutable_kv()->set_mod_revision(revision);
    return grpc::Status::OK;
  }
  grpc::Status Watch(grpc::ServerContext*,
                     grpc::ServerReaderWriter<etcdserverpb::WatchResponse,
                                              etcdserverpb::WatchRequest>* stream) override {
    ++watches;
    etcdserverpb::WatchRequest request;
    stream->Read(&request);
    start_revision = request.create_request().start_revision();
    etcdserverpb::WatchResponse response;
    response.set_created(true);
    if (compactions_left > 0) {
      --compactions_left;
      response.set_canceled(true);
      response.set_compact_revision(50);
    }
    stream->Write(response);
    while (stream->Read(&request)) {
      if (!request.has_progress_request() || !answers_progress) continue;
      ++progresses;
      etcdserverpb::WatchResponse progress;
      std::lock_guard lock(mutex_);
      if (event_.has_kv()) *progress.add_events() = event_;
      stream->Write(progress);
    }
    return grpc::Status::OK;
  }
  grpc::Status LeaseGrant(grpc::ServerContext*, const etcdserverpb::LeaseGrantRequest* request,
                          etcdserverpb::LeaseGrantResponse* response) override {
    response->set_id(++leases);
    response->set_ttl(request->ttl());
    return grpc::Status::OK;
  }
  grpc::Status LeaseKeepAlive(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<etcdserverpb::LeaseKeepAliveResponse,
                               etcdserverpb::LeaseKeepAliveRequest>* stream) override {
    etcdserverpb::LeaseKeepAliveRequest request;
    while (stream->Read(&request)) {
      etcdserverpb::LeaseKeepAliveResponse response;
      response.set_id(request.id());
      response.set_ttl(request.id() == leases ? 2 : 0);
      stream->Write(response);
    }
    return grpc::Status::OK;
  }

  grpc::Status Authenticate(grpc::ServerContext*, const etcdserverpb::AuthenticateRequest*,
                            etcdserverpb::AuthenticateResponse* response) override {
    response->set_token("no\ntext");
    return grpc::Status::OK;
  }

  std::atomic<int> lists = 0, watches = 0, puts = 0, leases = 0, progresses = 0;
  std::atomic<int> compactions_left = 0;
  std::atomic<int64_t> start_revision = 0;
  std::atomic<bool> answers_progress = true;
  std::atomic<bool> hangs = false;

 private:
  std::mutex mutex_;
  etcdserverpb::Event event_;  // the last one
  std::unique_ptr<grpc::Server> server_;
  std::string endpoint_;
};

class EtcdMembersTest : public testing::Test {
 protected:
  void Start(absl::Duration lease_ttl = absl::Seconds(2), const std::string& user = "") {
    EtcdOptions options;
    options.user = user;
    options.endpoints = {etcd_.endpoint()};
    options.cluster = "test";
    options.lease_ttl = lease_ttl;
    absl::StatusOr<std::unique_ptr<MemberSource>> source =
        StartEtcdMembers(options, Self(), [this] { ++changes_; });
    ASSERT_TRUE(source.ok()) << source.status();
    source_ = *std::move(source);
  }
  template <typename Condition>
  bool Eventually(const Condition& condition) {
    const absl::Time end = absl::Now() + kPatience;
    while (!condition() && absl::Now() < end) absl::SleepFor(absl::Milliseconds(2));
    return condition();
  }

  FakeEtcd etcd_;
  std::atomic<int> changes_ = 0;
  std::unique_ptr<MemberSource> source_;
};

TEST_F(EtcdMembersTest, ACompactedWatchListsAgainAndIsNoOutage) {
  etcd_.compactions_left = 2;
  Start();
  ASSERT_TRUE(Eventually([&] { return etcd_.watches == 3 && etcd_.puts == 1; }));
  EXPECT_EQ(etcd_.lists, 3);
  EXPECT_EQ(etcd_.start_revision, 12) << "not from the one after the last list";
  EXPECT_TRUE(source_->View().source_reachable);
  EXPECT_EQ(changes_, 1) << "reachable, and nothing since";
}

TEST_F(EtcdMembersTest, CompactionWithoutEndIsAnOutage) {
  etcd_.compactions_left = 1'000'000;
  Start();
  ASSERT_TRUE(Eventually([&] { return absl::StrContains(source_->View().problem, "compacted"); }));
  EXPECT_LT(etcd_.lists, 50);
}

TEST_F(EtcdMembersTest, ASilentWatchIsAnOutage) {
  etcd_.answers_progress = false;
  Start();
  ASSERT_TRUE(Eventually([&] { return absl::StrContains(source_->View().problem, "is silent"); }));
  EXPECT_FALSE(source_->View().source_reachable);
  etcd_.answers_progress = true;
  EXPECT_TRUE(Eventually([&] { return etcd_.progresses >= 2; }));
  EXPECT_TRUE(source_->View().source_reachable);
}

TEST_F(EtcdMembersTest, WritesItsRecordOnceAndAgainUnderAnotherLease) {
  Start();
  ASSERT_TRUE(Eventually([&] { return etcd_.progresses >= 2; }));
  EXPECT_EQ(etcd_.puts, 1);
  etcd_.leases = 7;  // the one of before is not known any more
  ASSERT_TRUE(Eventually([&] { return etcd_.puts == 2; }));
  EXPECT_EQ(etcd_.leases, 8);
  MemberRecord draining = Self();
  draining.draining = true;
  source_->Publish(draining);
  ASSERT_TRUE(Eventually([&] { return etcd_.puts == 3; }));
  EXPECT_EQ(etcd_.lists, 1) << "all in one session";
}

TEST_F(EtcdMembersTest, EndsAndWithdrawsAtOnceWhileEtcdHangs) {
  etcd_.hangs = true;
  Start(absl::Minutes(1));  // calls may take 5 s
  ASSERT_TRUE(Eventually([&] { return etcd_.lists > 0; }));
  const absl::Time began = absl::Now();
  source_->Withdraw(SystemClock::Get().Now() + absl::Minutes(1));
  source_.reset();
  EXPECT_LT(absl::Now() - began, absl::Seconds(1));
}

TEST_F(EtcdMembersTest, ATokenThatIsNoTextIsRefused) {
  Start(absl::Seconds(2), "larder");
  EXPECT_TRUE(Eventually([&] {
    return absl::StrContains(source_->View().problem, "a token that is no text");
  })) << source_->View().problem;
  EXPECT_EQ(etcd_.lists, 0);
}

TEST(EtcdOptionsTest, AreCheckedAtTheStart) {
  EtcdOptions good;
  good.endpoints = {"127.0.0.1:1"};
  good.cluster = "test";
  const std::string not_pem = testing::TempDir() + "/not_pem";
  std::ofstream(not_pem) << "no certificate";
  const struct {
    std::function<void(EtcdOptions&)> change;
    const char* error;
  } cases[] = {
      {[](EtcdOptions& o) { o.endpoints.clear(); }, "endpoints are 0"},
      {[](EtcdOptions& o) { o.endpoints.resize(17, "h:1"); }, "endpoints are 17"},
      {[](EtcdOptions& o) { o.endpoints = {"h"}; }, "endpoint \"h\""},
      {[](EtcdOptions& o) { o.endpoints = {"h:99999"}; }, "endpoint \"h:99999\""},
      {[](EtcdOptions& o) { o.endpoints = {"ftp://h:1"}; }, "endpoint \"ftp://h:1\""},
      {[](EtcdOptions& o) { o.prefix = "larder"; }, "prefix"},
      {[](EtcdOptions& o) { o.cluster = "a/b"; }, "cluster: name \"a/b\""},
      {[](EtcdOptions& o) { o.password = "x"; }, "password has no user"},
      {[](EtcdOptions& o) { o.certificate_file = "x"; }, "go together"},
      {[](EtcdOptions& o) { o.lease_ttl = absl::Seconds(1); }, "lease_ttl"},
      {[](EtcdOptions& o) { o.lease_ttl = absl::Milliseconds(2500); }, "lease_ttl"},
      {[](EtcdOptions& o) { o.ca_file = "/nowhere/ca.pem"; }, "/nowhere/ca.pem: No such file"},
      {[&](EtcdOptions& o) { o.ca_file = not_pem; }, "is not PEM"},
      {[](EtcdOptions& o) {
         o.endpoints = {"http://h:1"};
         o.ca_file = "x";
       },
       "without TLS"},
  };
  for (const auto& test : cases) {
    EtcdOptions options = good;
    test.change(options);
    const auto source = StartEtcdMembers(options, Self(), nullptr);
    ASSERT_FALSE(source.ok()) << test.error;
    EXPECT_THAT(std::string(source.status().message()), HasSubstr(test.error));
  }
  MemberRecord nameless = Self();
  nameless.name.clear();
  EXPECT_TRUE(absl::IsInvalidArgument(StartEtcdMembers(good, nameless, nullptr).status()));
}

}  // namespace
}  // namespace larder
