#include "daemon/metrics/cluster_families.h"

#include <map>
#include <string>
#include <utility>

#include "daemon/metrics/families.h"

namespace larder {
namespace {

using prometheus::MetricType;
using Families = std::vector<prometheus::MetricFamily>;
using PeerStatus = ClusterCore::PeerStatus;

LabelledValue Labelled(const char* label, absl::string_view text, uint64_t value) {
  return {.labels = {{label, std::string(text)}}, .value = static_cast<double>(value)};
}

void AddMembers(const ClusterNode& node, const ClusterSample& sample, Families* families) {
  const MemberView members = node.members();
  families->push_back(Gauge("larder_cluster_peers", "Other nodes of the cluster, up or not.",
                            static_cast<double>(sample.peers.size())));
  families->push_back(Gauge("larder_cluster_source_reachable",
                            "1 while etcd, or the list of peers, says who the members are; 0 while "
                            "they are as last known.",
                            members.source_reachable ? 1 : 0));
  families->push_back(Gauge("larder_cluster_source_silent_seconds",
                            "For how long they have been as last known.",
                            absl::ToDoubleSeconds(members.source_silent_for)));
}

void AddIndex(const GlobalIndexStats& index, Families* families) {
  families->push_back(Gauge("larder_cluster_index_entries", "Chunks of others that are known.",
                            static_cast<double>(index.entries)));
  families->push_back(Gauge("larder_cluster_index_bytes", "Memory that knowing them takes.",
                            static_cast<double>(index.bytes)));
  families->push_back(Counter("larder_cluster_index_dropped_total",
                              "Chunks of others for which the index had no room.", index.dropped));
}

void AddFlows(const ClusterCore::Stats& stats, Families* families) {
  const auto counter = [&](const char* name, const char* help, uint64_t value) {
    families->push_back(Counter(name, help, value));
  };
  families->push_back(Gauge("larder_cluster_fetches", "Chunks that are being fetched.",
                            static_cast<double>(stats.fetch.fetches)));
  counter("larder_cluster_fetched_chunks_total", "Chunks fetched from others.",
          stats.fetched_chunks);
  counter("larder_cluster_fetched_bytes_total", "Their bytes.", stats.fetched_bytes);
  counter("larder_cluster_fetch_failures_total", "Chunks that no node gave, or none in time.",
          stats.fetch.finished_failed + stats.fetch.finished_late);
  counter("larder_cluster_hedged_fetches_total", "Chunks that were late and asked of another node.",
          stats.fetch.hedges);
  counter("larder_cluster_corrupt_arrivals_total", "Chunks that arrived with wrong bytes.",
          stats.corrupt_arrivals);
  counter("larder_cluster_unwanted_arrivals_total",
          "Chunks that arrived when they were here already.", stats.unwanted_arrivals);
  counter("larder_cluster_served_chunks_total", "Chunks given to others.", stats.served_chunks);
  counter("larder_cluster_served_bytes_total", "Their bytes.", stats.served_bytes);
  families->push_back(Family("larder_cluster_not_served_total",
                             "Chunks that others asked for in vain, by reason.",
                             MetricType::Counter,
                             {Labelled("reason", "gone", stats.refused_gone),
                              Labelled("reason", "busy", stats.refused_busy),
                              Labelled("reason", "resized", stats.refused_resized)}));
  counter("larder_cluster_offered_chunks_total", "Copies that others were asked to take.",
          stats.replication.offered);
  counter("larder_cluster_taken_chunks_total", "Copies that others took.", stats.replication.taken);
}

void AddDirectory(const ClusterCore::Stats& stats, bool asks, Families* families) {
  const Directory::Stats& asked = stats.directory;
  const auto counter = [&](const char* name, const char* help, uint64_t value) {
    families->push_back(Counter(name, help, value));
  };
  families->push_back(Gauge("larder_cluster_asks_directory",
                            "1 while directory nodes are asked instead of following all.",
                            asks ? 1 : 0));
  counter("larder_cluster_directory_questions_total", "Questions sent to directory nodes.",
          asked.questions);
  counter("larder_cluster_directory_answers_total", "Answers to them.", asked.answers);
  counter("larder_cluster_directory_unanswered_total",
          "Questions whose time was up or whose node was lost.", asked.unanswered);
  counter("larder_cluster_directory_unwanted_answers_total",
          "Answers that came too late or were not asked for.", asked.unwanted);
  families->push_back(Family(
      "larder_cluster_directory_chunks_total",
      "Chunks that directory nodes were asked for, by outcome.", MetricType::Counter,
      {Labelled("outcome", "found", asked.found), Labelled("outcome", "nowhere", asked.nowhere),
       Labelled("outcome", "unanswered", asked.given_up)}));
  families->push_back(Gauge("larder_cluster_directory_known_chunks",
                            "Chunks whose answers are believed now.",
                            static_cast<double>(asked.known)));
  counter("larder_cluster_answered_questions_total", "Questions of others, answered.",
          stats.answered_questions);
  counter("larder_cluster_answered_chunks_total", "Chunks in them.", stats.answered_keys);
}

void AddRefusals(const ClusterNode& node, const ClusterCore::Stats& stats,
                 const PeerTransportStats& transport, Families* families) {
  families->push_back(Counter("larder_cluster_bad_messages_total",
                              "Messages of other nodes that made no sense or found no room.",
                              stats.bad_messages + node.dropped_messages()));
  std::vector<LabelledValue> refused;
  for (size_t reason = 1; reason < kPeerRefusals; ++reason) {
    refused.push_back(Labelled("reason", PeerRefusalName(static_cast<PeerRefusal>(reason)),
                               transport.refused[reason]));
  }
  families->push_back(Family("larder_cluster_refused_connections_total",
                             "Connections of peers that were refused, by reason.",
                             MetricType::Counter, std::move(refused)));
}

// One sample a peer.
class PeerFamilies {
 public:
  PeerFamilies(const std::vector<PeerStatus>& peers, Families* families)
      : peers_(peers), families_(families) {}

