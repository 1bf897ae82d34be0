#include "daemon/cluster/cluster_core.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

FetchPlannerOptions PlannerOptions(FetchPlannerOptions options, const Core& core) {
  options.bytes_max = std::min(options.bytes_max, core.arriving_bytes_max());
  options.bytes_per_node_max = std::min(options.bytes_per_node_max, options.bytes_max);
  return options;
}

// Bound on the work of one step.
constexpr size_t kForgottenSlotsPerStepMax = 16384;
// Between two looks for what is over.
constexpr absl::Duration kSweepInterval = absl::Milliseconds(200);

}  // namespace

absl::StatusOr<std::unique_ptr<ClusterCore>> ClusterCore::Create(const ClusterCoreOptions& options,
                                                                 Core* core, OpenSpace open_space) {
  ASSIGN_OR_RETURN(std::unique_ptr<GlobalIndex> index, GlobalIndex::Create(options.index));
  ASSIGN_OR_RETURN(const SessionId session, core->OpenSession());
  std::unique_ptr<ClusterCore> cluster(
      new ClusterCore(options, core, std::move(open_space), session, std::move(index)));
  core->SetElsewhere(cluster.get());
  return cluster;
}

ClusterCore::ClusterCore(const ClusterCoreOptions& options, Core* core, OpenSpace open_space,
                         SessionId session, std::unique_ptr<GlobalIndex> index)
    : options_(options),
      core_(core),
      open_space_(std::move(open_space)),
      session_(session),
      index_(std::move(index)),
      planner_(PlannerOptions(options.fetch, *core)),
      replication_(options.replication, this),
      directory_(options.directory),
      name_of_slot_(kNodesMax) {}

ClusterCore::~ClusterCore() {
  core_->SetElsewhere(nullptr);
  for (const auto& [window, incoming] : incoming_) {
    if (incoming.owns_room) {
      core_->DropArrival(incoming.name.space, incoming.offset, incoming.bytes);
    }
  }
  core_->CloseSession(session_);
}

// --- who the others are -------------------------------------------------------------------------

ClusterCore::Peer* ClusterCore::PeerOf(absl::string_view node) {
  const auto found = peers_.find(node);
  return found == peers_.end() ? nullptr : &found->second;
}

ClusterCore::Peer* ClusterCore::PeerAt(NodeSlot slot) {
  return slot < name_of_slot_.size() ? PeerOf(name_of_slot_[slot]) : nullptr;
}

std::string ClusterCore::NameOf(NodeSlot slot) const {
  return slot < name_of_slot_.size() ? name_of_slot_[slot] : "";
}

void ClusterCore::SetMembers(std::span<const MemberRecord> members, MonotonicTime now) {
  std::vector<std::string> gone;
  for (const auto& known : peers_) {
    const std::string& name = known.first;
    const bool stays = std::any_of(members.begin(), members.end(),
                                   [&](const MemberRecord& member) { return member.name == name; });
    if (!stays) gone.push_back(name);
  }
  for (const std::string& name : gone) RemovePeer(name, now);
  SetMode(AsksDirectory(options_.self, members));
  for (const MemberRecord& member : members) {
    if (member.name == options_.self) continue;
    if (Peer* peer = PeerOf(member.name); peer != nullptr) {
      peer->member = member;
    } else {
      AddPeer(member, now);
    }
  }
  UpdateDirectories(now);
}

void ClusterCore::AddPeer(const MemberRecord& member, MonotonicTime now) {
  for (size_t slot = 0; slot < name_of_slot_.size(); ++slot) {
    const auto number = static_cast<NodeSlot>(slot);
    const bool leaving = std::any_of(leaving_.begin(), leaving_.end(),
                                     [&](const auto& left) { return left.first == number; });
    if (!name_of_slot_[slot].empty() || leaving) continue;
    name_of_slot_[slot] = member.name;
    Peer& peer = peers_[member.name];
    peer.member = member;
    peer.slot = number;
    peer.follower = std::make_unique<IndexFollower>(index_.get(), number);
    planner_.ForgetNode(number, now);
    // It may have been no member for a moment only, in which nobody hung up.
    const auto connected = connected_.find(member.name);
    if (connected != connected_.end()) OnPeerUp(member.name, connected->second, now);
    return;
  }
}

void ClusterCore::RemovePeer(const std::string& node, MonotonicTime now) {
  Peer& peer = peers_.at(node);
  SetDown(peer, now);
  planner_.ForgetNode(peer.slot, now);
  peer.follower->Hide();
  leaving_.emplace_back(peer.slot, std::move(peer.follower));
  name_of_slot_[peer.slot].clear();
  peers_.erase(node);
}

void ClusterCore::ForgetSome() {
  if (!leaving_.empty() && !leaving_.back().second->Step(kForgottenSlotsPerStepMax)) {
    leaving_.pop_back();
  }
  for (auto& [name, peer] : peers_) {
    if (peer.follower->has_work()) (void)peer.follower->Step(kForgottenSlotsPerStepMax);
  }
}

