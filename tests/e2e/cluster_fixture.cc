#include "tests/e2e/cluster_fixture.h"

#include <signal.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace larder {
namespace {

using Json = nlohmann::json;

// Longer than a drain may take, and an end without one.
constexpr absl::Duration kEndPatience = absl::Seconds(30);

}  // namespace

void ClusterTest::SetUp() {
  if (const std::string why = EtcdProcess::WhyNot(); !why.empty()) GTEST_SKIP() << why;
  absl::StatusOr<std::unique_ptr<TestNetwork>> network = TestNetwork::Create(kHosts);
  if (!network.ok()) GTEST_SKIP() << network.status().message();
  network_ = *std::move(network);
}

std::string ClusterTest::peer_address(int host) const {
  return absl::StrCat(network_->address(host), ":", kPeerPort);
}

std::string ClusterTest::grpc_address(int host) const {
  return absl::StrCat(network_->address(host), ":", kGrpcPort);
}

DaemonOptions ClusterTest::NodeOptions(int host, const std::string& name,
                                       const std::string& cluster) const {
  DaemonOptions options{
      .arena_bytes = setup_.arena_bytes,
      .flags = {"--cluster=" + cluster, "--node=" + name, "--peer-listen=" + peer_address(host),
                "--grpc-listen=" + grpc_address(host), "--etcd=" + etcd_->endpoint(), "--set",
                "cluster.lease_ttl=3s"},
      .launcher = network_->launcher(host)};
  options.flags.insert(options.flags.end(), setup_.flags.begin(), setup_.flags.end());
  return options;
}

void ClusterTest::StartCluster(const ClusterSetup& setup) {
  setup_ = setup;
  if (setup.disk_bytes > 0) disks_ = std::make_unique<BuildDirectory>();
  EtcdProcessOptions etcd;
  etcd.host = network_->address(kEtcdHost);
  etcd.launcher = network_->launcher(kEtcdHost);
  etcd_ = std::make_unique<EtcdProcess>(directory_.path(), std::move(etcd));
  ASSERT_NO_FATAL_FAILURE(etcd_->Start());
  for (int number = 0; number < setup.nodes; ++number) {
    ClusterNodeUnderTest node;
    node.name = absl::StrCat("node", number);
    node.directory = absl::StrCat(directory_.path(), "/", node.name);
    std::filesystem::create_directory(node.directory);
    DaemonOptions options = NodeOptions(number, node.name, kCluster);
    if (static_cast<size_t>(number) < setup.flags_of.size()) {
      const std::vector<std::string>& flags = setup.flags_of[static_cast<size_t>(number)];
      options.flags.insert(options.flags.end(), flags.begin(), flags.end());
    }
    if (setup.disk_bytes > 0) {
      options.flags.push_back(absl::StrCat("--disk=", disks_->path(), "/", node.name));
      options.flags.push_back(absl::StrCat("--disk-capacity=", setup.disk_bytes));
      options.flags.insert(options.flags.end(), {"--set", "disk.segment=4MiB"});
    }
    node.daemon = std::make_unique<DaemonProcess>(node.directory, std::move(options));
    nodes_.push_back(std::move(node));
  }
  for (int number = 0; number < setup.nodes; ++number) {
    ASSERT_NO_FATAL_FAILURE(StartNode(number));
    ClusterNodeUnderTest& node = nodes_[number];
    node.client = ConnectClient(node.daemon->socket_path(), kCallTimeout);
    node.space.emplace(*node.client->Open(manifest_));
  }
  AwaitSync();
}

void ClusterTest::StartNode(int node) {
  ASSERT_NO_FATAL_FAILURE(nodes_[node].daemon->Start());
  nodes_[node].expected = true;
  if (nodes_[node].client == nullptr) return;
  ASSERT_TRUE(Eventually([&] { return nodes_[node].client->Stats().ok(); }))
      << nodes_[node].daemon->process().Output();
}

void ClusterTest::KillNode(int node) {
  nodes_[node].daemon->Kill();
  nodes_[node].expected = false;
}

void ClusterTest::EndNode(int node) {
  ChildProcess& process = nodes_[node].daemon->process();
  nodes_[node].expected = false;
  process.Signal(SIGTERM);
  ASSERT_EQ(process.WaitForEnd(kEndPatience), "exit 0") << process.Output();
}

void ClusterTest::LoseArena(int node) const {
  std::filesystem::remove_all(nodes_[node].directory + "/arena");
}

Json ClusterTest::Cluster(int node) const {
  const Ended ctl =
      RunProgram({LARDERCTL_PATH, "cluster", "--json", "--address=" + grpc_address(node)});
  return ctl.end == "exit 0" ? ctl.json() : Json::object();
}

Json ClusterTest::Member(int node, int other) const {
  for (const Json& member : Cluster(node).value("members", Json::array())) {
    if (member.value("name", "") == nodes_[other].name) return member;
  }
  return Json::object();
}

