// A fetch planner and the nodes that it asks, simulated: each takes its time, or fails.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "common/random.h"
#include "daemon/cluster/fetch_planner.h"
#include "gtest/gtest.h"

namespace larder {

// What a simulated node does with a request.
struct NodeManner {
  absl::Duration latency = absl::Microseconds(200);
  double ns_per_byte = 0.5;
  absl::Duration disk_latency = absl::Milliseconds(3);
  double jitter = 0;  // at most this share of the time is added
  double slow_chance = 0;
  double slow_factor = 20;
  double fail_chance = 0, gone_chance = 0, corrupt_chance = 0, busy_chance = 0, resize_chance = 0;
  bool mute = false;   // says nothing any more
  bool stuck = false;  // answers no requests
};

// Carries the planner's orders out and checks, after each call, what must always hold. A node
// serves one request after the other: what is asked later comes later.
class PlannerWorld {
 public:
  explicit PlannerWorld(const FetchPlannerOptions& options, uint64_t seed = 1)
      : planner(options), random(seed), options_(options) {}

  static FetchName Name(uint64_t number) { return {0, {number, number + 1}}; }

  void AddNode(NodeSlot node, const NodeManner& manner) {
    manners[node] = manner;
    planner.OnNodeUp(node, now);
  }

  FetchPlanner::StartResult Start(uint64_t number, uint64_t bytes,
                                  const std::vector<FetchCandidate>& candidates,
                                  absl::Duration patience = absl::Seconds(5)) {
    const auto result = planner.Start(Name(number), bytes, candidates, now + patience, now);
    if (result == FetchPlanner::StartResult::kStarted) {
      EXPECT_TRUE(open_.emplace(Name(number), now + patience).second);
    } else if (result == FetchPlanner::StartResult::kJoined) {
      open_.at(Name(number)) = std::max(open_.at(Name(number)), now + patience);
    }
    TakeOrders();
    return result;
  }

  void Answer(AttemptId id, FetchAnswer answer, uint64_t bytes = 0) {
    Remove(id);
    planner.OnAnswer(id, answer, bytes, now);
    TakeOrders();
  }

  void NodeDown(NodeSlot node) {
    planner.OnNodeDown(node, now);
    TakeOrders();
  }

  void Tick() {
    planner.Tick(now);
    TakeOrders();
  }

  // Lets time pass until `time`, and everything happen that happens meanwhile.
  void RunUntil(MonotonicTime time) {
    while (true) {
      std::optional<MonotonicTime> next = planner.next_wakeup();
      if (!answers_.empty() && (!next || answers_.begin()->first.first < *next)) {
        next = answers_.begin()->first.first;
      }
      if (!signs_of_life_.empty() && (!next || signs_of_life_.begin()->first < *next)) {
        next = signs_of_life_.begin()->first;
      }
      if (!next || *next > time) break;
      now = std::max(now, *next);
      if (!signs_of_life_.empty() && signs_of_life_.begin()->first <= now) {
        planner.OnHeard(signs_of_life_.begin()->second, now);
        signs_of_life_.erase(signs_of_life_.begin());
      } else if (!answers_.empty() && answers_.begin()->first.first <= now) {
        const auto [id, answer] = answers_.begin()->second;
        const uint64_t bytes = asked_.at(id).bytes;
        answers_.erase(answers_.begin());
        Answer(id, answer, answer == FetchAnswer::kResized ? bytes + 4096 : bytes);
      } else {
        Tick();
      }
    }
    now = std::max(now, time);
  }
  void Run(absl::Duration duration) { RunUntil(now + duration); }

  // What was asked and neither answered nor cancelled, in order.
  std::vector<FetchPlanner::Order> under_way() const {
    std::vector<FetchPlanner::Order> orders;
    for (const auto& [id, order] : asked_) orders.push_back(order);
    return orders;
  }
  size_t open() const { return open_.size(); }

