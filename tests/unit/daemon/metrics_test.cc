// The metrics as a scraper sees them.
#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/file_descriptor.h"
#include "daemon/metrics/metrics_server.h"
#include "daemon/metrics/node_collector.h"
#include "tests/unit/client/client_fixture.h"
#include "tests/unit/daemon/held_loop.h"

namespace larder {
namespace {

// The body of GET /metrics.
std::string Scrape(int port) {
  FileDescriptor connection(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(connection.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    ADD_FAILURE() << "cannot connect to port " << port;
    return "";
  }
  const std::string request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
  EXPECT_EQ(write(connection.get(), request.data(), request.size()),
            static_cast<ssize_t>(request.size()));
  std::string reply;
  std::array<char, 4096> buffer;
  ssize_t count;
  while ((count = read(connection.get(), buffer.data(), buffer.size())) > 0) {
    reply.append(buffer.data(), static_cast<size_t>(count));
  }
  return reply.substr(std::min(reply.size(), reply.find("\r\n\r\n") + 4));
}

// Every sample by its name and labels as written.
std::map<std::string, double> Samples(const std::string& text) {
  std::map<std::string, double> samples;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    if (line.front() == '#') continue;
    const size_t space = line.rfind(' ');
    double value = 0;
    EXPECT_TRUE(absl::SimpleAtod(line.substr(space + 1), &value)) << line;
    samples[std::string(line.substr(0, space))] = value;
  }
  return samples;
}

// The names of our families, each with its type.
std::set<std::string> Families(const std::string& text) {
  std::set<std::string> families;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::StartsWith(line, "# TYPE larder_")) {
      families.insert(std::string(line.substr(sizeof("# TYPE ") - 1)));
    }
  }
  return families;
}

// Likewise those of the tables in docs/METRICS.md.
std::set<std::string> DocumentedFamilies() {
  std::ifstream file(LARDER_SOURCE_DIR "/docs/METRICS.md");
  EXPECT_TRUE(file.is_open());
  std::set<std::string> families;
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> cells = absl::StrSplit(line, " | ");
    if (cells.size() < 3 || !absl::StartsWith(cells[0], "| `larder_")) continue;
    EXPECT_TRUE(families.insert(cells[0].substr(3, cells[0].size() - 4) + " " + cells[1]).second)
        << line << " is there twice";
  }
  return families;
}

// With a disk tier and in a cluster, so that their metrics are served too.
NodeOptions OptionsOfAll(const std::string& directory) {
  NodeOptions options = TestNodeOptions(directory, uint64_t{64} << 20);
  options.disk.paths = directory + "/disk";
  options.disk.capacity_bytes = uint64_t{256} << 20;
  options.disk.segment_bytes = uint64_t{8} << 20;
  options.cluster.name = "metrics";
  options.cluster.node = "self";
  options.cluster.listen = "127.0.0.1:0";
  return options;
}

class MetricsTest : public testing::Test {
 protected:
  MetricsTest() : node_(OptionsOfAll(directory_.path())) {
    auto server = MetricsServer::Start({.listen = "127.0.0.1:0"}, &*node_);
    EXPECT_TRUE(server.ok()) << server.status();
    if (server.ok()) server_ = *std::move(server);
  }

  TemporaryDirectory directory_;
  RunningNode node_;
  std::unique_ptr<MetricsServer> server_;
};

TEST_F(MetricsTest, EveryMetricIsDocumentedAndEveryDocumentedOneIsServed) {
  const std::set<std::string> served = Families(Scrape(server_->port()));
  EXPECT_GT(served.size(), 30u);
  EXPECT_EQ(served, DocumentedFamilies());
}

TEST_F(MetricsTest, NamesFollowTheConventions) {
  for (const std::string& family : Families(Scrape(server_->port()))) {
    const std::vector<std::string> name_and_type = absl::StrSplit(family, ' ');
    EXPECT_EQ(name_and_type[1] == "counter", absl::EndsWith(name_and_type[0], "_total")) << family;
  }
}

