// larder.v1.Store of two nodes that are a cluster: where chunks are, and copies of them.
#include <gmock/gmock.h>

#include <array>
#include <functional>
#include <optional>

#include "daemon/rpc/cluster_link.h"
#include "tests/unit/daemon/rpc_fixture.h"
#include "tests/unit/transport/free_port.h"

namespace larder {
namespace {

using grpc::StatusCode;
using testing::HasSubstr;

// Where nobody listens, soon at least.
std::string FreeAddress() { return absl::StrCat("127.0.0.1:", FreePort()); }

// Nodes n0 and n1, besides the fixture's own, which is alone.
class StoreClusterRpcTest : public RpcTest {
 protected:
  void SetUp() override {
    const std::array<std::string, 2> addresses = {FreeAddress(), FreeAddress()};
    for (size_t i = 0; i < addresses.size(); ++i) {
      Member& member = members_[i];
      NodeOptions options = TestNodeOptions(member.directory.path(), uint64_t{64} << 20);
      options.cluster.name = "store";
      options.cluster.node = absl::StrCat("n", i);
      options.cluster.listen = "127.0.0.1:0";
      options.cluster.peers = absl::StrCat(addresses[0], ",", addresses[1]);
      member.node.emplace(options);
      auto server = RpcServer::Start({.listen = addresses[i]}, &**member.node);
      ASSERT_TRUE(server.ok()) << server.status();
      member.server = *std::move(server);
      auto link = ClusterLink::Start((*member.node)->cluster(), member.server->address());
      ASSERT_TRUE(link.ok()) << link.status();
      member.link = *std::move(link);
    }
  }
  void TearDown() override {
    store_ = nullptr;
    for (Member& member : members_) member.link = nullptr;
    for (Member& member : members_) member.server = nullptr;
  }

  // Calls go to that node from now on.
  void Use(size_t member) {
    store_ = v1::Store::NewStub(grpc::CreateChannel(members_[member].server->address(),
                                                    grpc::InsecureChannelCredentials()));
  }