std::string ClusterTest::Missing() const {
  // What each of them says of itself, and then what the others say of it.
  std::map<std::string, std::string> epochs;
  std::map<std::string, Json> clusters;
  for (int number = 0; number < setup_.nodes; ++number) {
    const std::string& name = nodes_[number].name;
    if (!nodes_[number].expected) continue;
    clusters[name] = Cluster(number);
    if (clusters[name].empty()) return name + " does not answer";
    for (const Json& member : clusters[name].value("members", Json::array())) {
      if (member.value("self", false)) epochs[name] = member.value("epoch", "");
    }
  }
  for (const auto& [name, cluster] : clusters) {
    const bool asks = cluster.value("asks_directory", false);
    std::map<std::string, std::string> in_sync;
    for (const Json& member : cluster.value("members", Json::array())) {
      const bool is = member.value("self", false) ||
                      (member.value("up", false) && (asks || member.value("in_sync", false)));
      in_sync[member.value("name", "")] = is ? member.value("epoch", "") : "not in sync";
    }
    if (in_sync != epochs) return absl::StrCat(name, " is not in sync: ", cluster.dump());
  }
  return "";
}

bool ClusterTest::InSync() const { return Missing().empty(); }

std::vector<ClientSpace> ClusterTest::Spaces() const {
  std::vector<ClientSpace> spaces;
  for (const ClusterNodeUnderTest& node : nodes_) spaces.push_back(*node.space);
  return spaces;
}

void ClusterTest::AwaitSync(absl::Duration patience) const {
  ASSERT_TRUE(Becomes([this] { return InSync(); }, patience)) << Missing();
}

void ClusterTest::PutChain(int node, uint64_t chain, const PutOptions& options) {
  const auto keys = KnownKeys(chain, kClusterChunks);
  buffers_.Fill(keys);
  const PutResult put = space(node).Put(keys, buffers_.sources(kClusterChunks), options);
  ASSERT_TRUE(put.status.ok()) << put.status;
  for (int other = 0; other < setup_.nodes; ++other) {
    ASSERT_TRUE(!nodes_[other].expected || Sees(other, chain)) << nodes_[other].name;
  }
}

void ClusterTest::PutPinnedChain(int node, uint64_t chain) {
  PutOptions options;
  options.pin = true;
  PutChain(node, chain, options);
}

bool ClusterTest::Sees(int node, uint64_t chain, size_t chunks, absl::Duration patience) {
  const auto keys = KnownKeys(chain, kClusterChunks);
  return Eventually([&] { return space(node).Match(keys).chunks == chunks; }, patience);
}

void ClusterTest::ExpectReads(int node, uint64_t chain) {
  const auto keys = KnownKeys(chain, kClusterChunks);
  buffers_.Spoil();
  const FetchResult fetch = space(node).Fetch(keys, buffers_.destinations(kClusterChunks));
  EXPECT_EQ(fetch.chunks, kClusterChunks)
      << nodes_[node].name << ", chain " << chain << ": " << fetch.status;
  EXPECT_EQ(buffers_.CountRight(keys, fetch.chunks), fetch.chunks) << "wrong bytes";
}

std::vector<absl::Duration> ClusterTest::TimeReads(int node, uint64_t first_chain,
                                                   uint64_t chains) {
  std::vector<absl::Duration> times;
  for (uint64_t chain = first_chain; chain < first_chain + chains; ++chain) {
    for (const Sha256Digest& digest : KnownKeys(chain, kClusterChunks)) {
      const std::vector<Sha256Digest> key = {digest};
      buffers_.Spoil();
      const absl::Time began = absl::Now();
      const MatchResult match = space(node).Match(key);
      FetchResult fetch;
      if (match.chunks > 0) fetch = space(node).Fetch(key, buffers_.destinations(1));
      times.push_back(absl::Now() - began);
      EXPECT_TRUE(match.status.ok()) << match.status;
      EXPECT_TRUE(fetch.status.ok() || absl::IsNotFound(fetch.status) ||
                  absl::IsDeadlineExceeded(fetch.status))
          << fetch.status;
      EXPECT_EQ(buffers_.CountRight(key, fetch.chunks), fetch.chunks) << "wrong bytes";
      EXPECT_LT(times.back(), 2 * kCallTimeout + kLateness);
    }
  }
  return times;
}

void ClusterTest::ExpectQuick(std::vector<absl::Duration> times) {
  ASSERT_GE(times.size(), 100u);
  std::sort(times.begin(), times.end());
  EXPECT_LT(times[times.size() * 99 / 100 - 1], absl::Seconds(1)) << "slowest: " << times.back();
}

uint32_t ClusterTest::LocalChunks(int node, uint64_t chain) {
  MatchOptions options;
  options.local_only = true;
  uint32_t chunks = 0;
  for (const Sha256Digest& digest : KnownKeys(chain, kClusterChunks)) {
    const std::vector<Sha256Digest> key = {digest};
    chunks += space(node).Match(key, options).chunks;
  }
  return chunks;
}

}  // namespace larder