TEST_F(MetricsTest, CountsWhatAClientDoes) {
  const auto client = Client::Connect({.socket_path = directory_.path() + "/larder.sock"});
  ASSERT_TRUE(client.ok()) << client.status();
  const Manifest manifest = TestManifest();
  auto space = (*client)->Open(manifest, "acme");
  ASSERT_TRUE(space.ok()) << space.status();
  const uint64_t chunk_bytes = manifest.PayloadBytes(manifest.WholePart());
  ChunkBuffers buffers(3, chunk_bytes);
  const auto keys = TestKeys(1, 5);
  ASSERT_EQ(space->Put(KeySpan(keys).Subspan(0, 3), buffers.sources()).stored, 3u);
  ASSERT_EQ(space->Match(keys).chunks, 3u);
  ASSERT_EQ(space->Fetch(KeySpan(keys).Subspan(0, 3), buffers.destinations()).chunks, 3u);
  ASSERT_EQ(*space->Remove(KeySpan(keys).Subspan(2, 1)), 1u);
  for (int i = 0; i < 500; ++i) (void)space->Match(KeySpan(keys).Subspan(0, 1));

  const SpaceId id = ComputeSpaceId("acme", manifest.Id(), "");
  const std::string labels =
      absl::StrCat("{tenant=\"acme\",model=\"test-model\",space=\"", ToString(id), "\"}");
  const auto samples = Samples(Scrape(server_->port()));
  const auto of_space = [&](absl::string_view name) {
    return samples.at(absl::StrCat(name, labels));
  };
  EXPECT_EQ(of_space("larder_lookups_total"), 501);
  EXPECT_EQ(of_space("larder_hit_chunks_total"), 503);
  EXPECT_EQ(of_space("larder_miss_chunks_total"), 2);
  EXPECT_EQ(of_space("larder_hit_tokens_total"), 503 * 16);
  EXPECT_EQ(of_space("larder_miss_bytes_total"), static_cast<double>(2 * chunk_bytes));
  EXPECT_EQ(of_space("larder_stored_chunks_total"), 3);
  EXPECT_EQ(of_space("larder_fetched_chunks_total"), 3);
  EXPECT_EQ(of_space("larder_resident_chunks"), 2);
  EXPECT_EQ(samples.at("larder_removed_chunks_total{cause=\"removed\"}"), 1);
  EXPECT_EQ(samples.at("larder_chunks"), 2);
  EXPECT_EQ(samples.at("larder_insight_uses"), 505);
  EXPECT_NEAR(samples.at("larder_insight_found_ratio{tier=\"all\"}"), 503.0 / 505, 1e-9);
  // The first five were first uses.
  EXPECT_NEAR(samples.at("larder_insight_policy_hit_ratio{policy=\"lru\",capacity=\"125%\"}"),
              500.0 / 505, 1e-9);
  EXPECT_EQ(samples.at("larder_loop_responsive"), 1);
  EXPECT_EQ(samples.at("larder_clients_accepted_total"), 1);
  EXPECT_EQ(samples.at("larder_tier_capacity_bytes{tier=\"dram\"}"), 64 << 20);
  EXPECT_GT(samples.at("larder_tier_used_bytes{tier=\"dram\"}"), 2.0 * chunk_bytes);
  EXPECT_EQ(samples.at("larder_requests_total{operation=\"match\"}"), 501);
  EXPECT_EQ(samples.at("larder_requests_total{operation=\"remove\"}"), 1);
  EXPECT_EQ(samples.at("larder_requests_total{operation=\"unknown\"}"), 0);

  double frames = 0;
  double timed = 0;
  for (absl::string_view operation : kOperationNames) {
    frames += samples.at(absl::StrCat("larder_requests_total{operation=\"", operation, "\"}"));
    timed += samples.at(
        absl::StrCat("larder_request_handling_seconds_count{operation=\"", operation, "\"}"));
  }
  EXPECT_EQ(timed, std::floor(frames / RequestStats::kTimedFrames));
  EXPECT_GT(samples.at("larder_request_handling_seconds_sum{operation=\"match\"}"), 0);
}

