// Daemons of one cluster whose versions of the peer protocol have nothing in common: during an
// upgrade that leaves one out, say.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/client.h"
#include "tests/e2e/daemon_process.h"
#include "tests/e2e/disk_fixture.h"
#include "tests/e2e/etcd_process.h"
#include "tests/e2e/known_chunks.h"
#include "tests/unit/transport/tcp_proxy.h"
#include "transport/peer/peer_frame.h"
#include "transport/peer/peer_handshake.h"

namespace larder {
namespace {

using testing::HasSubstr;

constexpr uint16_t kNewerVersion = kPeerVersionMax + 1;

// If this is a dialler's first word, it speaks a newer version only.
void MakeNewer(std::span<uint8_t> bytes) {
  if (bytes.size() < sizeof(PeerFrameHeader)) return;
  const auto frame = DecodePeerHeader(bytes.first<sizeof(PeerFrameHeader)>(), 0);
  if (!frame.ok() || frame->kind != PeerFrameKind::kHello) return;
  absl::StatusOr<PeerHello> hello = DecodePeerHello(bytes.subspan(sizeof(PeerFrameHeader)));
  ASSERT_TRUE(hello.ok()) << hello.status();
  hello->version_min = hello->version_max = kNewerVersion;
  const std::vector<uint8_t> newer = EncodePeerFrame(*frame, EncodePeerHello(*hello));
  ASSERT_EQ(newer.size(), bytes.size());
  std::memcpy(bytes.data(), newer.data(), newer.size());
}

// Two daemons that know of each other and reach each other through a proxy only.
class ClusterVersionTest : public testing::Test {
 protected:
  static constexpr int kNodes = 2;

  void Start() {
    for (std::string& address : rpc_) address = absl::StrCat("127.0.0.1:", FreePort());
    for (int i = 0; i < kNodes; ++i) {
      const std::string peers = absl::StrCat("127.0.0.1:", FreePort());
      const auto meddle = [this](std::span<uint8_t> bytes) {
        if (newer_) MakeNewer(bytes);
      };
      proxies_[i] = std::make_unique<TcpProxy>(peers, /*seed=*/1, meddle);
      const std::string home = absl::StrCat(directory_.path(), "/", i);
      std::filesystem::create_directory(home);
      daemons_[i] = std::make_unique<DaemonProcess>(
          home,
          DaemonOptions{.flags = {"--cluster=test", absl::StrCat("--node=node", i),
                                  "--peer-listen=" + peers, "--grpc-listen=" + rpc_[i], "--set",
                                  "cluster.advertise=" + proxies_[i]->address(), "--set",
                                  absl::StrCat("cluster.peers=", rpc_[0], ",", rpc_[1])}});
      ASSERT_NO_FATAL_FAILURE(daemons_[i]->Start());
    }
  }
  std::string Show(int node) const {
    return RunProgram({LARDERCTL_PATH, "cluster", "--address=" + rpc_[node]}).output;
  }
  // What an operator is shown there.
  bool Shows(int node, const std::string& text) const {
    return Eventually([&] {
      absl::SleepFor(absl::Milliseconds(50));
      return Show(node).find(text) != std::string::npos;
    });
  }

  std::atomic<bool> newer_ = true;
  SharedDirectory directory_;
  std::array<std::string, kNodes> rpc_;
  std::array<std::unique_ptr<TcpProxy>, kNodes> proxies_;
  std::array<std::unique_ptr<DaemonProcess>, kNodes> daemons_;
};

TEST_F(ClusterVersionTest, BothSidesSayWhyTheyDoNotTalkAndServeTheirOwn) {
  ASSERT_NO_FATAL_FAILURE(Start());
  for (int i = 0; i < kNodes; ++i) {
    const std::string other = absl::StrCat("node", 1 - i), self = absl::StrCat("node", i);
    EXPECT_TRUE(Shows(i, absl::StrCat(other, ": refused: version: node ", other,
                                      " speaks protocol versions 1 to 1, node ", self, " 2 to 2")))
        << Show(i);
    EXPECT_TRUE(Shows(i, "connections: version")) << Show(i);
  }
  constexpr size_t kChunks = 4;
  const Manifest manifest = KnownManifest();
  const auto keys = KnownKeys(1, kChunks);
  KnownBuffers buffers(kChunks, manifest);
  buffers.Fill(keys);
  const auto one = ConnectClient(daemons_[0]->socket_path());
  const auto other = ConnectClient(daemons_[1]->socket_path());
  ClientSpace here = *one->Open(manifest), there = *other->Open(manifest);
  ASSERT_TRUE(here.Put(keys, buffers.sources(kChunks)).status.ok());
  EXPECT_EQ(here.Match(keys).chunks, kChunks);
  EXPECT_EQ(there.Match(keys).chunks, 0u);

  // Once both are upgraded, nothing else has to be done.
  newer_ = false;
  EXPECT_TRUE(Eventually([&] { return there.Match(keys).chunks == kChunks; })) << Show(1);
  buffers.Spoil();
  EXPECT_EQ(there.Fetch(keys, buffers.destinations(kChunks)).chunks, kChunks);
  EXPECT_EQ(buffers.CountRight(keys, kChunks), kChunks);
}

}  // namespace
}  // namespace larder