  template <typename Value>
  void Add(const char* name, const char* help, MetricType type, Value value) {
    std::vector<LabelledValue> values;
    for (const PeerStatus& peer : peers_) {
      values.push_back(
          {.labels = {{"peer", peer.member.name}}, .value = static_cast<double>(value(peer))});
    }
    families_->push_back(Family(name, help, type, std::move(values)));
  }

  // The same with a further label, which takes as many values as `value` gives.
  template <typename Values>
  void AddBy(const char* label, const char* name, const char* help, MetricType type,
             Values values_of) {
    std::vector<LabelledValue> values;
    for (const PeerStatus& peer : peers_) {
      for (const auto& [text, value] : values_of(peer)) {
        values.push_back({.labels = {{"peer", peer.member.name}, {label, text}},
                          .value = static_cast<double>(value)});
      }
    }
    families_->push_back(Family(name, help, type, std::move(values)));
  }

 private:
  const std::vector<PeerStatus>& peers_;
  Families* const families_;
};

using ByText = std::vector<std::pair<const char*, uint64_t>>;

void AddPeerIndex(PeerFamilies& peers) {
  using enum MetricType;
  peers.Add("larder_peer_up", "1 while this node is connected to it.", Gauge,
            [](const PeerStatus& peer) { return peer.up; });
  peers.Add("larder_peer_index_in_sync", "1 while all that it holds is known.", Gauge,
            [](const PeerStatus& peer) { return peer.follow.in_sync; });
  peers.Add("larder_peer_index_lag_events", "Changes there that are not known here yet.", Gauge,
            [](const PeerStatus& peer) { return peer.follow.lag; });
  peers.Add("larder_peer_index_snapshots_total", "How often it told all that it holds.", Counter,
            [](const PeerStatus& peer) { return peer.follow.snapshots; });
  peers.Add("larder_peer_index_gaps_total", "How often changes were missed.", Counter,
            [](const PeerStatus& peer) { return peer.follow.gaps; });
  peers.AddBy("tier", "larder_peer_chunks", "Chunks that it is known to hold.", Gauge,
              [](const PeerStatus& peer) {
                return ByText{{"dram", peer.held.memory_entries}, {"disk", peer.held.disk_entries}};
              });
  peers.AddBy("tier", "larder_peer_bytes", "Their bytes, in whole pages.", Gauge,
              [](const PeerStatus& peer) {
                return ByText{{"dram", peer.held.memory_pages * kHoldingPageBytes},
                              {"disk", peer.held.disk_pages * kHoldingPageBytes}};
              });
}

void AddPeerFlows(PeerFamilies& peers) {
  using enum MetricType;
  peers.Add("larder_peer_fetched_chunks_total", "Chunks fetched from it.", Counter,
            [](const PeerStatus& peer) { return peer.fetch.ok; });
  peers.Add("larder_peer_fetched_bytes_total", "Their bytes.", Counter,
            [](const PeerStatus& peer) { return peer.fetch.ok_bytes; });
  peers.AddBy("cause", "larder_peer_fetch_failures_total", "Chunks asked of it in vain, by cause.",
              Counter, [](const PeerStatus& peer) {
                return ByText{{"gone", peer.fetch.gone},
                              {"busy", peer.fetch.busy},
                              {"late", peer.fetch.late},
                              {"corrupt", peer.fetch.corrupt},
                              {"failed", peer.fetch.failed}};
              });
  peers.Add("larder_peer_hedged_fetches_total", "Chunks asked of it since another node was late.",
            Counter, [](const PeerStatus& peer) { return peer.fetch.hedges; });
  peers.Add("larder_peer_served_chunks_total", "Chunks given to it.", Counter,
            [](const PeerStatus& peer) { return peer.served_chunks; });
  peers.Add("larder_peer_served_bytes_total", "Their bytes.", Counter,
            [](const PeerStatus& peer) { return peer.served_bytes; });
}

void AddPeerPace(PeerFamilies& peers) {
  using enum MetricType;
  peers.AddBy("state", "larder_peer_fetch_queue_chunks", "Chunks to be fetched from it.", Gauge,
              [](const PeerStatus& peer) {
                return ByText{{"waiting", peer.fetch.waiting}, {"asked", peer.fetch.in_flight}};
              });
  peers.AddBy(
      "state", "larder_peer_fetch_queue_bytes", "Their bytes.", Gauge, [](const PeerStatus& peer) {
        return ByText{{"waiting", peer.fetch.waiting_bytes}, {"asked", peer.fetch.in_flight_bytes}};
      });
  peers.AddBy("state", "larder_peer_breaker", "1 in the state that its breaker is in.", Gauge,
              [](const PeerStatus& peer) {
                using State = PeerBreaker::State;
                const State state = peer.fetch.breaker;
                return ByText{{"closed", state == State::kClosed},
                              {"open", state == State::kOpen},
                              {"trial", state == State::kTrial}};
              });
  peers.Add("larder_peer_breaker_opened_total", "How often it was left alone for a while.", Counter,
            [](const PeerStatus& peer) { return peer.fetch.breaker_opened; });
  peers.Add("larder_peer_latency_seconds", "Expected time to fetch next to nothing from it.", Gauge,
            [](const PeerStatus& peer) { return absl::ToDoubleSeconds(peer.fetch.latency); });
  peers.Add("larder_peer_bytes_per_second", "Expected rate of fetching from it.", Gauge,
            [](const PeerStatus& peer) { return peer.fetch.bytes_per_second; });
}

void AddPeerConnections(const PeerTransportStats& transport, PeerFamilies& peers) {
  std::map<absl::string_view, const PeerStats*> by_name;
  for (const PeerStats& stats : transport.peers) by_name[stats.node] = &stats;
  static const PeerStats kNone;
  const auto stats_of = [&](const PeerStatus& peer) -> const PeerStats& {
    const auto found = by_name.find(peer.member.name);
    return found == by_name.end() ? kNone : *found->second;
  };
  using enum MetricType;
  peers.Add("larder_peer_sessions_total", "How often a connection to it came about.", Counter,
            [&](const PeerStatus& peer) { return stats_of(peer).sessions; });
  peers.Add(
      "larder_peer_round_trip_seconds", "Of keepalives, smoothed.", Gauge,
      [&](const PeerStatus& peer) { return absl::ToDoubleSeconds(stats_of(peer).round_trip); });
  peers.Add("larder_peer_sent_bytes_total", "Bytes sent to it, headers and messages too.", Counter,
            [&](const PeerStatus& peer) { return stats_of(peer).bytes_sent; });
  peers.Add("larder_peer_received_bytes_total", "Bytes received from it.", Counter,
            [&](const PeerStatus& peer) { return stats_of(peer).bytes_received; });
  peers.Add("larder_peer_send_queue_bytes", "Bytes of messages that wait to be sent to it.", Gauge,
            [&](const PeerStatus& peer) { return stats_of(peer).queued_bytes; });
}

}  // namespace

ClusterSample TakeClusterSample(ClusterNode& node, MonotonicTime now) {
  return {
      .stats = node.core().GetStats(), .asks = node.core().asks(), .peers = node.core().Peers(now)};
}

void AddCluster(const ClusterNode& node, const ClusterSample& sample, Families* families) {
  const PeerTransportStats transport = node.TransportStats();
  AddMembers(node, sample, families);
  AddIndex(sample.stats.index, families);
  AddFlows(sample.stats, families);
  AddDirectory(sample.stats, sample.asks, families);
  AddRefusals(node, sample.stats, transport, families);
  PeerFamilies peers(sample.peers, families);
  AddPeerIndex(peers);
  AddPeerFlows(peers);
  AddPeerPace(peers);
  AddPeerConnections(transport, peers);
}

}  // namespace larder
