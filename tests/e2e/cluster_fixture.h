// Clusters of real daemons, each on a host of its own, and what a test wants to know of them.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "client/client.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/disk_fixture.h"
#include "tests/e2e/etcd_process.h"
#include "tests/e2e/known_chunks.h"
#include "tests/e2e/test_network.h"

namespace larder {

inline constexpr size_t kClusterChunks = 8;  // of each chain; 64 KiB each

// One daemon, what it is started with, and a client of it that outlives its kills. Moved only while
// the cluster is built.
struct ClusterNodeUnderTest {
  std::string name;
  std::string directory;
  std::unique_ptr<DaemonProcess> daemon;
  std::unique_ptr<Client> client;
  std::optional<ClientSpace> space;
  bool expected = false;  // among the members
};

struct ClusterSetup {
  uint64_t arena_bytes = uint64_t{64} << 20;
  uint64_t disk_bytes = 0;  // of each node; 0: no disks
  // Of every daemon.
  std::vector<std::string> flags = {};
  int nodes = 3;  // at most ClusterTest::kNodesMax
  // Of the nodes 0, 1, ... besides; the last ones may have none.
  std::vector<std::vector<std::string>> flags_of = {};
};

// A few nodes, an etcd and a host for strangers, each in a network of its own; the whole is built
// again for each test. Skipped where there is no etcd or networks can't be made.
class ClusterTest : public testing::Test {
 protected:
  static constexpr char kCluster[] = "test";
  static constexpr int kNodes = 3;  // unless the setup says otherwise
  static constexpr int kNodesMax = 4;
  static constexpr int kEtcdHost = 4;
  static constexpr int kStrangersHost = 5;
  static constexpr int kHosts = 6;
  static constexpr int kPeerPort = 7420;
  static constexpr int kGrpcPort = 7411;
  // Calls without a deadline of their own.
  static constexpr absl::Duration kCallTimeout = absl::Seconds(5);
  // How much later than its deadline a call may return on a busy machine.
  static constexpr absl::Duration kLateness = absl::Seconds(2);

  void SetUp() override;
  // Starts everything and waits until the nodes are in sync.
  void StartCluster(const ClusterSetup& setup = {});
  // larderd's command line but for its directory; `host` is where it runs.
  DaemonOptions NodeOptions(int host, const std::string& name, const std::string& cluster) const;
  // Again, after Kill or End.
  void StartNode(int node);
  void KillNode(int node);
  // As an operator does: what it holds goes to the others first.
  void EndNode(int node);
  // As a reboot does: memory is gone. REQUIRES: the node does not run.
  void LoseArena(int node) const;

  // `larderctl cluster --json`, asked of the node; empty when it does not answer.
  nlohmann::json Cluster(int node) const;
  // The same, of `other` as `node` knows it; empty when it does not.
  nlohmann::json Member(int node, int other) const;
  // As Eventually, for what takes a process to find out: it leaves the daemons some time.
  template <typename Condition>
  static bool Becomes(const Condition& condition, absl::Duration patience = kPatience) {
    return Eventually(
        [&] {
          const bool is = condition();
          if (!is) absl::SleepFor(absl::Milliseconds(50));
          return is;
        },
        patience);
  }
  // True when each of the expected nodes is connected to each other one as it runs now and, unless
  // it asks directory nodes, in sync with it, and knows of no other members.
  bool InSync() const;
  // Every node's handle, for traffic.
  std::vector<ClientSpace> Spaces() const;
  // Waits for it; says what is missing otherwise.
  void AwaitSync(absl::Duration patience = kPatience) const;

  // Stores the chain at the node and waits until every expected node sees it whole.
  void PutChain(int node, uint64_t chain, const PutOptions& options = {});
  // The same; whatever else is put, it stays there.
  void PutPinnedChain(int node, uint64_t chain);
  bool Sees(int node, uint64_t chain, size_t chunks = kClusterChunks,
            absl::Duration patience = kPatience);
  // Fetches the chain whole; every byte is to be right.
  void ExpectReads(int node, uint64_t chain);
  // Matches and fetches every chunk of the chains on its own: misses are in order, wrong bytes and
  // calls that outlast their deadlines are not. Returns how long each took, the first ones first.
  std::vector<absl::Duration> TimeReads(int node, uint64_t first_chain, uint64_t chains);
  // 99 of 100 are shorter than a second.
  static void ExpectQuick(std::vector<absl::Duration> times);
  // How many chunks of the chain the node has itself, whichever they are.
  uint32_t LocalChunks(int node, uint64_t chain);

  ClusterNodeUnderTest& node(int number) { return nodes_[number]; }
  ClientSpace& space(int number) { return *nodes_[number].space; }
  EtcdProcess& etcd() { return *etcd_; }
  TestNetwork& network() const { return *network_; }
  std::string peer_address(int host) const;
  std::string grpc_address(int host) const;
  const std::string& directory() const { return directory_.path(); }

  const Manifest manifest_ = KnownManifest();
  KnownBuffers buffers_{kClusterChunks, manifest_};

 private:
  std::string Missing() const;

  SharedDirectory directory_;
  std::unique_ptr<BuildDirectory> disks_;
  std::unique_ptr<TestNetwork> network_;
  std::unique_ptr<EtcdProcess> etcd_;
  ClusterSetup setup_;
  std::vector<ClusterNodeUnderTest> nodes_;
};

}  // namespace larder
