// Three nodes behind a router that knows nothing of caches find as much as one node with the memory
// of all three.
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/etcd_process.h"

namespace larder {
namespace {

using Json = nlohmann::json;

constexpr int kNodes = 3;
constexpr uint64_t kTotalBytes = uint64_t{192} << 20;
// Their blocks, each counted once, take twice that.
constexpr int kRequests = 1600;
constexpr double kDifferenceMax = 0.02;
constexpr absl::Duration kReplayPatience = absl::Minutes(4);

std::string Loopback(int port) { return absl::StrCat("127.0.0.1:", port); }

// Daemons that have a total of kTotalBytes, in one cluster if there are several.
class Daemons {
 public:
  explicit Daemons(int count) : rpc_ports_(count) {
    for (int& port : rpc_ports_) port = FreePort();
    for (int i = 0; i < count; ++i) {
      daemons_.push_back(std::make_unique<DaemonProcess>(
          directories_.emplace_back(std::make_unique<SharedDirectory>())->path(),
          DaemonOptions{.arena_bytes = kTotalBytes / count, .flags = FlagsOf(i)}));
    }
  }

  void Start() {
    for (const auto& daemon : daemons_) ASSERT_NO_FATAL_FAILURE(daemon->Start());
    for (size_t i = 0; i < daemons_.size(); ++i) {
      ASSERT_TRUE(Eventually([&] { return OthersInSync(i) + 1 == daemons_.size(); }))
          << daemons_[i]->process().Output();
    }
  }

  // Replays the same requests every time, and checks what holds whatever was found.
  Json Replay() const {
    std::vector<std::string> sockets;
    for (const auto& daemon : daemons_) sockets.push_back(daemon->socket_path());
    const auto bench =
        ChildProcess::Start({LARDER_BENCH_PATH, "replay", "--generate=conversation", "--seed=1",
                             absl::StrCat("--limit=", kRequests), "--bytes-per-token=64", "--json",
                             absl::StrCat("--socket=", absl::StrJoin(sockets, ","))});
    EXPECT_EQ(bench->WaitForEnd(kReplayPatience), "exit 0") << bench->Output();
    Json json = Json::parse(bench->Output(), nullptr, /*allow_exceptions=*/false);
    EXPECT_TRUE(json.is_object()) << bench->Output();
    if (!json.is_object()) return Json::object();
    EXPECT_EQ(json["requests"], kRequests);
    EXPECT_EQ(json["corrupt"], 0) << bench->Output();
    EXPECT_EQ(json["errors"], 0) << bench->Output();
    EXPECT_GT(json["evicted_chunks"], 0) << "there was room for all";
    return json;
  }

 private:
  std::vector<std::string> FlagsOf(int node) const {
    if (rpc_ports_.size() == 1) return {};
    std::vector<std::string> peers;
    for (const int port : rpc_ports_) peers.push_back(Loopback(port));
    return {"--cluster=hits", absl::StrCat("--node=n", node),
            "--peer-listen=" + Loopback(FreePort()), "--grpc-listen=" + Loopback(rpc_ports_[node]),
            "--peers=" + absl::StrJoin(peers, ",")};
  }

  size_t OthersInSync(size_t node) const {
    if (daemons_.size() == 1) return 0;
    const auto control = ChildProcess::Start(
        {LARDERCTL_PATH, "cluster", "--json", "--address", Loopback(rpc_ports_[node])});
    if (control->WaitForEnd() != "exit 0") return 0;
    size_t count = 0;
    const Json cluster = Json::parse(control->Output());
    for (const Json& member : cluster["members"]) {
      count += member["up"].get<bool>() && member["in_sync"].get<bool>();
    }
    return count;
  }

  std::vector<int> rpc_ports_;
  std::vector<std::unique_ptr<SharedDirectory>> directories_;
  std::vector<std::unique_ptr<DaemonProcess>> daemons_;
};

Json ReplayOver(int nodes) {
  Daemons daemons(nodes);
  daemons.Start();
  if (testing::Test::HasFatalFailure()) return Json::object();
  return daemons.Replay();
}

TEST(ClusterHitRateTest, ThreeNodesFindWhatOneOfTheirSizeFinds) {
  const Json one = ReplayOver(1);
  const Json three = ReplayOver(kNodes);
  ASSERT_FALSE(one.empty() || three.empty());
  const double one_ratio = one.value("hit_ratio", 0.0);
  const double three_ratio = three.value("hit_ratio", 0.0);
  std::printf("hit ratio of one node %.4f, of three %.4f\n", one_ratio, three_ratio);
  EXPECT_NEAR(three_ratio, one_ratio, kDifferenceMax) << one.dump(2) << three.dump(2);
  // Three nodes that know nothing of each other find much less.
  EXPECT_GT(three_ratio, 0.6);
  EXPECT_GT(three["hit_blocks_at"]["peer_memory"].get<int>(),
            three["hit_blocks_at"]["memory"].get<int>() / 2);
  ASSERT_EQ(three["nodes"].size(), size_t{kNodes});
  for (const Json& node : three["nodes"]) {
    EXPECT_FALSE(node["lost"].get<bool>());
    EXPECT_NEAR(node["requests"].get<int>(), kRequests / kNodes, 1);
    EXPECT_GT(node["hit_blocks_at"]["peer_memory"], 0);
  }
}

}  // namespace
}  // namespace larder