TEST_F(MetricsTest, ManySpacesShareASeriesBeyondTheLimit) {
  const size_t count = NodeCollector::kSpacesShownMax + 20;
  ASSERT_TRUE(node_
                  ->WithCore(SystemClock::Get().Now() + absl::Seconds(5),
                             [&](Core& core, MonotonicTime now) {
                               const KeyHash key{1, 2};
                               for (size_t i = 0; i < count; ++i) {
                                 const auto space =
                                     core.OpenSpace({.tenant = absl::StrCat("t", i, "\xff\"\n"),
                                                     .salt = "",
                                                     .manifest = TestManifest()});
                                 ASSERT_TRUE(space.ok());
                                 ASSERT_TRUE(core.Match(*space, std::span(&key, 1), {}, now).ok());
                               }
                             })
                  .ok());
  const auto samples = Samples(Scrape(server_->port()));
  size_t series = 0;
  double lookups = 0;
  for (const auto& [name, value] : samples) {
    if (!absl::StartsWith(name, "larder_lookups_total{")) continue;
    ++series;
    lookups += value;
  }
  EXPECT_EQ(series, NodeCollector::kSpacesShownMax + 1);
  EXPECT_EQ(lookups, static_cast<double>(count));
  EXPECT_EQ(samples.at("larder_lookups_total{tenant=\"\",model=\"\",space=\"other\"}"), 20);
  EXPECT_EQ(samples.at("larder_spaces"), static_cast<double>(count));
}

TEST_F(MetricsTest, APeerHasSeriesWhileItIsAMember) {
  MemberView view;
  view.source_reachable = true;
  view.members.push_back(node_->cluster()->self());
  MemberRecord peer;
  peer.name = "other";
  peer.epoch = 7;
  peer.peer_address = "127.0.0.1:1";  // where nobody listens
  peer.rpc_address = "127.0.0.1:2";
  peer.directory = true;
  view.members.push_back(peer);
  node_->cluster()->SetMembers(view);
  const auto samples = Samples(Scrape(server_->port()));
  EXPECT_EQ(samples.at("larder_cluster_peers"), 1);
  EXPECT_EQ(samples.at("larder_cluster_source_reachable"), 1);
  EXPECT_EQ(samples.at("larder_peer_up{peer=\"other\"}"), 0);
  EXPECT_EQ(samples.at("larder_peer_breaker{peer=\"other\",state=\"closed\"}"), 1);
  EXPECT_EQ(samples.at("larder_peer_breaker{peer=\"other\",state=\"open\"}"), 0);
  EXPECT_EQ(samples.at("larder_peer_chunks{peer=\"other\",tier=\"disk\"}"), 0);
  EXPECT_FALSE(samples.contains("larder_peer_up{peer=\"self\"}"));
  EXPECT_EQ(samples.at("larder_cluster_asks_directory"), 1);

  view.members.pop_back();
  view.source_reachable = false;
  ++view.revision;
  node_->cluster()->SetMembers(view);
  const auto later = Samples(Scrape(server_->port()));
  EXPECT_EQ(later.at("larder_cluster_peers"), 0);
  EXPECT_EQ(later.at("larder_cluster_source_reachable"), 0);
  EXPECT_FALSE(later.contains("larder_peer_up{peer=\"other\"}"));
  EXPECT_EQ(later.at("larder_cluster_asks_directory"), 0);
}

TEST_F(MetricsTest, ALoopThatHangsIsReportedInsteadOfWaitedFor) {
  const HeldLoop held(&*node_);
  const MonotonicTime begin = SystemClock::Get().Now();
  const auto samples = Samples(Scrape(server_->port()));
  EXPECT_LT(SystemClock::Get().Now() - begin, absl::Seconds(4));
  EXPECT_EQ(samples.at("larder_loop_responsive"), 0);
  EXPECT_FALSE(samples.contains("larder_chunks"));
}

TEST_F(MetricsTest, ATakenAddressIsAnError) {
  const auto second =
      MetricsServer::Start({.listen = absl::StrCat("127.0.0.1:", server_->port())}, &*node_);
  EXPECT_TRUE(absl::IsUnavailable(second.status())) << second.status();
  const auto nonsense = MetricsServer::Start({.listen = "nonsense"}, &*node_);
  EXPECT_FALSE(nonsense.ok());
}

TEST(LatencyHistogramTest, BucketsHoldWhatTheirBoundsSay) {
  for (const int64_t ns : {int64_t{-5}, int64_t{0}, int64_t{1}, int64_t{256}, int64_t{257},
                           int64_t{512}, int64_t{513}, int64_t{1} << 25, int64_t{1} << 40}) {
    LatencyHistogram histogram;
    histogram.Add(absl::Nanoseconds(ns));
    size_t bucket = 0;
    while (bucket < LatencyHistogram::kBounds && LatencyHistogram::BoundNs(bucket) < ns) ++bucket;
    EXPECT_EQ(histogram.counts[bucket], 1u) << ns;
  }
}

}  // namespace
}  // namespace larder
