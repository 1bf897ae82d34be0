#include "daemon/cluster/replication.h"

#include <algorithm>
#include <limits>

namespace larder {
namespace {

// Wishes of one kind whose targets are all busy do not hold up each other, as far as so many.
constexpr size_t kLooksPerStep = 32;

// Of a drain's chunks, so many are looked at in one go.
constexpr size_t kDrainLooks = 1024;

// Of a paced drain: so much may go at once after a pause.
constexpr double kDrainBurstSeconds = 0.1;

// Spreads keys over nodes, for each key differently (splitmix64's last steps).
uint64_t Mix(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

bool Contains(const NodeList& list, NodeSlot node) {
  return std::find(list.begin(), list.end(), node) != list.end();
}

}  // namespace

Replication::Replication(const ReplicationOptions& options, const ReplicaIndex* index)
    : options_(options),
      index_(index),
      heat_(options.heat_entries_max, options.heat_half_life),
      drain_list_(options.drain_chunks_max) {}

void Replication::SetNode(NodeSlot slot, const ReplicaNode& figures) {
  if (slot < kNodesMax) nodes_[slot].figures = figures;
}

void Replication::DropNode(NodeSlot slot, MonotonicTime now) {
  if (nodes_.erase(slot) == 0) return;
  std::vector<OfferId> lost;
  for (const auto& [id, offer] : offers_) {
    if (offer.node == slot) lost.push_back(id);
  }
  for (const OfferId id : lost) EndOffer(id, OfferAnswer::kFailed);
  Step(now);
}

void Replication::OnRemoteRead(const FetchName& name, uint64_t bytes, MonotonicTime now) {
  const double heat = heat_.Add(name, now);
  if (heat < options_.heat_per_copy || heating_.contains(name)) return;
  const uint32_t copies = 1 + static_cast<uint32_t>(index_->HoldersOf(name).size());
  if (copies >= options_.heat_copies_max || heat < options_.heat_per_copy * copies) return;
  heat_.Halve(name);
  const WishId wish = Add({.cause = Cause::kHeat,
                           .name = name,
                           .bytes = bytes,
                           .copies = copies + 1,
                           .deadline = now + 2 * options_.offer_timeout},
                          now);
  if (wish) ++stats_.by_heat;
}

WishId Replication::Want(const FetchName& name, uint64_t bytes, uint32_t copies,
                         MonotonicTime deadline, MonotonicTime now) {
  return Add({.name = name, .bytes = bytes, .copies = copies, .deadline = deadline}, now);
}

WishId Replication::WantAt(const FetchName& name, uint64_t bytes, NodeSlot node,
                           MonotonicTime deadline, MonotonicTime now) {
  return Add({.name = name, .bytes = bytes, .copies = 2, .at = node, .deadline = deadline}, now);
}

WishId Replication::Add(Wish wish, MonotonicTime now) {
  if (wishes_.size() >= options_.wishes_max) return {};
  const WishId id{next_id_++};
  if (wish.cause == Cause::kHeat) heating_.insert(wish.name);
  wish_deadlines_.emplace(wish.deadline, id);
  ++stats_.wishes;
  Wait(id, wishes_.emplace(id, std::move(wish)).first->second);
  Step(now);
  return id;
}

void Replication::Wait(WishId id, Wish& wish) {
  if (wish.waiting) return;
  wish.waiting = true;
  ++stats_.waiting;
  waiting_[static_cast<size_t>(wish.cause)].push_back(id);
}

bool Replication::HasRoom(uint64_t bytes) const {
  return offers_.empty() || (offers_.size() < options_.offers_max &&
                             stats_.offered_bytes + bytes <= options_.offered_bytes_max);
}

void Replication::Step(MonotonicTime now) {
  OfferWhatWaits(now);
  if (drain_.state == DrainProgress::State::kMoving && drain_list_.size() == 0 &&
      drain_wishes_ == 0) {
    drain_.state = DrainProgress::State::kDone;
  }
}

void Replication::OfferWhatWaits(MonotonicTime now) {
  RefillDrain(now);
  for (size_t cause = 0; cause < kCauses; ++cause) {
    std::deque<WishId>& waiting = waiting_[cause];
    for (size_t looks = 0; looks < kLooksPerStep && !waiting.empty(); ++looks) {
      const WishId id = waiting.front();
      const auto found = wishes_.find(id);
      if (found != wishes_.end() && !HasRoom(found->second.bytes)) return;
      waiting.pop_front();
      if (found == wishes_.end()) continue;
      found->second.waiting = false;
      --stats_.waiting;
      Advance(id, found->second, now);
      if (cause == static_cast<size_t>(Cause::kDrain)) RefillDrain(now);
    }
  }
}

void Replication::Advance(WishId id, Wish& wish, MonotonicTime now) {
  const NodeList holders = index_->HoldersOf(wish.name);
  const uint32_t copies = CopiesOf(wish, holders);
  if (copies >= wish.copies) {
    Settle(id, true);
    return;
  }
  if (copies + wish.offers.size() >= wish.copies) return;  // on their way
  NodeSlot target = 0;
  Target found = Target::kNone;
  if (wish.tried.size() + wish.taken.size() + wish.offers.size() < kTriesMax) {
    found = ChooseTarget(wish, holders, &target);
  }
  if (found == Target::kNone) {
    if (wish.offers.empty()) Settle(id, true);
    return;
  }
  if (found == Target::kFound) MakeOffer(id, wish, target, now);
  if (copies + wish.offers.size() < wish.copies) Wait(id, wish);
}

uint32_t Replication::CopiesOf(const Wish& wish, const NodeList& holders) const {
  if (wish.at) return 1 + (Contains(holders, *wish.at) || Contains(wish.taken, *wish.at));
  uint32_t copies = 1 + static_cast<uint32_t>(holders.size());
  for (const NodeSlot node : wish.taken) copies += Contains(holders, node) ? 0 : 1;
  return copies;
}

Replication::Target Replication::ChooseTarget(const Wish& wish, const NodeList& holders,
                                              NodeSlot* target) const {
  struct Choice {
    uint64_t hash = 0;
    double load = 0;
    NodeSlot slot = 0;
  };
  std::vector<Choice> choices;
  bool any_busy = false;
  for (const auto& [slot, node] : nodes_) {
    if (wish.at && *wish.at != slot) continue;
    if (Contains(holders, slot) || Contains(wish.tried, slot) || Contains(wish.taken, slot)) {
      continue;
    }
    const bool outstanding =
        std::any_of(wish.offers.begin(), wish.offers.end(),
                    [&, at = slot](OfferId id) { return offers_.at(id).node == at; });
    if (outstanding) continue;
    if (node.offers >= options_.offers_per_node_max) {
      any_busy = true;
      continue;
    }
    choices.push_back({Mix(wish.name.key.low ^ Mix(slot + uint64_t{1})), LoadOf(node), slot});
  }
  if (choices.empty()) return any_busy ? Target::kAllBusy : Target::kNone;
  const size_t count = std::min(kChoices, choices.size());
  std::partial_sort(choices.begin(), choices.begin() + static_cast<ptrdiff_t>(count), choices.end(),
                    [](const Choice& a, const Choice& b) {
                      return std::pair(a.hash, a.slot) < std::pair(b.hash, b.slot);
                    });
  const auto best =
      std::min_element(choices.begin(), choices.begin() + static_cast<ptrdiff_t>(count),
                       [](const Choice& a, const Choice& b) { return a.load < b.load; });
  *target = best->slot;
  return Target::kFound;
}

double Replication::LoadOf(const Node& node) const {
  if (node.figures.capacity_bytes == 0) return std::numeric_limits<double>::max();
  return static_cast<double>(node.figures.held_bytes + node.offered_bytes) /
         static_cast<double>(node.figures.capacity_bytes);
}

void Replication::MakeOffer(WishId id, Wish& wish, NodeSlot target, MonotonicTime now) {
  const OfferId offer{next_id_++};
  const MonotonicTime deadline = std::min(wish.deadline, now + options_.offer_timeout);
  offers_[offer] = {.wish = id, .node = target, .bytes = wish.bytes, .deadline = deadline};
  offer_deadlines_.emplace(deadline, offer);
  wish.offers.push_back(offer);
  Node& node = nodes_.at(target);
  ++node.offers;
  node.offered_bytes += wish.bytes;
  ++stats_.offers;
  ++stats_.offered;
  stats_.offered_bytes += wish.bytes;
  orders_.push_back({.kind = Order::Kind::kOffer,
                     .offer = offer,
                     .wish = id,
                     .name = wish.name,
                     .bytes = wish.bytes,
                     .node = target,
                     .deadline = deadline});
}

void Replication::OnAnswer(OfferId id, OfferAnswer answer, MonotonicTime now) {
  if (!offers_.contains(id)) return;
  EndOffer(id, answer);
  Step(now);
}

Replication::Offer Replication::RemoveOffer(OfferId id) {
  const auto found = offers_.find(id);
  const Offer offer = found->second;
  offers_.erase(found);
  offer_deadlines_.erase({offer.deadline, id});
  --stats_.offers;
  stats_.offered_bytes -= offer.bytes;
  if (auto node = nodes_.find(offer.node); node != nodes_.end()) {
    --node->second.offers;
    node->second.offered_bytes -= offer.bytes;
  }
  Wish& wish = wishes_.at(offer.wish);
  wish.offers.erase(std::find(wish.offers.begin(), wish.offers.end(), id));
  return offer;
}

void Replication::EndOffer(OfferId id, OfferAnswer answer) {
  const Offer offer = RemoveOffer(id);
  Wish& wish = wishes_.at(offer.wish);
  const bool there = answer == OfferAnswer::kTaken || answer == OfferAnswer::kHeld;
  (there ? wish.taken : wish.tried).push_back(offer.node);
  switch (answer) {
    case OfferAnswer::kTaken:
      ++stats_.taken;
      if (wish.cause == Cause::kDrain) drain_.moved_bytes += offer.bytes;
      break;
    case OfferAnswer::kHeld:
      ++stats_.held;
      break;
    case OfferAnswer::kRefused:
      ++stats_.refused;
      break;
    case OfferAnswer::kFailed:
      ++stats_.failed;
  }
  Wait(offer.wish, wish);  // Advance sees what is to be done now.
}

void Replication::Settle(WishId id, bool in_time) {
  const auto found = wishes_.find(id);
  Wish& wish = found->second;
  while (!wish.offers.empty()) RemoveOffer(wish.offers.back());
  const uint32_t copies = CopiesOf(wish, index_->HoldersOf(wish.name));
  const bool ok = in_time && copies >= wish.copies;
  orders_.push_back({.kind = Order::Kind::kSettled,
                     .wish = id,
                     .name = wish.name,
                     .bytes = wish.bytes,
                     .deadline = wish.deadline,
                     .ok = ok,
                     .copies = copies});
  ++(ok ? stats_.settled_ok : stats_.settled_short);
  --stats_.wishes;
  if (wish.waiting) --stats_.waiting;
  if (wish.cause == Cause::kHeat) heating_.erase(wish.name);
  if (wish.cause == Cause::kDrain) {
    --drain_wishes_;
    ++(!wish.taken.empty() ? drain_.moved : ok ? drain_.held_elsewhere : drain_.left_behind);
  }
  wish_deadlines_.erase({wish.deadline, id});
  wishes_.erase(found);
}

// --- draining ----------------------------------------------------------------------------------

void Replication::StartDrain(MonotonicTime deadline, MonotonicTime now) {
  if (drain_.state == DrainProgress::State::kListing ||
      drain_.state == DrainProgress::State::kMoving) {
    return;
  }
  drain_ = {.state = DrainProgress::State::kListing};
  drain_list_ = DrainList(options_.drain_chunks_max);
  drain_deadline_ = deadline;
  drain_credit_at_ = now;
  drain_credit_bytes_ = 0;
}

void Replication::AddToDrain(const DrainChunk& chunk) {
  if (drain_.state != DrainProgress::State::kListing) return;
  ++drain_.chunks;
  drain_list_.Add(chunk);
}

void Replication::SealDrain(MonotonicTime now) {
  if (drain_.state != DrainProgress::State::kListing) return;
  drain_list_.Seal();
  drain_.left_behind += drain_list_.dropped();
  drain_.state = DrainProgress::State::kMoving;
  Step(now);
}

void Replication::CancelDrain() {
  std::vector<WishId> wishes;
  for (const auto& [id, wish] : wishes_) {
    if (wish.cause == Cause::kDrain) wishes.push_back(id);
  }
  for (const WishId id : wishes) Settle(id, false);
  drain_ = {};
  drain_list_ = DrainList(0);
}

void Replication::RefillDrain(MonotonicTime now) {
  if (drain_.state != DrainProgress::State::kMoving) return;
  const double rate = static_cast<double>(options_.drain_bytes_per_second);
  if (rate > 0) {
    // What was not used is not saved up: a pause must not be followed by a flood.
    const double earned = absl::ToDoubleSeconds(now - drain_credit_at_) * rate;
    drain_credit_bytes_ = std::min(drain_credit_bytes_ + earned, rate * kDrainBurstSeconds);
  }
  drain_credit_at_ = now;
  for (size_t i = 0; i < kDrainLooks && drain_wishes_ < options_.offers_max; ++i) {
    if (rate > 0 && drain_credit_bytes_ <= 0) return;
    const std::optional<DrainChunk> chunk = drain_list_.Take();
    if (!chunk) return;
    if (!index_->HoldersOf(chunk->name).empty()) {
      ++drain_.held_elsewhere;
      continue;
    }
    drain_credit_bytes_ -= static_cast<double>(chunk->bytes);
    const WishId id{next_id_++};
    ++drain_wishes_;
    ++stats_.wishes;
    wish_deadlines_.emplace(drain_deadline_, id);
    Wait(id, wishes_
                 .emplace(id, Wish{.cause = Cause::kDrain,
                                   .name = chunk->name,
                                   .bytes = chunk->bytes,
                                   .copies = 2,
                                   .deadline = drain_deadline_})
                 .first->second);
  }
}

// --- time --------------------------------------------------------------------------------------

void Replication::Tick(MonotonicTime now) {
  const bool draining = drain_.state == DrainProgress::State::kListing ||
                        drain_.state == DrainProgress::State::kMoving;
  if (draining && now >= drain_deadline_) {
    drain_.left_behind += drain_list_.size();
    drain_list_ = DrainList(0);
    drain_.in_time = false;
    drain_.state = DrainProgress::State::kMoving;
  }
  while (!wish_deadlines_.empty() && wish_deadlines_.begin()->first <= now) {
    Settle(wish_deadlines_.begin()->second, false);
  }
  while (!offer_deadlines_.empty() && offer_deadlines_.begin()->first <= now) {
    ++stats_.timed_out;
    EndOffer(offer_deadlines_.begin()->second, OfferAnswer::kFailed);
  }
  Step(now);
}

std::optional<MonotonicTime> Replication::next_wakeup() const {
  std::optional<MonotonicTime> next;
  const auto sooner = [&](MonotonicTime time) { next = next ? std::min(*next, time) : time; };
  if (!wish_deadlines_.empty()) sooner(wish_deadlines_.begin()->first);
  if (!offer_deadlines_.empty()) sooner(offer_deadlines_.begin()->first);
  if (drain_.state == DrainProgress::State::kListing ||
      drain_.state == DrainProgress::State::kMoving) {
    sooner(drain_deadline_);
  }
  if (drain_list_.size() > 0 && drain_.state == DrainProgress::State::kMoving &&
      drain_wishes_ < options_.offers_max) {
    const double rate = static_cast<double>(options_.drain_bytes_per_second);
    const double owed = rate > 0 ? std::max(0.0, -drain_credit_bytes_) / rate : 0;
    sooner(drain_credit_at_ + absl::Seconds(owed) + absl::Milliseconds(1));
  }
  return next;
}

}  // namespace larder
