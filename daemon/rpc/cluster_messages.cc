#include "daemon/rpc/cluster_messages.h"

#include <algorithm>
#include <string>

namespace larder {
namespace {

uint64_t Microseconds(absl::Duration duration) {
  return static_cast<uint64_t>(std::max<int64_t>(0, absl::ToInt64Microseconds(duration)));
}

v1::BreakerState ToProto(PeerBreaker::State state) {
  switch (state) {
    case PeerBreaker::State::kClosed:
      return v1::BREAKER_STATE_CLOSED;
    case PeerBreaker::State::kOpen:
      return v1::BREAKER_STATE_OPEN;
    case PeerBreaker::State::kTrial:
      return v1::BREAKER_STATE_TRIAL;
  }
  return v1::BREAKER_STATE_UNSPECIFIED;
}

void FillRecord(const MemberRecord& record, v1::ClusterMember* member) {
  member->set_name(record.name);
  member->set_epoch(record.epoch);
  member->set_peer_address(record.peer_address);
  member->set_rpc_address(record.rpc_address);
  member->set_version(record.version);
  member->set_draining(record.draining);
  member->set_directory(record.directory);
  member->set_memory_capacity_bytes(record.memory_bytes);
  member->set_disk_capacity_bytes(record.disk_bytes);
}

void FillPeer(const ClusterCore::PeerStatus& peer, const PeerTransportStats& transport,
              v1::ClusterMember* member) {
  FillRecord(peer.member, member);
  member->set_up(peer.up);
  for (const PeerStats& stats : transport.peers) {
    if (stats.node != peer.member.name) continue;
    member->set_last_error(stats.last_error);
    member->set_round_trip_us(Microseconds(stats.round_trip));
  }
  member->set_memory_bytes(peer.held.memory_pages * kHoldingPageBytes);
  member->set_disk_bytes(peer.held.disk_pages * kHoldingPageBytes);
  member->set_chunks(peer.held.entries);
  member->set_in_sync(peer.follow.in_sync);
  member->set_index_lag(peer.follow.lag);
  member->set_snapshots(peer.follow.snapshots);
  member->set_gaps(peer.follow.gaps);
  member->set_fetched_chunks(peer.fetch.ok);
  member->set_fetched_bytes(peer.fetch.ok_bytes);
  member->set_failed_fetches(peer.fetch.failed + peer.fetch.corrupt);
  member->set_late_fetches(peer.fetch.late);
  member->set_served_chunks(peer.served_chunks);
  member->set_served_bytes(peer.served_bytes);
  member->set_predicted_latency_us(Microseconds(peer.fetch.latency));
  member->set_bytes_per_second(peer.fetch.bytes_per_second);
  member->set_breaker(ToProto(peer.fetch.breaker));
}

}  // namespace

void FillCluster(ClusterNode& node, MonotonicTime now, v1::ClusterResponse* response) {
  const MemberView members = node.members();
  const PeerTransportStats transport = node.TransportStats();
  const ClusterCore::Stats stats = node.core().GetStats();
  const MemberRecord self = node.self();
  response->set_cluster(node.options().name);
  response->set_node(self.name);
  response->set_source_reachable(members.source_reachable);
  response->set_source_silent_ms(static_cast<uint64_t>(
      std::max<int64_t>(0, absl::ToInt64Milliseconds(members.source_silent_for))));
  response->set_source_problem(members.problem);
  v1::ClusterMember* own = response->add_members();
  FillRecord(self, own);
  own->set_self(true);
  for (const ClusterCore::PeerStatus& peer : node.core().Peers(now)) {
    FillPeer(peer, transport, response->add_members());
  }
  std::sort(response->mutable_members()->begin(), response->mutable_members()->end(),
            [](const auto& a, const auto& b) { return a.name() < b.name(); });
  response->set_index_entries(stats.index.entries);
  response->set_index_bytes(stats.index.bytes);
  response->set_index_dropped(stats.index.dropped);
  response->set_fetched_chunks(stats.fetched_chunks);
  response->set_fetched_bytes(stats.fetched_bytes);
  response->set_served_chunks(stats.served_chunks);
  response->set_served_bytes(stats.served_bytes);
  response->set_fetch_failures(stats.fetch.finished_failed + stats.fetch.finished_late);
  response->set_hedged_fetches(stats.fetch.hedges);
  response->set_corrupt_arrivals(stats.corrupt_arrivals);
  response->set_bad_messages(stats.bad_messages + node.dropped_messages());
  response->set_offered_chunks(stats.replication.offered);
  response->set_taken_chunks(stats.replication.taken);
  response->set_asks_directory(node.core().asks());
  response->set_directory_questions(stats.directory.questions);
  response->set_directory_unanswered(stats.directory.unanswered);
  response->set_directory_found(stats.directory.found);
  response->set_directory_nowhere(stats.directory.nowhere);
  response->set_answered_questions(stats.answered_questions);
  response->set_answered_keys(stats.answered_keys);
  response->set_engine(std::string(transport.engine));
  for (size_t reason = 1; reason < kPeerRefusals; ++reason) {
    if (transport.refused[reason] == 0) continue;
    v1::RefusedPeers* refused = response->add_refused();
    refused->set_reason(std::string(PeerRefusalName(static_cast<PeerRefusal>(reason))));
    refused->set_count(transport.refused[reason]);
  }
}

void FillHolders(ClusterNode& node, Core& core, const Space& space, std::span<const KeyHash> keys,
                 MonotonicTime now, v1::WhereResponse* response) {
  const std::string self = node.self().name;
  for (const KeyHash& key : keys) {
    v1::ChunkHolders* chunk = response->add_chunks();
    chunk->set_key_hash(ToString(key));
    if (const Holding here = core.HoldingOf(space.handle, key); here.in_memory || here.on_disk) {
      v1::ChunkHolder* holder = chunk->add_holders();
      holder->set_node(self);
      holder->set_in_memory(here.in_memory);
      holder->set_on_disk(here.on_disk);
    }
    for (const ClusterCore::HolderStatus& other : node.core().HoldersOf(space.handle, key, now)) {
      v1::ChunkHolder* holder = chunk->add_holders();
      holder->set_node(other.node);
      holder->set_in_memory((other.tiers & kTierMemory) != 0);
      holder->set_on_disk((other.tiers & kTierDisk) != 0);
      if (other.predicted != absl::InfiniteDuration()) {
        holder->set_predicted_us(Microseconds(other.predicted));
      }
    }
  }
}

}  // namespace larder