void ClusterCore::OnPeerUp(absl::string_view node, uint64_t epoch, MonotonicTime now) {
  connected_[node] = epoch;
  Peer* peer = PeerOf(node);
  if (peer == nullptr) return;
  peer->up = true;
  peer->up_epoch = epoch;
  planner_.OnNodeUp(peer->slot, now);
  UpdateDirectories(now);
  // Copies may be wanted there at once.
  UpdateTargets(now);
}

void ClusterCore::OnPeerDown(absl::string_view node, uint64_t epoch, MonotonicTime now) {
  if (const auto found = connected_.find(node); found != connected_.end()) {
    if (found->second == epoch) connected_.erase(found);
  }
  Peer* peer = PeerOf(node);
  if (peer != nullptr && peer->up_epoch == epoch) SetDown(*peer, now);
}

void ClusterCore::SetDown(Peer& peer, MonotonicTime now) {
  peer.up = false;
  planner_.OnNodeDown(peer.slot, now);
  replication_.DropNode(peer.slot, now);
  for (auto& [window, incoming] : incoming_) {
    if (incoming.node == peer.slot) CloseIncoming(window, incoming);
  }
  for (auto it = servings_.lower_bound({peer.slot, 0});
       it != servings_.end() && it->first.first == peer.slot;) {
    const ServingId id = it->first;
    it->second.answered = it->second.released = true;
    ++it;
    EndIfDone(id);
  }
  releases_.erase(peer.slot);
  UpdateDirectories(now);
}

// --- what they hold -----------------------------------------------------------------------------

FollowPosition ClusterCore::OnFollowOpen(absl::string_view node) {
  const Peer* peer = asks_directory_ ? nullptr : PeerOf(node);
  return peer == nullptr ? FollowPosition{} : peer->follower->OnStreamOpen();
}

IndexFollower::Taken ClusterCore::OnFollowBatch(absl::string_view node, const FollowBatch& batch) {
  Peer* peer = asks_directory_ ? nullptr : PeerOf(node);
  return peer == nullptr ? IndexFollower::Taken::kResync : peer->follower->OnBatch(batch);
}

void ClusterCore::OnFollowEnd(absl::string_view node, bool broken) {
  if (Peer* peer = PeerOf(node); peer != nullptr) peer->follower->OnStreamEnd(broken);
}

ChunkEvent ClusterCore::EventOf(const SpaceId& space, const Holding& holding) {
  return {.space = space,
          .key = holding.key,
          .pages = holding.pages,
          .tiers = static_cast<uint8_t>((holding.in_memory ? kTierMemory : 0) |
                                        (holding.on_disk ? kTierDisk : 0))};
}

bool ClusterCore::TakeEvents(std::vector<ChunkEvent>* events) {
  std::vector<Holding> holdings;
  const bool complete = core_->TakeChanges(&holdings);
  for (const Holding& holding : holdings) {
    events->push_back(EventOf(*IdOf(holding.space), holding));
  }
  return complete;
}

std::optional<uint64_t> ClusterCore::SnapshotStep(uint64_t cursor, size_t limit,
                                                  std::vector<ChunkEvent>* events) const {
  std::vector<Holding> holdings;
  const std::optional<uint64_t> next = core_->HoldingsStep(cursor, limit, &holdings);
  for (const Holding& holding : holdings) {
    events->push_back(EventOf(*IdOf(holding.space), holding));
  }
  return next;
}

const SpaceId* ClusterCore::IdOf(SpaceHandle handle) const {
  const Space* space = core_->FindSpace(handle);
  return space == nullptr ? nullptr : &space->id;
}

// --- messages -----------------------------------------------------------------------------------

ClusterOrder& ClusterCore::AddOrder(ClusterOrder::Kind kind, NodeSlot node) {
  orders_.push_back({});
  orders_.back().kind = kind;
  orders_.back().node = NameOf(node);
  return orders_.back();
}

void ClusterCore::Send(NodeSlot node, std::vector<uint8_t> payload) {
  AddOrder(ClusterOrder::Kind::kSend, node).payload = std::move(payload);
}