  FetchPlanner planner;
  SeededRandom random;
  MonotonicTime now{1'000'000'000};
  std::map<NodeSlot, NodeManner> manners;
  std::map<FetchName, FetchPlanner::Order> finished;
  std::vector<FetchPlanner::Order> asks, cancels, probes;
  std::vector<FetchName> arrivals;  // what was fetched, in order

 private:
  void Remove(AttemptId id) {
    asked_.erase(id);
    std::erase_if(answers_, [&](const auto& entry) { return entry.second.first == id; });
  }

  void TakeOrders() {
    for (const FetchPlanner::Order& order : planner.TakeOrders()) {
      switch (order.kind) {
        case FetchPlanner::Order::Kind::kAsk:
          ASSERT_TRUE(asked_.emplace(order.attempt, order).second);
          asks.push_back(order);
          Serve(order);
          break;
        case FetchPlanner::Order::Kind::kCancel:
          ASSERT_TRUE(asked_.contains(order.attempt));
          cancels.push_back(order);
          Remove(order.attempt);
          break;
        case FetchPlanner::Order::Kind::kProbe: {
          probes.push_back(order);
          const NodeManner& manner = manners.at(order.node);
          if (!manner.mute) signs_of_life_.emplace(now + manner.latency, order.node);
          break;
        }
        case FetchPlanner::Order::Kind::kFinished:
          OnFinished(order);
      }
    }
    Check();
  }

  void OnFinished(const FetchPlanner::Order& order) {
    auto found = open_.find(order.name);
    ASSERT_NE(found, open_.end()) << "finished twice, or never started";
    EXPECT_LE(now, found->second) << "later than its deadline";
    open_.erase(found);
    finished[order.name] = order;
    const bool ok = order.failure == FetchFailure::kNone;
    EXPECT_EQ(ok, static_cast<bool>(order.attempt));
    if (ok) arrivals.push_back(order.name);
    for (const auto& [id, asked] : asked_) EXPECT_NE(asked.name, order.name);
  }

  void Check() {
    std::map<FetchName, int> attempts;
    std::map<NodeSlot, uint64_t> bytes;
    uint64_t all = 0;
    for (const auto& [id, order] : asked_) {
      ++attempts[order.name];
      bytes[order.node] += order.bytes;
      all += order.bytes;
      EXPECT_TRUE(open_.contains(order.name));
    }
    int second = 0;
    for (const auto& [name, count] : attempts) {
      ASSERT_LE(count, 2);
      second += count - 1;
    }
    EXPECT_LE(static_cast<uint64_t>(second), planner.stats().hedges);
    EXPECT_LE(
        static_cast<double>(planner.stats().hedges),
        options_.hedge_burst + options_.hedge_share * static_cast<double>(planner.stats().asked));
    for (const auto& [node, sum] : bytes) {
      ASSERT_LE(sum, options_.bytes_per_node_max);
      ASSERT_EQ(sum, planner.StatsOf(node, now).in_flight_bytes);
    }
    ASSERT_LE(all, options_.bytes_max);
    ASSERT_EQ(all, planner.stats().in_flight_bytes);
    ASSERT_EQ(asked_.size(), planner.stats().in_flight);
    ASSERT_LE(asked_.size(), options_.attempts_max);
    ASSERT_EQ(open_.size(), planner.stats().fetches);
    ASSERT_LE(planner.stats().waiting, options_.waiting_max + options_.attempts_max);
    if (!open_.empty()) {
      MonotonicTime first = open_.begin()->second;
      for (const auto& [name, deadline] : open_) first = std::min(first, deadline);
      ASSERT_TRUE(planner.next_wakeup().has_value());
      EXPECT_LE(*planner.next_wakeup(), first);
    }
  }

  void Serve(const FetchPlanner::Order& order) {
    const NodeManner& manner = manners.at(order.node);
    if (manner.mute || manner.stuck) return;
    FetchAnswer answer = FetchAnswer::kOk;
    double chance = random.Unit();
    const auto falls = [&](double share) {
      chance -= share;
      return chance < 0;
    };
    if (falls(manner.fail_chance)) {
      answer = FetchAnswer::kFailed;
    } else if (falls(manner.gone_chance)) {
      answer = FetchAnswer::kGone;
    } else if (falls(manner.corrupt_chance)) {
      answer = FetchAnswer::kCorrupt;
    } else if (falls(manner.busy_chance)) {
      answer = FetchAnswer::kBusy;
    } else if (falls(manner.resize_chance)) {
      answer = FetchAnswer::kResized;
    }
    MonotonicTime& free_at = free_at_[order.node];
    absl::Duration latency = manner.latency;
    if (on_disk.contains(order.name)) latency += manner.disk_latency;
    if (answer == FetchAnswer::kOk) {
      free_at = std::max(free_at, now) +
                absl::Nanoseconds(manner.ns_per_byte * static_cast<double>(order.bytes));
    }
    absl::Duration took = std::max(free_at, now) - now + latency;
    took *= 1 + manner.jitter * random.Unit();
    if (random.Unit() < manner.slow_chance) took *= manner.slow_factor;
    answers_.emplace(std::pair(now + took, order.attempt), std::pair(order.attempt, answer));
  }

 public:
  std::set<FetchName> on_disk;

 private:
  const FetchPlannerOptions options_;
  std::map<AttemptId, FetchPlanner::Order> asked_;
  std::map<FetchName, MonotonicTime> open_;  // and their deadlines
  std::map<NodeSlot, MonotonicTime> free_at_;
  std::multimap<MonotonicTime, NodeSlot> signs_of_life_;  // answers to probes
  std::map<std::pair<MonotonicTime, AttemptId>, std::pair<AttemptId, FetchAnswer>> answers_;
};

}  // namespace larder
