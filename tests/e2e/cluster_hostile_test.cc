// Strangers at the ports of a cluster: of other clusters, without its secret, under the name of
// another node, with garbage, or with nothing to say.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/file_descriptor.h"
#include "common/random.h"
#include "tests/e2e/cluster_fixture.h"
#include "tests/e2e/cluster_traffic.h"
#include "transport/peer/tcp_transport.h"

namespace larder {
namespace {

constexpr char kSecret[] = "what all nodes know";
// More than a node shakes hands with at once.
constexpr int kConnections = 150;

// A stranger hears nothing that it could use.
class DeafHandler : public PeerHandler {
 public:
  void OnPeerUp(const std::string& node, uint64_t) override { ADD_FAILURE() << node << " is up"; }
  void OnPeerDown(const std::string&, uint64_t, absl::string_view) override {}
  void OnMessage(const std::string&, uint64_t, std::vector<uint8_t>, uint64_t) override {}
  void OnWritten(uint64_t, bool) override {}
  void OnRead(uint64_t, bool) override {}
  void OnWindowClosed(uint64_t) override {}
};

class ClusterHostileTest : public ClusterTest {
 protected:
  void StartWithSecret() {
    ClusterSetup setup;
    setup.flags = {"--set", "cluster.secret_file=" + WriteSecret("secret", kSecret)};
    ASSERT_NO_FATAL_FAILURE(StartCluster(setup));
    ASSERT_NO_FATAL_FAILURE(PutPinnedChain(0, 1));
    traffic_ = std::make_unique<ClusterTraffic>(Spaces(), 1);
  }
  std::string WriteSecret(const std::string& name, const std::string& secret) const {
    const std::string path = directory() + "/" + name;
    std::ofstream(path) << secret << "\n";
    return path;
  }
  // The stranger's connections are refused by node 0, which counts them.
  void ExpectRefused(const PeerIdentity& self, const std::string& secret,
                     const std::string& reason) {
    const uint64_t before = Refused(0, reason);
    DeafHandler handler;
    std::vector<uint8_t> memory(4096);
    PeerTransportOptions options;
    options.self = self;
    options.secret = secret;
    const auto stranger = StartTcpTransport(options, {.bytes = memory}, &handler);
    ASSERT_TRUE(stranger.ok()) << stranger.status();
    const absl::Status set =
        (*stranger)->SetPeers({{.node = node(0).name, .host_port = peer_address(0)}});
    ASSERT_TRUE(set.ok()) << set;
    EXPECT_TRUE(Becomes([&] { return Refused(0, reason) > before; })) << Cluster(0);
  }
  uint64_t Refused(int number, const std::string& reason) const {
    for (const auto& refused : Cluster(number).value("refused", nlohmann::json::array())) {
      if (refused.value("reason", "") == reason) return refused.value("count", uint64_t{0});
    }
    return 0;
  }
  std::unique_ptr<DaemonProcess> StartStranger(const std::string& name,
                                               std::vector<std::string> flags) const {
    const std::string home = directory() + "/stranger";
    std::filesystem::create_directory(home);
    DaemonOptions options = NodeOptions(kStrangersHost, name, kCluster);
    options.flags.insert(options.flags.end(), flags.begin(), flags.end());
    auto stranger = std::make_unique<DaemonProcess>(home, std::move(options));
    stranger->Start();
    return stranger;
  }
  // It connects and does not wait for anything.
  FileDescriptor ConnectTo(int host, int port) const {
    FileDescriptor connection(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    EXPECT_EQ(inet_pton(AF_INET, network().address(host).c_str(), &address.sin_addr), 1);
    EXPECT_EQ(
        connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    return connection;
  }
  static void SendSome(const FileDescriptor& connection, const std::vector<uint8_t>& bytes) {
    (void)send(connection.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  }
  void ExpectUnharmed() {
    EXPECT_TRUE(InSync());
    ASSERT_NO_FATAL_FAILURE(PutPinnedChain(1, 2));
    for (int reader = 0; reader < kNodes; ++reader) {
      ExpectReads(reader, 1);
      ExpectReads(reader, 2);
    }
    EXPECT_EQ(traffic_->Stop(), "");
    EXPECT_GT(traffic_->read_chunks(), 0u);
  }

  std::unique_ptr<ClusterTraffic> traffic_;
};

TEST_F(ClusterHostileTest, StrangersAreRefusedAndCounted) {
  ASSERT_NO_FATAL_FAILURE(StartWithSecret());
  ExpectRefused({.cluster = "another", .node = "stranger", .epoch = 1}, kSecret, "cluster");
  ExpectRefused({.cluster = kCluster, .node = node(1).name, .epoch = 1}, "a guess", "secret");
  ExpectRefused({.cluster = kCluster, .node = node(1).name, .epoch = 1}, "", "secret");
  ExpectRefused({.cluster = kCluster, .node = "stranger", .epoch = 1}, kSecret, "unknown_node");
  ExpectUnharmed();
}

TEST_F(ClusterHostileTest, AMemberWithoutTheSecretGetsNothing) {
  ASSERT_NO_FATAL_FAILURE(StartWithSecret());
  const std::unique_ptr<DaemonProcess> stranger = StartStranger(
      "stranger", {"--set", "cluster.secret_file=" + WriteSecret("guess", "a guess")});
  EXPECT_TRUE(Becomes(
      [&] { return Cluster(0).value("members", nlohmann::json::array()).size() == kNodes + 1u; }));
  EXPECT_TRUE(Becomes([&] { return Refused(0, "secret") > 0; })) << Cluster(0);
  const std::unique_ptr<Client> client = ConnectClient(stranger->socket_path());
  EXPECT_EQ(client->Open(manifest_)->Match(KnownKeys(1, kClusterChunks)).chunks, 0u);
  stranger->Kill();
  ASSERT_NO_FATAL_FAILURE(AwaitSync());
  ExpectUnharmed();
}

TEST_F(ClusterHostileTest, OneNameTwiceHarmsThatNodeAlone) {
  ASSERT_NO_FATAL_FAILURE(StartWithSecret());
  const std::string epoch = Member(1, 0).value("epoch", "");
  const std::unique_ptr<DaemonProcess> twin = StartStranger(node(0).name, {});
  EXPECT_TRUE(Becomes([&] { return Member(1, 0).value("epoch", epoch) != epoch; })) << Cluster(1);
  // The first says so, and the others serve each other.
  EXPECT_TRUE(Becomes([&] { return !Cluster(0).value("source_problem", "").empty(); }));
  EXPECT_TRUE(Becomes([&] { return Member(1, 2).value("up", false); }));
  node(0).expected = false;
  ASSERT_NO_FATAL_FAILURE(PutPinnedChain(1, 3));
  ExpectReads(2, 3);
  node(0).expected = true;
  // It has its name back when the other has gone.
  twin->Kill();
  ASSERT_NO_FATAL_FAILURE(AwaitSync());
  ExpectUnharmed();
}

TEST_F(ClusterHostileTest, GarbageAtBothPortsIsRefused) {
  const int seed = NumberFromEnvironment("LARDER_HOSTILE_SEED", 1);
  SCOPED_TRACE(absl::StrCat("LARDER_HOSTILE_SEED=", seed));
  SeededRandom random(static_cast<uint64_t>(seed));
  ASSERT_NO_FATAL_FAILURE(StartWithSecret());
  for (int i = 0; i < kConnections; ++i) {
    const int port = random.Below(2) == 0 ? kPeerPort : kGrpcPort;
    const FileDescriptor connection = ConnectTo(static_cast<int>(random.Below(kNodes)), port);
    std::vector<uint8_t> bytes(1 + random.Below(4096));
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.Next());
    SendSome(connection, bytes);
  }
  uint64_t refused = 0;
  for (int number = 0; number < kNodes; ++number) refused += Refused(number, "malformed");
  EXPECT_GT(refused, 0u);
  ExpectUnharmed();
}

TEST_F(ClusterHostileTest, ConnectionsThatSayNothingHoldNobodyUp) {
  ASSERT_NO_FATAL_FAILURE(StartWithSecret());
  std::vector<FileDescriptor> connections;
  for (int i = 0; i < kConnections; ++i) {
    connections.push_back(ConnectTo(0, kPeerPort));
    connections.push_back(ConnectTo(0, kGrpcPort));
  }
  EXPECT_TRUE(Becomes([&] { return Refused(0, "too_many") > 0; })) << Cluster(0);
  // A node that comes back gets through to it all the same, soon.
  KillNode(1);
  ASSERT_NO_FATAL_FAILURE(StartNode(1));
  EXPECT_TRUE(Eventually([&] {
    for (const FileDescriptor& connection : connections) SendSome(connection, {0x4c});
    absl::SleepFor(absl::Milliseconds(200));
    return InSync();
  }));
  EXPECT_TRUE(Becomes([&] { return Refused(0, "timeout") > 0; })) << Cluster(0);
  ExpectUnharmed();
}

}  // namespace
}  // namespace larder
