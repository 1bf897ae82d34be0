// Members behind fixed addresses, against a small Cluster service.
#include <grpcpp/grpcpp.h>

#include <atomic>
#include <mutex>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "daemon/cluster/member_source.h"
#include "daemon/cluster/proof.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "proto/larder/v1/cluster.grpc.pb.h"

namespace larder {
namespace {

using testing::HasSubstr;

constexpr absl::Duration kPatience = absl::Seconds(10);

MemberRecord Member(absl::string_view name, uint64_t epoch = 1) {
  return {.name = std::string(name),
          .epoch = epoch,
          .peer_address = "h:1",
          .rpc_address = "h:2",
          .directory = true,
          .memory_bytes = 3,
          .disk_bytes = 4,
          .version = "test"};
}

// One node's answer to Describe.
class FakeNode final : public v1::Cluster::Service {
 public:
  explicit FakeNode(const MemberRecord& record, const std::string& listen = "127.0.0.1:0")
      : record_(record) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(listen, grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~FakeNode() override {
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
  }
  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  void Set(const MemberRecord& record) {
    std::lock_guard lock(mutex_);
    record_ = record;
  }

  grpc::Status Describe(grpc::ServerContext* context, const v1::DescribeRequest* request,
                        v1::DescribeResponse* response) override {
    ++asked;
    while (hangs && !context->IsCancelled()) absl::SleepFor(absl::Milliseconds(5));
    if (!ProvesCluster(request->proof(), "secret", "test")) {
      return {grpc::StatusCode::PERMISSION_DENIED, "wrong proof"};
    }
    std::lock_guard lock(mutex_);
    response->set_name(record_.name);
    response->set_epoch(record_.epoch);
    response->set_peer_address(record_.peer_address);
    response->set_rpc_address(record_.rpc_address);
    response->set_draining(record_.draining);
    response->set_directory(record_.directory);
    response->set_memory_bytes(record_.memory_bytes);
    response->set_disk_bytes(record_.disk_bytes);
    response->set_version(record_.version);
    return grpc::Status::OK;
  }

  std::atomic<int> asked = 0;
  std::atomic<bool> hangs = false;

 private:
  std::mutex mutex_;
  MemberRecord record_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

class StaticMembersTest : public testing::Test {
 protected:
  void Start(std::vector<std::string> addresses, const std::string& secret = "secret") {
    StaticOptions options;
    options.addresses = std::move(addresses);
    options.cluster = "test";
    options.secret = secret;
    options.poll_interval = absl::Milliseconds(20);
    options.member_timeout = absl::Milliseconds(500);
    absl::StatusOr<std::unique_ptr<MemberSource>> source =
        StartStaticMembers(options, Member("m"), [this] { ++changes_; });
    ASSERT_TRUE(source.ok()) << source.status();
    source_ = *std::move(source);
  }
  bool Sees(const std::vector<MemberRecord>& members) {
    return Eventually([&] { return source_->View().members == members; });
  }
  template <typename Condition>
  bool Eventually(const Condition& condition) {
    const absl::Time end = absl::Now() + kPatience;
    while (!condition() && absl::Now() < end) absl::SleepFor(absl::Milliseconds(2));
    return condition();
  }

  std::atomic<int> changes_ = 0;
  std::unique_ptr<MemberSource> source_;
};

TEST_F(StaticMembersTest, NodesComeChangeGoAndComeBack) {
  auto a = std::make_unique<FakeNode>(Member("a"));
  FakeNode self(Member("m"));
  const std::string address = a->address();
  Start({address, self.address()});
  ASSERT_TRUE(Sees({Member("a"), Member("m")}));
  EXPECT_TRUE(Eventually([&] { return source_->View().problem.empty(); }));
  EXPECT_TRUE(source_->View().source_reachable);
  const int before = changes_;
  MemberRecord draining = Member("a");
  draining.draining = true;
  a->Set(draining);
  ASSERT_TRUE(Sees({draining, Member("m")}));
  EXPECT_TRUE(Eventually([&] { return changes_ == before + 1; }));
  a.reset();
  ASSERT_TRUE(Sees({Member("m")}));
  EXPECT_THAT(source_->View().problem, HasSubstr(absl::StrCat(address, ": UNAVAILABLE")));
  FakeNode again(Member("a", 2), address);
  EXPECT_TRUE(Sees({Member("a", 2), Member("m")}));
}

TEST_F(StaticMembersTest, ThisNodesChangesAreItsOwn) {
  FakeNode a(Member("a"));
  Start({a.address()});
  ASSERT_TRUE(Sees({Member("a"), Member("m")}));
  MemberRecord draining = Member("m");
  draining.draining = true;
  const int before = changes_;
  source_->Publish(draining);
  EXPECT_EQ(source_->View().members[1], draining);
  EXPECT_TRUE(Eventually([&] { return changes_ > before; }));
}

TEST_F(StaticMembersTest, AWrongSecretIsToldToBothSides) {
  FakeNode a(Member("a"));
  Start({a.address()}, "guess");
  EXPECT_TRUE(Eventually([&] {
    return absl::StrContains(source_->View().problem, "PERMISSION_DENIED: wrong proof");
  })) << source_->View().problem;
  EXPECT_EQ(source_->View().members.size(), 1);
}

TEST_F(StaticMembersTest, OneThatHangsHoldsUpNobodyAndGoes) {
  FakeNode a(Member("a"));
  FakeNode b(Member("b"));
  Start({a.address(), b.address()});
  ASSERT_TRUE(Sees({Member("a"), Member("b"), Member("m")}));
  b.hangs = true;
  ASSERT_TRUE(Sees({Member("a"), Member("m")}));
  const int asked = a.asked;
  EXPECT_TRUE(Eventually([&] { return a.asked >= asked + 10; }));
  const absl::Time began = absl::Now();
  source_.reset();
  EXPECT_LT(absl::Now() - began, absl::Milliseconds(400)) << "waits for the one that hangs";
}

TEST(StaticOptionsTest, AreCheckedAtTheStart) {
  const StaticOptions good{.addresses = {"h:1"}, .cluster = "test", .secret = ""};
  const struct {
    std::function<void(StaticOptions&)> change;
    const char* error;
  } cases[] = {
      {[](StaticOptions& o) { o.addresses.clear(); }, "peers are 0"},
      {[](StaticOptions& o) { o.addresses.resize(257, "h:1"); }, "peers are 257"},
      {[](StaticOptions& o) { o.addresses[0] = "h"; }, "peer \"h\" is not HOST:PORT"},
      {[](StaticOptions& o) { o.cluster = ""; }, "cluster: name \"\""},
      {[](StaticOptions& o) { o.poll_interval = absl::ZeroDuration(); }, "poll_interval"},
      {[](StaticOptions& o) { o.member_timeout = absl::Milliseconds(999); }, "member_timeout"},
  };
  for (const auto& test : cases) {
    StaticOptions options = good;
    test.change(options);
    const auto source = StartStaticMembers(options, Member("m"), nullptr);
    ASSERT_FALSE(source.ok()) << test.error;
    EXPECT_THAT(std::string(source.status().message()), HasSubstr(test.error));
  }
}

}  // namespace
}  // namespace larder
