// The way of one fetch: waiting, asking, being late.
#include <algorithm>
#include <limits>
#include <utility>

#include "daemon/cluster/fetch_planner.h"

namespace larder {
namespace {

constexpr MonotonicTime kNever = {std::numeric_limits<int64_t>::max()};

// A second request is not sent before this, however quick a node has been.
constexpr absl::Duration kHedgeDelayMin = absl::Milliseconds(1);
// Nor before so many times what was predicted.
constexpr double kHedgeRatioMin = 1.5;

}  // namespace

std::optional<size_t> FetchPlanner::Choose(const Fetch& fetch, MonotonicTime now) const {
  std::optional<size_t> best;
  std::pair<bool, absl::Duration> best_rank;
  for (size_t i = 0; i < fetch.candidates.size(); ++i) {
    const Candidate& candidate = fetch.candidates[i];
    const Node* node = FindNode(candidate.where.node);
    if (candidate.over || candidate.asked || node == nullptr || !MayAsk(*node, now)) continue;
    // One request is enough to find out about a node on trial, while others can be asked.
    const bool on_trial =
        !node->breaker.closed() && !(node->attempts.empty() && node->queue.empty());
    const std::pair rank(on_trial, PredictAt(*node, candidate.where.tiers, fetch.bytes, now));
    if (best && rank >= best_rank) continue;
    best = i;
    best_rank = rank;
  }
  return best;
}

void FetchPlanner::Continue(Fetch& fetch, MonotonicTime now) {
  const std::optional<size_t> next = Choose(fetch, now);
  if (!next) {
    Finish(fetch, fetch.failure, {}, 0, now);
    return;
  }
  Enqueue(fetch, *next);
  SetTimer(fetch);
}

void FetchPlanner::Enqueue(Fetch& fetch, size_t candidate) {
  fetch.phase = Phase::kWaiting;
  fetch.waiting_for = candidate;
  const NodeSlot slot = fetch.candidates[candidate].where.node;
  Node& node = NodeAt(slot);
  node.queue.emplace(fetch.sequence, &fetch);
  node.waiting_bytes += fetch.bytes;
  waited_for_.insert(slot);
  ++stats_.waiting;
}

void FetchPlanner::Dequeue(Fetch& fetch) {
  const NodeSlot slot = fetch.candidates[fetch.waiting_for].where.node;
  Node& node = NodeAt(slot);
  node.queue.erase(fetch.sequence);
  node.waiting_bytes -= fetch.bytes;
  if (node.queue.empty()) waited_for_.erase(slot);
  --stats_.waiting;
  fetch.phase = Phase::kAsking;
}

bool FetchPlanner::HasRoom(const Node& node, uint64_t bytes, MonotonicTime now) const {
  return node.breaker.MayAsk(now) && now >= node.busy_until &&
         node.attempts.size() < options_.attempts_per_node_max &&
         node.in_flight_bytes + bytes <= options_.bytes_per_node_max;
}

bool FetchPlanner::HasRoomInAll(uint64_t bytes) const {
  return stats_.in_flight < options_.attempts_max &&
         stats_.in_flight_bytes + bytes <= options_.bytes_max;
}

void FetchPlanner::Dispatch(MonotonicTime now) {
  // Each round takes one fetch out of a queue and puts none in.
  while (true) {
    Fetch* first = nullptr;
    for (const NodeSlot slot : waited_for_) {
      const Node& node = NodeAt(slot);
      Fetch* const head = node.queue.begin()->second;
      const bool earlier = first == nullptr || head->sequence < first->sequence;
      if (earlier && HasRoom(node, head->bytes, now)) first = head;
    }
    if (first == nullptr) return;
    if (first->deadline <= now) {
      Finish(*first, FetchFailure::kDeadline, {}, 0, now);
      continue;
    }
    if (!HasRoomInAll(first->bytes)) return;
    Dequeue(*first);
    Ask(*first, first->waiting_for, /*is_hedge=*/false, now);
    SetTimer(*first);
  }
}

void FetchPlanner::Ask(Fetch& fetch, size_t index, bool is_hedge, MonotonicTime now) {
  Candidate& candidate = fetch.candidates[index];
  Node& node = NodeAt(candidate.where.node);
  const AttemptId id{next_attempt_++};
  Attempt& attempt = attempts_[id];
  attempt = {.fetch = &fetch,
             .candidate = index,
             .node = candidate.where.node,
             .tiers = candidate.where.tiers,
             .bytes = fetch.bytes,
             .bytes_with_queue = node.in_flight_bytes + fetch.bytes,
             .asked_at = now,
             .is_hedge = is_hedge};
  attempt.predicted = node.pace.Predict(attempt.tiers, attempt.bytes_with_queue, now);
  const absl::Duration hedge_delay = std::max(
      kHedgeDelayMin, attempt.predicted * std::max(kHedgeRatioMin, node.pace.late_ratio()));
  const absl::Duration give_up_max = std::max(options_.give_up_max, 2 * attempt.predicted);
  attempt.late_at = now + hedge_delay;
  attempt.give_up_at =
      now + std::clamp(options_.give_up_ratio * hedge_delay, options_.give_up_min, give_up_max);
  node.breaker.OnAsked();
  candidate.asked = true;
  fetch.attempts.push_back(id);
  node.attempts.insert(id);
  node.in_flight_bytes += fetch.bytes;
  ++node.counts.asked;
  ++stats_.asked;
  ++stats_.in_flight;
  stats_.in_flight_bytes += fetch.bytes;
  if (is_hedge) {
    ++node.counts.hedges;
    ++stats_.hedges;
  } else {
    hedges_allowed_ = std::min(hedges_allowed_ + options_.hedge_share, options_.hedge_burst);
  }
  orders_.push_back({.kind = Order::Kind::kAsk,
                     .name = fetch.name,
                     .attempt = id,
                     .node = attempt.node,
                     .bytes = fetch.bytes,
                     .deadline = fetch.deadline});
}

FetchPlanner::Attempt FetchPlanner::EndAttempt(AttemptId id) {
  auto found = attempts_.find(id);
  const Attempt attempt = found->second;
  attempts_.erase(found);
  Fetch& fetch = *attempt.fetch;
  Node& node = NodeAt(attempt.node);
  fetch.candidates[attempt.candidate].asked = false;
  fetch.attempts.erase(std::find(fetch.attempts.begin(), fetch.attempts.end(), id));
  node.attempts.erase(id);
  node.in_flight_bytes -= attempt.bytes;
  --stats_.in_flight;
  stats_.in_flight_bytes -= attempt.bytes;
  return attempt;
}

FetchPlanner::Attempt FetchPlanner::CancelAttempt(AttemptId id, MonotonicTime now) {
  const Attempt attempt = EndAttempt(id);
  Node& node = NodeAt(attempt.node);
  // It takes that long at least: without this a node that always loses would never be known slow.
  // One that stands still is not slow for that.
  const bool asked = node.up && node.breaker.state() != PeerBreaker::State::kOpen;
  if (asked && now - attempt.asked_at > attempt.predicted) Learn(attempt, now);
  orders_.push_back({.kind = Order::Kind::kCancel,
                     .name = attempt.fetch->name,
                     .attempt = id,
                     .node = attempt.node,
                     .bytes = attempt.bytes});
  return attempt;
}

void FetchPlanner::Finish(Fetch& fetch, FetchFailure failure, AttemptId winner, NodeSlot slot,
                          MonotonicTime now) {
  while (!fetch.attempts.empty()) CancelAttempt(fetch.attempts.back(), now);
  if (fetch.phase == Phase::kWaiting) Dequeue(fetch);
  orders_.push_back({.kind = Order::Kind::kFinished,
                     .name = fetch.name,
                     .attempt = winner,
                     .node = slot,
                     .bytes = fetch.bytes,
                     .deadline = fetch.deadline,
                     .failure = failure});
  if (failure == FetchFailure::kNone) {
    ++stats_.finished_ok;
  } else {
    ++(failure == FetchFailure::kDeadline ? stats_.finished_late : stats_.finished_failed);
  }
  timers_.erase({fetch.timer, fetch.sequence});
  --stats_.fetches;
  fetches_.erase(FetchName(fetch.name));
}

// --- time --------------------------------------------------------------------------------------

void FetchPlanner::SetTimer(Fetch& fetch) {
  MonotonicTime time = fetch.deadline;
  for (const AttemptId id : fetch.attempts) {
    const Attempt& attempt = attempts_.at(id);
    time = std::min(time, attempt.give_up_at);
    if (!attempt.was_late) time = std::min(time, attempt.late_at);
  }
  timers_.erase({fetch.timer, fetch.sequence});
  fetch.timer = time;
  timers_.emplace(std::pair(time, fetch.sequence), &fetch);
}

void FetchPlanner::OnTimer(Fetch& fetch, MonotonicTime now) {
  if (fetch.deadline <= now) {
    for (const AttemptId id : fetch.attempts) {
      const Attempt& attempt = attempts_.at(id);
      const bool silent = IsSilent(attempt, now);
      // Who answers others in time, and is no more than slow, is known for it.
      if (attempt.late_at > now || FindNode(attempt.node)->last_answer > attempt.asked_at) continue;
      // Short deadlines end many waits before it is certain.
      const bool certain = silent && now - attempt.asked_at >= options_.give_up_min;
      NoteFailure(attempt.node,
                  silent ? PeerBreaker::Cause::kSilence : PeerBreaker::Cause::kFailure,
                  certain ? PeerBreaker::kScoreMax : PeerBreaker::kFailureWeight, now);
    }
    Finish(fetch, FetchFailure::kDeadline, {}, 0, now);
    return;
  }
  const absl::InlinedVector<AttemptId, kAttemptsPerFetchMax> attempts = fetch.attempts;
  for (const AttemptId id : attempts) {
    Attempt& attempt = attempts_.at(id);
    if (attempt.give_up_at <= now) {
      OnLate(fetch, id, now);
    } else if (attempt.late_at <= now && !attempt.was_late) {
      attempt.was_late = true;
      TryHedge(fetch, now);
    }
  }
  if (fetch.attempts.empty() && fetch.phase == Phase::kAsking) {
    Continue(fetch, now);
  } else {
    SetTimer(fetch);
  }
}

bool FetchPlanner::IsSilent(const Attempt& attempt, MonotonicTime now) const {
  return attempt.late_at <= now && FindNode(attempt.node)->last_heard <= attempt.asked_at;
}

void FetchPlanner::OnLate(Fetch& fetch, AttemptId id, MonotonicTime now) {
  Attempt& attempt = attempts_.at(id);
  Node& node = NodeAt(attempt.node);
  ++node.counts.late;
  const bool silent = IsSilent(attempt, now);
  if (silent) NoteFailure(attempt.node, PeerBreaker::Cause::kSilence, PeerBreaker::kScoreMax, now);
  // Nobody else has it: better late than never, if the node lives.
  const MonotonicTime patience_end = silent ? attempt.asked_at + options_.silence_max : kNever;
  if (now < patience_end && fetch.attempts.size() == 1 && !Choose(fetch, now)) {
    attempt.give_up_at = patience_end;
    attempt.was_late = true;
    return;
  }
  fetch.candidates[attempt.candidate].over = true;
  fetch.failure = FetchFailure::kFailed;
  CancelAttempt(id, now);
}

void FetchPlanner::TryHedge(Fetch& fetch, MonotonicTime now) {
  if (fetch.attempts.size() >= kAttemptsPerFetchMax || hedges_allowed_ < 1) return;
  const std::optional<size_t> other = Choose(fetch, now);
  if (!other) return;
  const Node& node = NodeAt(fetch.candidates[*other].where.node);
  // It must not push itself before those that wait.
  if (!node.queue.empty() || !HasRoom(node, fetch.bytes, now) || !HasRoomInAll(fetch.bytes)) {
    return;
  }
  hedges_allowed_ -= 1;
  Ask(fetch, *other, /*is_hedge=*/true, now);
}

}  // namespace larder
