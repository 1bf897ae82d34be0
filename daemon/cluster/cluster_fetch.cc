// Chunks that this node fetches from others.
#include <algorithm>
#include <utility>

#include "common/hash.h"
#include "daemon/cluster/cluster_core.h"

namespace larder {
namespace {

// How many chunks that could not be fetched are remembered.
constexpr size_t kFailedMax = 1 << 16;
// Rounds of orders and what follows from them at once, in one step.
constexpr int kPlanRoundsMax = 16;
constexpr size_t kFetchItemsMax = 256;
static_assert(kFetchItemsMax <= kPeerItemsMax);

}  // namespace

// --- Elsewhere ----------------------------------------------------------------------------------

bool ClusterCore::FailedLately(const FetchName& name, MonotonicTime now) const {
  if (failed_until_.empty()) return false;
  const auto found = failed_until_.find(name);
  return found != failed_until_.end() && found->second > now;
}

size_t ClusterCore::CountHeld(uint32_t space, std::span<const KeyHash> keys, MonotonicTime now) {
  const SpaceId* id = IdOf(space);
  if (id == nullptr) return 0;
  AskFor(space, keys, now);
  index_->Find(*id, keys, /*stop_at_first_unknown=*/true, &found_);
  size_t count = 0;
  for (const FoundChunks::Chunk& chunk : found_.chunks) {
    const std::span<const ChunkHolder> holders = found_.HoldersOf(chunk);
    const bool askable =
        std::any_of(holders.begin(), holders.end(),
                    [&](const ChunkHolder& holder) { return planner_.MayAsk(holder.node, now); });
    if (!askable || FailedLately({space, keys[count]}, now)) break;
    ++count;
  }
  return count;
}

ClusterCore::Candidates ClusterCore::CandidatesFor(const FetchName& name, uint32_t* pages,
                                                   MonotonicTime now) {
  Candidates candidates;
  const SpaceId* id = IdOf(name.space);
  if (id == nullptr || FailedLately(name, now)) return candidates;
  AskFor(name.space, std::span(&name.key, 1), now);
  index_->Find(*id, std::span(&name.key, 1), /*stop_at_first_unknown=*/true, &found_);
  if (found_.chunks.empty()) return candidates;
  *pages = found_.chunks[0].pages;
  for (const ChunkHolder& holder : found_.holders) {
    if (!planner_.MayAsk(holder.node, now)) continue;
    candidates.push_back({.node = holder.node, .tiers = holder.tiers});
  }
  return candidates;
}

std::optional<PlaceElsewhere> ClusterCore::Find(uint32_t space, const KeyHash& key,
                                                MonotonicTime now) {
  uint32_t pages = 0;
  std::optional<PlaceElsewhere> best;
  for (const FetchCandidate& candidate : CandidatesFor({space, key}, &pages, now)) {
    const absl::Duration predicted =
        planner_.Predict(candidate.node, candidate.tiers, pages * kHoldingPageBytes, now);
    if (predicted == absl::InfiniteDuration() || (best && best->predicted <= predicted)) continue;
    best = {.node = candidate.node,
            .on_disk = (candidate.tiers & kTierMemory) == 0,
            .predicted = predicted};
  }
  return best;
}

bool ClusterCore::Fetch(uint32_t space, const KeyHash& key, MonotonicTime now) {
  const FetchName name{space, key};
  if (planner_.IsFetching(name)) return true;
  uint32_t pages = 0;
  const Candidates candidates = CandidatesFor(name, &pages, now);
  // The caller asks again when it is known where the chunk is.
  if (candidates.empty()) return IsLocating(space, key);
  using Result = FetchPlanner::StartResult;
  switch (planner_.Start(name, pages * kHoldingPageBytes, candidates, now + options_.fetch_timeout,
                         now)) {
    case Result::kStarted:
    case Result::kJoined:
      return true;
    case Result::kFull:
      return fetching();  // The caller asks again when some of it is there.
    default:
      return false;
  }
}

// --- asking -------------------------------------------------------------------------------------

void ClusterCore::CarryOutPlan(MonotonicTime now) {
  using Kind = FetchPlanner::Order::Kind;
  for (int round = 0; round < kPlanRoundsMax && planner_.has_orders(); ++round) {
    for (const FetchPlanner::Order& order : planner_.TakeOrders()) {
      switch (order.kind) {
        case Kind::kAsk:
          Ask(order, now);
          break;
        case Kind::kProbe:
          Send(order.node, WriteProbe(PeerMessageKind::kProbe));
          break;
        case Kind::kCancel:
          if (const auto found = incoming_.find(order.attempt.value); found != incoming_.end()) {
            CloseIncoming(found->first, found->second);
          }
          break;
        case Kind::kFinished:
          core_->NoteFetchEnded();
          if (order.failure != FetchFailure::kNone && failed_until_.size() < kFailedMax) {
            failed_until_[order.name] = now + options_.failure_pause;
          }
          AnswerOffers(order.name);
          break;
      }
    }
  }
}

void ClusterCore::Ask(const FetchPlanner::Order& order, MonotonicTime now) {
  const std::optional<uint64_t> offset = core_->AllocateArrival(order.name.space, order.bytes, now);
  if (!offset) {
    planner_.OnAnswer(order.attempt, FetchAnswer::kNoRoom, 0, now);
    return;
  }
  const uint64_t window = order.attempt.value;
  incoming_[window] = {
      .name = order.name, .node = order.node, .offset = *offset, .bytes = order.bytes};
  ClusterOrder& open = AddOrder(ClusterOrder::Kind::kOpenWindow, order.node);
  open.window = window;
  open.ranges = {{.offset = *offset, .bytes = order.bytes}};
  asks_[{order.node, order.name.space}].push_back(
      {.key = order.name.key, .window = window, .window_bytes = order.bytes});
}

void ClusterCore::SendAsks() {
  for (auto& [to, items] : std::exchange(asks_, {})) {
    for (size_t first = 0; first < items.size(); first += kFetchItemsMax) {
      const size_t count = std::min(kFetchItemsMax, items.size() - first);
      Send(to.first, WriteMessage(PeerFetch{
                         .space = *IdOf(to.second),
                         .granule_bytes = static_cast<uint32_t>(options_.granule_bytes),
                         .deadline_ms = static_cast<uint32_t>(
                             absl::ToInt64Milliseconds(options_.fetch_timeout)),
                         .items = {items.begin() + first, items.begin() + first + count}}));
    }
  }
}

void ClusterCore::CloseIncoming(uint64_t window, Incoming& incoming) {
  if (incoming.closing) return;
  incoming.closing = true;
  AddOrder(ClusterOrder::Kind::kCloseWindow, incoming.node).window = window;
  releases_[incoming.node].push_back(window);
}

void ClusterCore::SendReleases() {
  for (const auto& [node, windows] : std::exchange(releases_, {})) {
    for (size_t first = 0; first < windows.size(); first += kPeerItemsMax) {
      const size_t count = std::min<size_t>(kPeerItemsMax, windows.size() - first);
      Send(node, WriteRelease(std::span(windows).subspan(first, count)));
    }
  }
}

void ClusterCore::OnWindowClosed(uint64_t window) {
  const auto found = incoming_.find(window);
  if (found == incoming_.end()) return;
  const Incoming& incoming = found->second;
  if (incoming.owns_room) {
    core_->DropArrival(incoming.name.space, incoming.offset, incoming.bytes);
  }
  incoming_.erase(found);
}

// --- answers ------------------------------------------------------------------------------------

void ClusterCore::OnFetched(Peer& peer, const PeerFetched& fetched, const CheckedArrival* arrival,
                            MonotonicTime now) {
  const auto found = incoming_.find(fetched.window);
  // A late answer to what was given up.
  if (found == incoming_.end() || found->second.node != peer.slot || found->second.closing) return;
  Incoming& incoming = found->second;
  FetchAnswer answer = FetchAnswer::kFailed;
  switch (fetched.code) {
    case FetchResultCode::kWritten:
      if (arrival != nullptr) answer = TakeIn(incoming, fetched, *arrival, now);
      break;
    case FetchResultCode::kGone:
      answer = FetchAnswer::kGone;
      OnGone(peer, incoming.name, fetched.bytes_or_log_end);
      break;
    case FetchResultCode::kResized:
      answer = FetchAnswer::kResized;
      break;
    case FetchResultCode::kBusy:
      answer = FetchAnswer::kBusy;
      break;
  }
  const bool ok = answer == FetchAnswer::kOk;
  const uint64_t bytes = ok ? incoming.bytes : fetched.bytes_or_log_end;
  CloseIncoming(fetched.window, incoming);
  planner_.OnAnswer(AttemptId{fetched.window}, answer, bytes, now);
}

void ClusterCore::OnGone(Peer& peer, const FetchName& name, uint64_t log_end) {
  const SpaceId& id = *IdOf(name.space);
  const ChunkEvent removal{.space = id, .key = name.key};
  if (asks_directory_) {
    index_->Apply(peer.slot, removal);
    if (!index_->Contains(id, name.key)) directory_.Forget(name);
  } else {
    peer.follower->OnRemoval(removal, {.epoch = peer.up_epoch, .sequence = log_end});
  }
}

FetchAnswer ClusterCore::TakeIn(Incoming& incoming, const PeerFetched& fetched,
                                const CheckedArrival& checked, MonotonicTime now) {
  const Space* space = core_->FindSpace(incoming.name.space);
  Arrival arrival{.key = incoming.name.key,
                  .offset = incoming.offset,
                  .bytes = incoming.bytes,
                  // What was offered is to stay.
                  .is_copy = !taking_.contains(incoming.name)};
  bool sound = checked.problem.empty() && checked.containers.size() == fetched.parts.size();
  for (size_t i = 0; sound && i < fetched.parts.size(); ++i) {
    const ContainerView& container = checked.containers[i];
    const ChunkIdentity& identity = container.identity();
    sound =
        container.CheckIdentity(space->description.manifest, space->id, identity.key, identity.part)
            .ok() &&
        HashKey(identity.key) == arrival.key;
    arrival.parent = identity.parent;
    arrival.depth = identity.depth;
    arrival.parts.push_back({.offset = fetched.parts[i].offset,
                             .bytes = fetched.parts[i].bytes,
                             .part = identity.part,
                             .token_count = identity.token_count});
  }
  if (fetched.ttl_ms != 0) {
    arrival.ttl = std::min(absl::Milliseconds(fetched.ttl_ms), kTtlMax);
  }
  auto end = Core::ArrivalEnd::kNotWhole;
  if (sound) {
    incoming.owns_room = false;
    end = core_->CommitArrival(incoming.name.space, arrival, now);
  }
  switch (end) {
    case Core::ArrivalEnd::kTaken:
      ++stats_.fetched_chunks;
      stats_.fetched_bytes += incoming.bytes;
      return FetchAnswer::kOk;
    case Core::ArrivalEnd::kUnwanted:
      ++stats_.unwanted_arrivals;
      return FetchAnswer::kOk;
    case Core::ArrivalEnd::kNotWhole:
      break;
  }
  ++stats_.corrupt_arrivals;
  return FetchAnswer::kCorrupt;
}

}  // namespace larder