  v1::MatchResponse Look(const std::string& space, const std::string& key, bool local_only) {
    grpc::ClientContext context;
    v1::MatchRequest request;
    request.set_space_id(space);
    request.add_keys(key);
    request.set_local_only(local_only);
    request.set_places(true);
    v1::MatchResponse response;
    const grpc::Status status = store_->Match(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  static bool Becomes(const std::function<bool()>& condition) {
    for (int i = 0; i < 1500; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
  }

  struct Member {
    TemporaryDirectory directory;
    std::optional<RunningNode> node;
    std::unique_ptr<RpcServer> server;
    std::unique_ptr<ClusterLink> link;
  };
  std::array<Member, 2> members_;
};

TEST_F(StoreClusterRpcTest, MatchSaysWhereChunksAreAndLeavesOutWhatIsNotWanted) {
  Use(1);
  const std::string space = OpenSpace(TestDescription("tenant"));
  Use(0);
  ASSERT_EQ(OpenSpace(TestDescription("tenant")), space);
  PutChunk(space, "k", 1);
  const v1::MatchResponse here = Look(space, "k", /*local_only=*/true);
  ASSERT_EQ(here.places_size(), 1);
  EXPECT_EQ(here.places(0).tier(), v1::CHUNK_TIER_MEMORY);
  EXPECT_EQ(here.places(0).node(), "");
  EXPECT_EQ(Match(space, {"k"}), 1u);

  Use(1);
  ASSERT_TRUE(Becomes([&] { return Look(space, "k", false).chunks() == 1; }));
  const v1::MatchResponse there = Look(space, "k", false);
  ASSERT_EQ(there.places_size(), 1);
  EXPECT_EQ(there.places(0).tier(), v1::CHUNK_TIER_PEER_MEMORY);
  EXPECT_EQ(there.places(0).node(), "n0");
  EXPECT_GT(there.places(0).predicted_us(), 0u);
  EXPECT_EQ(Look(space, "k", /*local_only=*/true).chunks(), 0u);

  v1::FetchRequest request;
  request.set_space_id(space);
  request.add_keys("k");
  request.set_local_only(true);
  std::vector<FetchedChunk> chunks;
  ASSERT_TRUE(Fetch(request, &chunks).ok());
  EXPECT_TRUE(chunks.empty());
  request.set_local_only(false);
  ASSERT_TRUE(Fetch(request, &chunks).ok());
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_EQ(chunks[0].payload, RandomPayload(1, chunk_bytes_));
}

TEST_F(StoreClusterRpcTest, APutMakesTheCopiesThatItAsksFor) {
  Use(0);
  const std::string space = OpenSpace(TestDescription("tenant"));
  const std::string payload = RandomPayload(1, chunk_bytes_);
  // The first copies are asked for when the nodes know each other.
  PutChunk(space, "first", 1);
  Use(1);
  ASSERT_EQ(OpenSpace(TestDescription("tenant")), space);
  ASSERT_TRUE(Becomes([&] { return Match(space, {"first"}) == 1; }));
  Use(0);
  const auto put = [&](const std::string& key, uint32_t copies, const std::string& copy_to) {
    v1::PutHeader header = HeaderOf(space, key);
    header.set_copies(copies);
    header.set_copy_to(copy_to);
    v1::PutResponse response;
    const grpc::Status status = Put(header, payload, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  };
  // "first" is there already, and gets its copy all the same.
  ASSERT_TRUE(Becomes([&] { return put("first", 2, "").copies_accepted() == 1; }));
  EXPECT_EQ(put("two", 2, "").copies_accepted(), 1u);
  EXPECT_EQ(put("named", 0, "n1").copies_accepted(), 1u);
  EXPECT_EQ(put("nowhere", 0, "n7").copies_accepted(), 0u);
  EXPECT_EQ(put("none", 0, "").copies_accepted(), 0u);
  Use(1);
  for (const char* key : {"first", "two", "named"}) {
    EXPECT_TRUE(Becomes([&] { return Look(space, key, /*local_only=*/true).chunks() == 1; }))
        << key;
  }
  EXPECT_EQ(Look(space, "none", /*local_only=*/true).chunks(), 0u);

  v1::PutHeader both = HeaderOf(space, "both");
  both.set_copies(2);
  both.set_copy_to("n0");
  v1::PutResponse response;
  const grpc::Status refused = Put(both, "", &response);
  EXPECT_EQ(refused.error_code(), StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(refused.error_message(), HasSubstr("copies: says how many, or copy_to"));
}

TEST_F(StoreClusterRpcTest, ACopyBringsItsSpaceAndTheCodecOfThat) {
  v1::SpaceDescription description = TestDescription("tenant", 2, 64);
  description.mutable_manifest()->set_codec(v1::CODEC_LARDER);
  description.mutable_manifest()->set_levels(2);
  Use(0);
  const std::string space = OpenSpace(description);
  v1::PutHeader header = HeaderOf(space, "k");
  header.set_copies(2);
  v1::FetchRequest request;
  request.set_space_id(space);
  request.add_keys("k");
  request.set_local_only(true);
  std::vector<FetchedChunk> chunks;
  // Until the nodes have met there is nobody to copy it to.
  ASSERT_TRUE(Becomes([&] {
    Use(0);
    v1::PutResponse response;
    EXPECT_TRUE(Put(header, RandomPayload(1, chunk_bytes_), &response).ok());
    Use(1);
    return Fetch(request, &chunks).ok() && chunks.size() == 1;
  }));
  EXPECT_EQ(chunks[0].header.levels(), 2u);
  PutChunk(space, "own", 2);
  request.set_keys(0, "own");
  chunks.clear();
  ASSERT_TRUE(Fetch(request, &chunks).ok());
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_EQ(chunks[0].header.levels(), 2u);
}

using StoreAloneRpcTest = RpcTest;

TEST_F(StoreAloneRpcTest, ANodeThatIsAloneMakesNoCopies) {
  const std::string space = OpenSpace(TestDescription("tenant"));
  v1::PutHeader header = HeaderOf(space, "k");
  header.set_copies(2);
  v1::PutResponse response;
  const grpc::Status refused = Put(header, "", &response);
  EXPECT_EQ(refused.error_code(), StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(refused.error_message(), HasSubstr("copies: this node belongs to no cluster"));
}

}  // namespace
}  // namespace larder