void ClusterCore::OnMessage(absl::string_view node, std::span<const uint8_t> message,
                            const CheckedArrival* arrival, MonotonicTime now) {
  Peer* peer = PeerOf(node);
  if (peer == nullptr) return;
  planner_.OnHeard(peer->slot, now);
  directory_.OnHeard(peer->slot);
  const auto handle = [&]() -> absl::Status {
    ASSIGN_OR_RETURN(const PeerMessageKind kind, KindOf(message));
    switch (kind) {
      case PeerMessageKind::kFetch: {
        ASSIGN_OR_RETURN(const PeerFetch fetch, ReadFetch(message));
        OnFetch(*peer, fetch, now);
        return absl::OkStatus();
      }
      case PeerMessageKind::kFetched: {
        ASSIGN_OR_RETURN(const PeerFetched fetched, ReadFetched(message));
        OnFetched(*peer, fetched, arrival, now);
        return absl::OkStatus();
      }
      case PeerMessageKind::kRelease: {
        ASSIGN_OR_RETURN(const std::vector<uint64_t> windows, ReadRelease(message));
        OnRelease(*peer, windows);
        return absl::OkStatus();
      }
      case PeerMessageKind::kOffer: {
        ASSIGN_OR_RETURN(const PeerOffer offer, ReadOffer(message));
        OnOffer(*peer, offer, now);
        return absl::OkStatus();
      }
      case PeerMessageKind::kOffered: {
        ASSIGN_OR_RETURN(const std::vector<OfferedItem> items, ReadOffered(message));
        OnOffered(items, now);
        return absl::OkStatus();
      }
      case PeerMessageKind::kLocate: {
        ASSIGN_OR_RETURN(const PeerLocate locate, ReadLocate(message));
        OnLocate(*peer, locate);
        return absl::OkStatus();
      }
      case PeerMessageKind::kLocated: {
        ASSIGN_OR_RETURN(const PeerLocated located, ReadLocated(message));
        OnLocated(*peer, located, now);
        return absl::OkStatus();
      }
      case PeerMessageKind::kProbe:
        RETURN_IF_ERROR(CheckProbe(message));
        Send(peer->slot, WriteProbe(PeerMessageKind::kAlive));
        return absl::OkStatus();
      case PeerMessageKind::kAlive:
        return CheckProbe(message);
    }
    return absl::UnimplementedError("peer message of a kind that is not known here");
  };
  if (!handle().ok()) ++stats_.bad_messages;
}

// --- time ---------------------------------------------------------------------------------------

void ClusterCore::Step(MonotonicTime now) {
  if (core_->loads_ended() != loads_ended_seen_) ServeWaiting(now);
  if (now >= next_sweep_) {
    next_sweep_ = now + kSweepInterval;
    EndLateServings(now);
    absl::erase_if(failed_until_, [&](const auto& failed) { return failed.second <= now; });
    UpdateTargets(now);
  }
  ForgetSome();
  ListForDrain(now);
  planner_.Tick(now);
  CarryOutPlan(now);
  CarryOutReplication(now);
  CarryOutQuestions(now);
  SendAsks();
  SendReleases();
}

std::optional<MonotonicTime> ClusterCore::next_wakeup() const {
  const bool forgets =
      !leaving_.empty() || std::any_of(peers_.begin(), peers_.end(), [](const auto& named) {
        return named.second.follower->has_work();
      });
  if (forgets || drain_cursor_) return MonotonicTime{};  // There is work left.
  std::optional<MonotonicTime> next;
  const auto note = [&](std::optional<MonotonicTime> time) {
    if (time && (!next || *time < *next)) next = time;
  };
  note(planner_.next_wakeup());
  note(replication_.next_wakeup());
  note(directory_.next_wakeup());
  if (!servings_.empty() || !failed_until_.empty() || !peers_.empty()) note(next_sweep_);
  return next;
}

// --- for people ---------------------------------------------------------------------------------

std::vector<ClusterCore::PeerStatus> ClusterCore::Peers(MonotonicTime now) const {
  std::vector<PeerStatus> all;
  for (const auto& [name, peer] : peers_) {
    all.push_back({.member = peer.member,
                   .slot = peer.slot,
                   .up = peer.up,
                   .held = index_->NodeStats(peer.slot),
                   .follow = peer.follower->stats(),
                   .served_chunks = peer.served_chunks,
                   .served_bytes = peer.served_bytes,
                   .fetch = planner_.StatsOf(peer.slot, now)});
  }
  return all;
}

ClusterCore::Stats ClusterCore::GetStats() const {
  Stats stats = stats_;
  stats.serving = servings_.size();
  stats.index = index_->stats();
  stats.fetch = planner_.stats();
  stats.replication = replication_.stats();
  stats.directory = directory_.stats();
  return stats;
}

std::vector<ClusterCore::HolderStatus> ClusterCore::HoldersOf(SpaceHandle space, const KeyHash& key,
                                                              MonotonicTime now) const {
  std::vector<HolderStatus> holders;
  const SpaceId* id = IdOf(space);
  if (id == nullptr) return holders;
  FoundChunks found;
  index_->Find(*id, std::span(&key, 1), /*stop_at_first_unknown=*/true, &found);
  if (found.chunks.empty()) return holders;
  const uint64_t bytes = found.chunks[0].pages * kHoldingPageBytes;
  for (const ChunkHolder& holder : found.holders) {
    holders.push_back({.node = NameOf(holder.node),
                       .tiers = holder.tiers,
                       .predicted = planner_.Predict(holder.node, holder.tiers, bytes, now)});
  }
  return holders;
}

}  // namespace larder
