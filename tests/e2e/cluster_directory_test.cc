// Clusters in which only some nodes follow the others: what plain nodes find through these, and
// what happens when these are killed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "tests/e2e/cluster_fixture.h"
#include "tests/e2e/cluster_traffic.h"

namespace larder {
namespace {

using testing::HasSubstr;

// Nodes 0, 1, ... are the directory nodes; the last two are none.
constexpr int kAll = 4;
constexpr int kPlain = 2, kOtherPlain = 3;
constexpr uint64_t kChains = 14;  // more than a hundred chunks

class ClusterDirectoryTest : public ClusterTest {
 protected:
  void StartWithDirectories(int count) {
    ClusterSetup setup;
    setup.nodes = kAll;
    setup.flags_of.resize(static_cast<size_t>(count), {"--set", "cluster.directory=true"});
    ASSERT_NO_FATAL_FAILURE(StartCluster(setup));
    ASSERT_TRUE(Becomes([&] { return Asks(kPlain) && Asks(kOtherPlain); }));
  }
  // A node that does not answer says neither.
  bool Asks(int node) const { return Cluster(node).value("asks_directory", false); }
  bool Follows(int node) const { return !Cluster(node).value("asks_directory", true); }
  uint64_t Count(int node, const char* field) const {
    return Cluster(node).value(field, uint64_t{0});
  }
  // Chains that no other node has heard of yet.
  void PutUnseen(int node, uint64_t first, uint64_t chains) {
    for (uint64_t chain = first; chain < first + chains; ++chain) {
      const auto keys = KnownKeys(chain, kClusterChunks);
      buffers_.Fill(keys);
      PutOptions options;
      options.pin = true;
      const PutResult put = space(node).Put(keys, buffers_.sources(kClusterChunks), options);
      ASSERT_TRUE(put.status.ok()) << put.status;
    }
  }
};

TEST_F(ClusterDirectoryTest, PlainNodesFindWhatOthersHoldByAsking) {
  ASSERT_NO_FATAL_FAILURE(StartWithDirectories(1));
  EXPECT_TRUE(Follows(0));
  EXPECT_TRUE(Member(kPlain, 0).value("directory", false));
  EXPECT_FALSE(Member(kPlain, kOtherPlain).value("directory", true));
  const Ended text = RunProgram({LARDERCTL_PATH, "cluster", "--address=" + grpc_address(kPlain)});
  EXPECT_THAT(text.output, HasSubstr("up, directory"));

  ASSERT_NO_FATAL_FAILURE(PutChain(kPlain, 1));
  ExpectReads(kOtherPlain, 1);
  ASSERT_NO_FATAL_FAILURE(PutChain(0, 2));
  ExpectReads(kPlain, 2);
  EXPECT_GT(Count(kOtherPlain, "directory_found"), 0u);
  EXPECT_GT(Count(0, "answered_keys"), 0u);
  EXPECT_EQ(Count(0, "directory_questions"), 0u);
  EXPECT_EQ(Count(0, "bad_messages") + Count(kPlain, "bad_messages"), 0u);
}

TEST_F(ClusterDirectoryTest, APlainNodeAsksWhereAChunkIs) {
  ASSERT_NO_FATAL_FAILURE(StartWithDirectories(1));
  ASSERT_NO_FATAL_FAILURE(PutUnseen(kPlain, 1, 1));
  const Sha256Digest key = KnownKeys(1, 1)[0];
  const std::string hex = absl::BytesToHexString(
      absl::string_view(reinterpret_cast<const char*>(key.data()), key.size()));
  // It has never heard of the chunk, and the directory node has in a moment.
  EXPECT_TRUE(Becomes([&] {
    const Ended where =
        RunProgram({LARDERCTL_PATH, "where", hex, "--address=" + grpc_address(kOtherPlain)});
    return where.output.find(node(kPlain).name + " (memory") != std::string::npos;
  }));
  EXPECT_GT(Count(kOtherPlain, "directory_questions"), 0u);
}

TEST_F(ClusterDirectoryTest, TheOtherDirectoryNodeAnswersForAKilledOne) {
  ASSERT_NO_FATAL_FAILURE(StartWithDirectories(2));
  ClusterTraffic traffic(Spaces(), 1);
  constexpr uint64_t kBefore = 100, kAfter = 200, kBack = 300;
  ASSERT_NO_FATAL_FAILURE(PutUnseen(kPlain, kBefore, kChains));
  ASSERT_NO_FATAL_FAILURE(PutUnseen(kPlain, kAfter, kChains));
  KillNode(0);
  // Before anybody knows of it, and after.
  ExpectQuick(TimeReads(kOtherPlain, kBefore, kChains));
  EXPECT_TRUE(Becomes([&] { return !Member(kOtherPlain, 0).value("up", false); }));
  const uint64_t answered = Count(1, "answered_questions");
  for (uint64_t chain = kAfter; chain < kAfter + kChains; ++chain) {
    EXPECT_TRUE(Sees(kOtherPlain, chain)) << chain;
    ExpectReads(kOtherPlain, chain);
  }
  EXPECT_GT(Count(1, "answered_questions"), answered);

  ASSERT_NO_FATAL_FAILURE(StartNode(0));
  ASSERT_NO_FATAL_FAILURE(AwaitSync());
  ASSERT_NO_FATAL_FAILURE(PutUnseen(kOtherPlain, kBack, kChains));
  for (uint64_t chain = kBack; chain < kBack + kChains; ++chain) {
    EXPECT_TRUE(Sees(kPlain, chain)) << chain;
    ExpectReads(kPlain, chain);
  }
  EXPECT_GT(Count(0, "answered_questions"), 0u) << "the one that came back is not asked";
  EXPECT_EQ(traffic.Stop(), "");
  EXPECT_GT(traffic.read_chunks(), 0u);
}

TEST_F(ClusterDirectoryTest, WithoutAnyDirectoryNodeAllFollowAll) {
  ASSERT_NO_FATAL_FAILURE(StartWithDirectories(1));
  constexpr uint64_t kFirst = 100;
  ASSERT_NO_FATAL_FAILURE(PutUnseen(kPlain, kFirst, kChains));
  KillNode(0);
  ExpectQuick(TimeReads(kOtherPlain, kFirst, kChains));
  ASSERT_NO_FATAL_FAILURE(AwaitSync());
  EXPECT_TRUE(Follows(kPlain));
  EXPECT_TRUE(Follows(kOtherPlain));
  EXPECT_TRUE(Sees(kOtherPlain, kFirst));
  ExpectReads(kOtherPlain, kFirst);

  ASSERT_NO_FATAL_FAILURE(StartNode(0));
  ASSERT_NO_FATAL_FAILURE(AwaitSync());
  EXPECT_TRUE(Becomes([&] { return Asks(kPlain) && Asks(kOtherPlain); }));
  ASSERT_NO_FATAL_FAILURE(PutChain(kOtherPlain, 1));
  ExpectReads(kPlain, 1);
}

}  // namespace
}  // namespace larder
