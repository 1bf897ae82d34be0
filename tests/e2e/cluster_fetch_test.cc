// Three daemons on three hosts: what one stores all read; copies, drains and returns.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/e2e/cluster_fixture.h"

namespace larder {
namespace {

using testing::AllOf;
using testing::Each;
using testing::Field;
using testing::SizeIs;

constexpr uint64_t kChains = 12;

class ClusterFetchTest : public ClusterTest {
 protected:
  // The node that a chain is put to, round robin.
  static int HomeOf(uint64_t chain) { return static_cast<int>(chain % kNodes); }
  void PutRoundRobin() {
    for (uint64_t chain = 0; chain < kChains; ++chain) {
      ASSERT_NO_FATAL_FAILURE(PutChain(HomeOf(chain), chain));
    }
  }
};

TEST_F(ClusterFetchTest, EveryNodeReadsWhatAnyOfThemStores) {
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  ASSERT_NO_FATAL_FAILURE(PutRoundRobin());
  for (int reader = 0; reader < kNodes; ++reader) {
    for (uint64_t chain = 0; chain < kChains; ++chain) {
      const bool home = HomeOf(chain) == reader;
      EXPECT_EQ(LocalChunks(reader, chain), home ? kClusterChunks : 0);
      ExpectReads(reader, chain);
    }
  }
  ASSERT_NO_FATAL_FAILURE(PutChain(2, kChains));
  const absl::StatusOr<ChunkView> view = space(0).View(KnownKeys(kChains, kClusterChunks));
  ASSERT_TRUE(view.ok()) << view.status();
  ASSERT_GT(view->chunks(), 0u);
  for (size_t chunk = 0; chunk < view->chunks(); ++chunk) {
    const absl::StatusOr<ContainerView> container = view->Open(chunk);
    ASSERT_TRUE(container.ok()) << container.status();
    EXPECT_TRUE(container->VerifyBodies().ok());
  }
  for (int reader = 0; reader < kNodes; ++reader) {
    const nlohmann::json cluster = Cluster(reader);
    EXPECT_GT(cluster.value("fetched_chunks", 0), 0) << cluster;
    EXPECT_GT(cluster.value("served_chunks", 0), 0) << cluster;
    EXPECT_EQ(cluster.value("corrupt_arrivals", 0), 0) << cluster;
    EXPECT_EQ(cluster.value("bad_messages", 0), 0) << cluster;
  }
}

TEST_F(ClusterFetchTest, MatchSaysWhereChunksAreAndLeavesOutWhatIsNotWanted) {
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  ASSERT_NO_FATAL_FAILURE(PutChain(0, 1));
  const auto keys = KnownKeys(1, kClusterChunks);
  MatchOptions options;
  options.locations = true;
  const MatchResult here = space(0).Match(keys, options);
  ASSERT_THAT(here.locations, SizeIs(kClusterChunks));
  EXPECT_THAT(here.locations, Each(Field(&ChunkLocation::tier, ChunkLocation::Tier::kMemory)));
  EXPECT_EQ(here.peer_chunks, 0u);

  const MatchResult there = space(1).Match(keys, options);
  ASSERT_THAT(there.locations, SizeIs(kClusterChunks));
  EXPECT_THAT(there.locations,
              Each(AllOf(Field(&ChunkLocation::tier, ChunkLocation::Tier::kPeerMemory),
                         Field(&ChunkLocation::node, node(0).name),
                         Field(&ChunkLocation::predicted, testing::Gt(absl::ZeroDuration())))));
  EXPECT_EQ(there.peer_chunks, kClusterChunks);
  EXPECT_EQ(there.memory_chunks, 0u);

  const uint64_t tokens = kClusterChunks * manifest_.tokens_per_chunk;
  MatchOptions enough, too_few, local;
  enough.min_tokens = tokens;
  too_few.min_tokens = tokens + 1;
  local.local_only = true;
  EXPECT_EQ(space(1).Match(keys, enough).chunks, kClusterChunks);
  EXPECT_EQ(space(1).Match(keys, too_few).chunks, 0u);
  EXPECT_EQ(space(1).Match(keys, local).chunks, 0u);
  FetchOptions local_fetch;
  local_fetch.local_only = true;
  const FetchResult fetch =
      space(1).Fetch(keys, buffers_.destinations(kClusterChunks), local_fetch);
  EXPECT_TRUE(absl::IsNotFound(fetch.status)) << fetch.status;
  EXPECT_EQ(fetch.chunks, 0u);
  EXPECT_EQ(LocalChunks(1, 1), 0u) << "it was fetched all the same";
}

TEST_F(ClusterFetchTest, CopiesOutliveTheNodeThatWasPutTo) {
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  PutOptions two;
  two.copies.copies = 2;
  two.copies.wait = true;
  ASSERT_NO_FATAL_FAILURE(PutChain(0, 1, two));
  EXPECT_EQ(LocalChunks(1, 1) + LocalChunks(2, 1), kClusterChunks);
  PutOptions named;
  named.copies.node = node(2).name;
  named.copies.wait = true;
  ASSERT_NO_FATAL_FAILURE(PutChain(0, 2, named));
  EXPECT_EQ(LocalChunks(2, 2), kClusterChunks);
  EXPECT_EQ(LocalChunks(1, 2), 0u);
  ASSERT_NO_FATAL_FAILURE(PutChain(0, 3));
  CopyOptions copy;
  copy.node = node(1).name;
  copy.wait = true;
  const absl::StatusOr<CopyResult> copied = space(0).Copy(KnownKeys(3, kClusterChunks), copy);
  ASSERT_TRUE(copied.ok()) << copied.status();
  EXPECT_EQ(copied->copied, kClusterChunks);
  EXPECT_EQ(LocalChunks(1, 3), kClusterChunks);

  KillNode(0);
  for (int reader = 1; reader < kNodes; ++reader) {
    for (uint64_t chain = 1; chain <= 3; ++chain) ExpectReads(reader, chain);
  }
}

TEST_F(ClusterFetchTest, ADrainedNodeLeavesItsChunksToTheOthers) {
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  ASSERT_NO_FATAL_FAILURE(PutRoundRobin());
  ASSERT_NO_FATAL_FAILURE(EndNode(0));
  ASSERT_NO_FATAL_FAILURE(AwaitSync());
  for (int reader = 1; reader < kNodes; ++reader) {
    for (uint64_t chain = 0; chain < kChains; ++chain) ExpectReads(reader, chain);
  }
}

TEST_F(ClusterFetchTest, ANodeComesBackWithWhatItHasKept) {
  ASSERT_NO_FATAL_FAILURE(StartCluster());
  ASSERT_NO_FATAL_FAILURE(PutRoundRobin());
  KillNode(0);
  ASSERT_NO_FATAL_FAILURE(AwaitSync());
  EXPECT_TRUE(Sees(1, 0, 0)) << "chunks of a node that is gone";

  ASSERT_NO_FATAL_FAILURE(StartNode(0));
  ASSERT_NO_FATAL_FAILURE(AwaitSync());
  EXPECT_TRUE(Sees(1, 0)) << "it does not say again what it holds";
  ExpectReads(1, 0);

  KillNode(0);
  LoseArena(0);
  ASSERT_NO_FATAL_FAILURE(StartNode(0));
  ASSERT_NO_FATAL_FAILURE(AwaitSync());
  EXPECT_TRUE(Sees(2, 3, 0)) << "chunks that were lost with the memory";
  ExpectReads(0, 1);
}

TEST_F(ClusterFetchTest, ANodeComesBackWithItsDisk) {
  ClusterSetup setup;
  setup.arena_bytes = 16 * kMiB;
  setup.disk_bytes = kDiskOverheadBytes + 64 * kMiB;
  ASSERT_NO_FATAL_FAILURE(StartCluster(setup));
  // More than fits into the memory of a node.
  constexpr uint64_t kManyChains = 40;
  for (uint64_t chain = 0; chain < kManyChains; ++chain) {
    ASSERT_NO_FATAL_FAILURE(PutChain(0, chain));
  }
  ASSERT_NO_FATAL_FAILURE(EndNode(0));
  LoseArena(0);
  ASSERT_NO_FATAL_FAILURE(StartNode(0));
  ASSERT_NO_FATAL_FAILURE(AwaitSync());
  const nlohmann::json kept = Member(1, 0);
  EXPECT_GT(kept.value("disk_bytes", 0), 0) << kept;
  EXPECT_EQ(kept.value("memory_bytes", 0), 0) << kept;
  uint64_t right = 0;
  for (uint64_t chain = 0; chain < kManyChains; ++chain) {
    const ChainCheck check = CheckChain(space(1), chain, kClusterChunks, buffers_);
    EXPECT_EQ(check.trouble, "");
    right += check.present;
  }
  EXPECT_GE(right, kept.value("chunks", uint64_t{0}));
}

}  // namespace
}  // namespace larder
