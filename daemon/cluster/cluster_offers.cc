// Copies on other nodes: offered to them, and taken from them.
#include <algorithm>
#include <utility>

#include "daemon/cluster/cluster_core.h"

namespace larder {
namespace {

constexpr size_t kTakingMax = 4096;
constexpr absl::Duration kOfferTimeoutMax = absl::Seconds(60);
// Chunks that one step of a drain looks at.
constexpr size_t kListedPerStepMax = 4096;
constexpr size_t kOfferItemsMax = 256;
static_assert(kOfferItemsMax <= kPeerItemsMax);

OfferAnswer FromCode(uint32_t code) {
  switch (static_cast<OfferAnswerCode>(code)) {
    case OfferAnswerCode::kTaken:
      return OfferAnswer::kTaken;
    case OfferAnswerCode::kHeld:
      return OfferAnswer::kHeld;
    case OfferAnswerCode::kRefused:
      return OfferAnswer::kRefused;
    default:
      return OfferAnswer::kFailed;
  }
}

}  // namespace

// --- offering -----------------------------------------------------------------------------------

NodeList ClusterCore::HoldersOf(const FetchName& name) const {
  NodeList holders;
  const SpaceId* id = IdOf(name.space);
  if (id == nullptr) return holders;
  FoundChunks found;
  index_->Find(*id, std::span(&name.key, 1), /*stop_at_first_unknown=*/true, &found);
  for (const ChunkHolder& holder : found.holders) holders.push_back(holder.node);
  return holders;
}

void ClusterCore::UpdateTargets(MonotonicTime now) {
  for (const auto& [name, peer] : peers_) {
    if (!peer.up || peer.member.draining) {
      replication_.DropNode(peer.slot, now);
      continue;
    }
    const IndexNodeStats held = index_->NodeStats(peer.slot);
    replication_.SetNode(peer.slot, {.capacity_bytes = peer.member.memory_bytes,
                                     .held_bytes = held.memory_pages * kHoldingPageBytes});
  }
}

WishId ClusterCore::Replicate(SpaceHandle space, const KeyHash& key, uint32_t copies,
                              absl::string_view node, MonotonicTime deadline, MonotonicTime now) {
  const Holding holding = core_->HoldingOf(space, key);
  if (!holding.in_memory && !holding.on_disk) return {};
  const FetchName name{space, key};
  const uint64_t bytes = holding.pages * kHoldingPageBytes;
  if (node.empty()) return replication_.Want(name, bytes, copies, deadline, now);
  const Peer* peer = PeerOf(node);
  if (peer == nullptr) return {};
  return replication_.WantAt(name, bytes, peer->slot, deadline, now);
}

void ClusterCore::StartDrain(MonotonicTime deadline, MonotonicTime now) {
  if (drain_cursor_ || draining()) return;
  UpdateTargets(now);
  replication_.StartDrain(deadline, now);
  drain_cursor_ = 0;
}

void ClusterCore::ListForDrain(MonotonicTime now) {
  if (!drain_cursor_) return;
  std::vector<Holding> holdings;
  drain_cursor_ = core_->HoldingsStep(*drain_cursor_, kListedPerStepMax, &holdings);
  for (const Holding& holding : holdings) {
    replication_.AddToDrain({.name = {holding.space, holding.key},
                             .bytes = holding.pages * kHoldingPageBytes,
                             .value = core_->ValueOf(holding.space, holding.key)});
  }
  if (!drain_cursor_) replication_.SealDrain(now);
}

void ClusterCore::CarryOutReplication(MonotonicTime now) {
  replication_.Tick(now);
  std::map<std::pair<NodeSlot, SpaceHandle>, std::vector<OfferItem>> offers;
  for (const Replication::Order& order : replication_.TakeOrders()) {
    if (order.kind == Replication::Order::Kind::kSettled) {
      settled_.push_back({.wish = order.wish, .ok = order.ok, .copies = order.copies});
      continue;
    }
    offers[{order.node, order.name.space}].push_back(
        {.offer = order.offer.value,
         .key = order.name.key,
         .pages = static_cast<uint32_t>(order.bytes / kHoldingPageBytes),
         .reserved = 0});
  }
  for (const auto& [to, items] : offers) {
    for (size_t first = 0; first < items.size(); first += kOfferItemsMax) {
      const size_t count = std::min(kOfferItemsMax, items.size() - first);
      Send(to.first, WriteMessage(PeerOffer{
                         .deadline_ms = static_cast<uint32_t>(
                             absl::ToInt64Milliseconds(options_.replication.offer_timeout)),
                         .space = core_->FindSpace(to.second)->description,
                         .items = {items.begin() + first, items.begin() + first + count}}));
    }
  }
}

void ClusterCore::OnOffered(std::span<const OfferedItem> items, MonotonicTime now) {
  for (const OfferedItem& item : items) {
    replication_.OnAnswer(OfferId{item.offer}, FromCode(item.answer), now);
  }
}

// --- taking -------------------------------------------------------------------------------------

void ClusterCore::OnOffer(Peer& peer, const PeerOffer& offer, MonotonicTime now) {
  std::vector<OfferedItem> answers;
  const auto answer = [&](const OfferItem& item, OfferAnswerCode code) {
    answers.push_back({.offer = item.offer, .answer = static_cast<uint32_t>(code), .reserved = 0});
  };
  const absl::StatusOr<SpaceHandle> space = open_space_(offer.space);
  const MonotonicTime deadline =
      now + std::min(absl::Milliseconds(offer.deadline_ms), kOfferTimeoutMax);
  for (const OfferItem& item : offer.items) {
    if (!space.ok() || core_->draining() || taking_.size() >= kTakingMax) {
      answer(item, OfferAnswerCode::kRefused);
      continue;
    }
    const Holding holding = core_->HoldingOf(*space, item.key);
    if (holding.in_memory || holding.on_disk) {
      answer(item, OfferAnswerCode::kHeld);
      continue;
    }
    const FetchName name{*space, item.key};
    const FetchCandidate candidate{.node = peer.slot, .tiers = kTierMemory};
    const FetchPlanner::StartResult started = planner_.Start(
        name, item.pages * kHoldingPageBytes, std::span(&candidate, 1), deadline, now);
    if (started == FetchPlanner::StartResult::kStarted ||
        started == FetchPlanner::StartResult::kJoined) {
      taking_[name].emplace_back(peer.slot, item.offer);
    } else {
      answer(item, OfferAnswerCode::kRefused);
    }
  }
  if (!answers.empty()) Send(peer.slot, WriteOffered(answers));
}

void ClusterCore::AnswerOffers(const FetchName& name) {
  const auto found = taking_.find(name);
  if (found == taking_.end()) return;
  const Holding holding = core_->HoldingOf(name.space, name.key);
  const auto code =
      holding.in_memory || holding.on_disk ? OfferAnswerCode::kTaken : OfferAnswerCode::kFailed;
  for (const auto& [node, offer] : found->second) {
    const OfferedItem item{.offer = offer, .answer = static_cast<uint32_t>(code), .reserved = 0};
    Send(node, WriteOffered(std::span(&item, 1)));
  }
  taking_.erase(found);
}

}  // namespace larder
