#include "daemon/cluster/fetch_planner.h"

#include <algorithm>
#include <utility>

namespace larder {
namespace {

// A node that said that it is busy is left alone for a while, which doubles each time.
constexpr absl::Duration kBusyPauseMin = absl::Milliseconds(2);
constexpr absl::Duration kBusyPauseMax = absl::Milliseconds(100);

}  // namespace

FetchPlanner::FetchPlanner(const FetchPlannerOptions& options)
    : options_(options), hedges_allowed_(options.hedge_burst) {}

FetchPlanner::StartResult FetchPlanner::Start(const FetchName& name, uint64_t bytes,
                                              std::span<const FetchCandidate> candidates,
                                              MonotonicTime deadline, MonotonicTime now) {
  if (auto found = fetches_.find(name); found != fetches_.end()) {
    Fetch& fetch = *found->second;
    fetch.deadline = std::max(fetch.deadline, deadline);
    SetTimer(fetch);
    ++stats_.joined;
    return StartResult::kJoined;
  }
  ++stats_.refused;  // unless it is not
  if (deadline <= now) return StartResult::kLate;
  if (bytes > std::min(options_.bytes_per_node_max, options_.bytes_max)) {
    return StartResult::kTooLarge;
  }
  auto owned = std::make_unique<Fetch>();
  Fetch& fetch = *owned;
  fetch.name = name;
  fetch.bytes = bytes;
  fetch.deadline = deadline;
  for (const FetchCandidate& candidate : candidates) {
    if (fetch.candidates.size() == kCandidatesMax) break;
    const bool known =
        std::any_of(fetch.candidates.begin(), fetch.candidates.end(),
                    [&](const Candidate& other) { return other.where.node == candidate.node; });
    if (!known && candidate.node < kNodesMax) fetch.candidates.push_back({.where = candidate});
  }
  const std::optional<size_t> first = Choose(fetch, now);
  if (!first) return StartResult::kNobody;

  fetch.sequence = next_sequence_++;
  fetches_.emplace(name, std::move(owned));
  ++stats_.fetches;
  Enqueue(fetch, *first);
  Dispatch(now);
  if (fetch.phase == Phase::kWaiting && stats_.waiting > options_.waiting_max) {
    Dequeue(fetch);
    --stats_.fetches;
    fetches_.erase(name);
    return StartResult::kFull;
  }
  SetTimer(fetch);
  --stats_.refused;
  ++stats_.started;
  return StartResult::kStarted;
}

void FetchPlanner::OnAnswer(AttemptId id, FetchAnswer answer, uint64_t bytes, MonotonicTime now) {
  if (!attempts_.contains(id)) return;
  const Attempt attempt = EndAttempt(id);
  Fetch& fetch = *attempt.fetch;
  Node& node = NodeAt(attempt.node);
  node.last_answer = now;
  OnHeard(attempt.node, now);
  if (answer == FetchAnswer::kOk) {
    ++node.counts.ok;
    node.counts.ok_bytes += attempt.bytes;
    node.breaker.OnSuccess();
    node.busy_pause = absl::ZeroDuration();
    Learn(attempt, now);
    if (attempt.is_hedge) ++stats_.hedges_won;
    Finish(fetch, FetchFailure::kNone, id, attempt.node, now);
  } else if (answer == FetchAnswer::kNoRoom) {
    Finish(fetch, FetchFailure::kNoRoom, {}, attempt.node, now);
  } else {
    HeedFailure(fetch, attempt, answer, bytes, now);
    if (fetch.attempts.empty()) {
      Continue(fetch, now);
    } else {
      SetTimer(fetch);
    }
  }
  Dispatch(now);
}

void FetchPlanner::HeedFailure(Fetch& fetch, const Attempt& attempt, FetchAnswer answer,
                               uint64_t bytes, MonotonicTime now) {
  Node& node = NodeAt(attempt.node);
  Candidate& candidate = fetch.candidates[attempt.candidate];
  switch (answer) {
    case FetchAnswer::kGone:
      ++node.counts.gone;
      node.breaker.OnSuccess();
      candidate.over = true;
      fetch.failure = FetchFailure::kGone;
      break;
    case FetchAnswer::kResized:
      node.breaker.OnSuccess();
      fetch.failure = FetchFailure::kFailed;
      if (++fetch.resizes > kResizesMax ||
          bytes > std::min(options_.bytes_per_node_max, options_.bytes_max)) {
        candidate.over = true;
      } else {
        fetch.bytes = bytes;
      }
      break;
    case FetchAnswer::kBusy:
      ++node.counts.busy;
      node.breaker.OnSuccess();
      node.busy_pause = std::clamp(2 * node.busy_pause, kBusyPauseMin, kBusyPauseMax);
      node.busy_until = now + node.busy_pause;
      candidate.over = ++candidate.busy_answers >= kBusyAnswersMax;
      fetch.failure = FetchFailure::kBusy;
      break;
    case FetchAnswer::kCorrupt:
      ++node.counts.corrupt;
      candidate.over = true;
      fetch.failure = FetchFailure::kCorrupt;
      NoteFailure(attempt.node, PeerBreaker::Cause::kFailure, PeerBreaker::kCorruptWeight, now);
      break;
    default:
      ++node.counts.failed;
      candidate.over = true;
      fetch.failure = FetchFailure::kFailed;
      NoteFailure(attempt.node, PeerBreaker::Cause::kFailure, PeerBreaker::kFailureWeight, now);
  }
}

void FetchPlanner::OnNodeUp(NodeSlot slot, MonotonicTime now) {
  if (slot >= kNodesMax) return;
  Node& node = NodeAt(slot);
  node.up = true;
  node.busy_until = {};
  node.last_heard = now;
  node.breaker.OnReconnected();
}

void FetchPlanner::OnHeard(NodeSlot slot, MonotonicTime now) {
  if (FindNode(slot) == nullptr) return;
  Node& node = NodeAt(slot);
  const bool stood_still = !node.breaker.MayAsk(now);
  node.last_heard = now;
  node.breaker.OnHeard();
  if (stood_still && node.breaker.MayAsk(now)) Dispatch(now);
}

void FetchPlanner::OnNodeDown(NodeSlot slot, MonotonicTime now) {
  if (FindNode(slot) == nullptr) return;
  Node& node = NodeAt(slot);
  node.up = false;
  probed_.erase(slot);
  const std::vector<AttemptId> attempts(node.attempts.begin(), node.attempts.end());
  for (const AttemptId id : attempts) {
    // What ended with an earlier one of them is not there any more.
    if (!attempts_.contains(id)) continue;
    const Attempt attempt = CancelAttempt(id, now);
    Fetch& fetch = *attempt.fetch;
    ++node.counts.failed;
    fetch.candidates[attempt.candidate].over = true;
    fetch.failure = FetchFailure::kFailed;
    if (fetch.attempts.empty()) {
      Continue(fetch, now);
    } else {
      SetTimer(fetch);
    }
  }
  Disperse(node, /*stay=*/false, now);
  Dispatch(now);
}

void FetchPlanner::ForgetNode(NodeSlot slot, MonotonicTime now) {
  if (FindNode(slot) == nullptr) return;
  OnNodeDown(slot, now);
  nodes_[slot].reset();
}

void FetchPlanner::Tick(MonotonicTime now) {
  // Each look at a fetch ends it or moves its timer beyond `now`.
  while (!timers_.empty() && timers_.begin()->first.first <= now) {
    OnTimer(*timers_.begin()->second, now);
  }
  for (const NodeSlot slot : waited_for_) {
    Node& node = NodeAt(slot);
    if (node.busy_until <= now) node.busy_until = {};
  }
  SendProbes(now);
  Dispatch(now);
}

void FetchPlanner::SendProbes(MonotonicTime now) {
  absl::erase_if(probed_, [&](NodeSlot slot) {
    Node& node = NodeAt(slot);
    const std::optional<MonotonicTime> probe_at = node.breaker.probe_at();
    if (!probe_at) return true;
    if (*probe_at <= now) {
      node.breaker.OnProbeSent(now);
      Order& probe = orders_.emplace_back();
      probe.kind = Order::Kind::kProbe;
      probe.node = slot;
    }
    if (now - node.silent_since >= options_.silence_max) Disperse(node, /*stay=*/false, now);
    return false;
  });
}

std::optional<MonotonicTime> FetchPlanner::next_wakeup() const {
  std::optional<MonotonicTime> next;
  const auto note = [&](MonotonicTime time) { next = next ? std::min(*next, time) : time; };
  if (!timers_.empty()) note(timers_.begin()->first.first);
  for (const NodeSlot slot : waited_for_) {
    const MonotonicTime busy_until = FindNode(slot)->busy_until;
    if (busy_until != MonotonicTime{}) note(busy_until);
  }
  for (const NodeSlot slot : probed_) {
    if (const auto probe_at = FindNode(slot)->breaker.probe_at()) note(*probe_at);
  }
  return next;
}

bool FetchPlanner::MayAsk(NodeSlot slot, MonotonicTime now) const {
  const Node* node = FindNode(slot);
  return node != nullptr && MayAsk(*node, now);
}

absl::Duration FetchPlanner::Predict(NodeSlot slot, uint8_t tiers, uint64_t bytes,
                                     MonotonicTime now) const {
  const Node* node = FindNode(slot);
  if (node == nullptr || !MayAsk(*node, now)) return absl::InfiniteDuration();
  return PredictAt(*node, tiers, bytes, now);
}

// --- nodes -----------------------------------------------------------------------------------

FetchPlanner::Node& FetchPlanner::NodeAt(NodeSlot slot) {
  if (slot >= nodes_.size()) nodes_.resize(slot + size_t{1});
  if (nodes_[slot] == nullptr) nodes_[slot] = std::make_unique<Node>();
  return *nodes_[slot];
}

const FetchPlanner::Node* FetchPlanner::FindNode(NodeSlot slot) const {
  return slot < nodes_.size() ? nodes_[slot].get() : nullptr;
}

bool FetchPlanner::MayAsk(const Node& node, MonotonicTime now) {
  return node.up && node.breaker.MayAsk(now);
}

absl::Duration FetchPlanner::PredictAt(const Node& node, uint8_t tiers, uint64_t bytes,
                                       MonotonicTime now) const {
  const uint64_t with_queue = node.in_flight_bytes + node.waiting_bytes + bytes;
  const absl::Duration pause = std::max(node.busy_until - now, absl::ZeroDuration());
  return node.pace.Predict(tiers, with_queue, now) + pause;
}

void FetchPlanner::Learn(const Attempt& attempt, MonotonicTime now) {
  NodeAt(attempt.node)
      .pace.Learn(attempt.tiers, attempt.bytes_with_queue, now - attempt.asked_at,
                  attempt.predicted, now);
}

void FetchPlanner::NoteFailure(NodeSlot slot, PeerBreaker::Cause cause, double weight,
                               MonotonicTime now) {
  Node& node = NodeAt(slot);
  if (!node.breaker.OnFailure(cause, weight, now)) return;
  ++node.counts.breaker_opened;
  const bool probe = node.up && cause == PeerBreaker::Cause::kSilence;
  if (probe) {
    probed_.insert(slot);
    node.silent_since = now;
  }
  Disperse(node, /*stay=*/probe, now);
}

void FetchPlanner::Disperse(Node& node, bool stay, MonotonicTime now) {
  const std::map<Sequence, Fetch*> queue = node.queue;
  for (const auto& [sequence, fetch] : queue) {
    if (stay && !Choose(*fetch, now)) continue;
    Dequeue(*fetch);
    Continue(*fetch, now);
  }
}

FetchPlanner::NodeStats FetchPlanner::StatsOf(NodeSlot slot, MonotonicTime now) const {
  const Node* node = FindNode(slot);
  if (node == nullptr) return {};
  NodeStats stats = node->counts;
  stats.up = node->up;
  stats.breaker = node->breaker.state();
  stats.latency = node->pace.Predict(kTierMemory, 0, now);
  stats.bytes_per_second = node->pace.bytes_per_second();
  stats.in_flight = node->attempts.size();
  stats.in_flight_bytes = node->in_flight_bytes;
  stats.waiting = node->queue.size();
  stats.waiting_bytes = node->waiting_bytes;
  return stats;
}

}  // namespace larder
