// Who is asked for a chunk, in which order, and when somebody else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/ids.h"
#include "daemon/cluster/fetch_name.h"
#include "daemon/cluster/peer_breaker.h"
#include "daemon/cluster/peer_pace.h"
#include "daemon/index/chunk_event.h"

namespace larder {

// One request to one node. Never reused.
using AttemptId = Handle<struct FetchAttemptTag>;

struct FetchCandidate {
  NodeSlot node = 0;
  uint8_t tiers = kTierMemory;
};

struct FetchPlannerOptions {
  // Under way at one node, and at all of them.
  uint64_t bytes_per_node_max = uint64_t{256} << 20;
  uint64_t bytes_max = uint64_t{1} << 30;
  uint32_t attempts_per_node_max = 256;
  uint32_t attempts_max = 4096;
  // Fetches that wait for room there.
  uint32_t waiting_max = 1 << 15;
  // Second requests for a chunk whose first one is late: this share of all, and so many at once
  // when there were none for a while.
  double hedge_share = 0.03;
  double hedge_burst = 8;
  // A request is given up, and another node asked, when it took so many times what it should have
  // at the latest.
  double give_up_ratio = 4;
  absl::Duration give_up_min = absl::Milliseconds(100);
  absl::Duration give_up_max = absl::Seconds(2);
  // A node that says nothing at all is not asked any more after the time above. What was wanted of
  // it before and nobody else has is waited for so long.
  absl::Duration silence_max = absl::Milliseconds(500);
};

// How an attempt ended, as its node or this one says.
enum class FetchAnswer : uint8_t {
  kOk,       // the chunk is here and verified
  kGone,     // that node does not hold it
  kCorrupt,  // what came is not what it should be
  kBusy,     // that node has too much to do
  kFailed,   // anything else
  kResized,  // the chunk is there and has another size
  kNoRoom,   // this node has no memory for it: no other node need be asked
};

// Why a fetch came to nothing.
enum class FetchFailure : uint8_t { kNone, kDeadline, kGone, kCorrupt, kBusy, kFailed, kNoRoom };

// Pure: time and answers go in, orders come out; the same calls give the same orders. Not
// thread-safe.
//
// A fetch that was started ends in exactly one kFinished, at its deadline at the latest (as soon as
// Tick hears of it). It asks one candidate at a time, the one that is predicted to deliver first;
// when that one fails, the next. One that is late is asked a second time elsewhere, which is
// bounded. Fetches that find no room wait, first come first served, so that a prefix that was asked
// for in order arrives in order.
class FetchPlanner {
 public:
  // More candidates than this are not looked at.
  static constexpr size_t kCandidatesMax = 8;
  static constexpr uint32_t kBusyAnswersMax = 3;  // of one candidate, for one fetch
  static constexpr uint32_t kResizesMax = 2;      // of one fetch
  static constexpr size_t kAttemptsPerFetchMax = 2;

  explicit FetchPlanner(const FetchPlannerOptions& options);

  enum class StartResult : uint8_t {
    kStarted,
    kJoined,    // it is under way already; its deadline is the later one of the two
    kNobody,    // no candidate can be asked now
    kFull,      // too many wait
    kTooLarge,  // for the bounds of one node
    kLate,      // the deadline has passed
  };
  // Call it in the order in which chunks are wanted. Only kStarted leads to a kFinished of its own.
  StartResult Start(const FetchName& name, uint64_t bytes,
                    std::span<const FetchCandidate> candidates, MonotonicTime deadline,
                    MonotonicTime now);

  // An attempt has ended. One that ended before is not heeded. `bytes`, for kResized: the size.
  void OnAnswer(AttemptId attempt, FetchAnswer answer, uint64_t bytes, MonotonicTime now);

  // A node is asked from OnNodeUp to OnNodeDown. Its slot may go to another member after
  // ForgetNode.
  void OnNodeUp(NodeSlot node, MonotonicTime now);
  void OnNodeDown(NodeSlot node, MonotonicTime now);
  // Anything at all came from the node.
  void OnHeard(NodeSlot node, MonotonicTime now);
  void ForgetNode(NodeSlot node, MonotonicTime now);

  // Hedges, gives up what is late, ends what is over. Call it at next_wakeup.
  void Tick(MonotonicTime now);
  std::optional<MonotonicTime> next_wakeup() const;

  struct Order {
    enum class Kind : uint8_t {
      kAsk,       // `node` for `bytes` of the chunk; the answer is worth nothing after `deadline`
      kCancel,    // the attempt: its answer is not awaited any longer
      kFinished,  // the fetch; `attempt` brought the chunk, or `failure` says why none did
      kProbe,     // make `node` say something: it is not asked until then
    };
    Kind kind = Kind::kAsk;
    FetchName name;
    AttemptId attempt = {};
    NodeSlot node = 0;
    uint64_t bytes = 0;
    MonotonicTime deadline = {};
    FetchFailure failure = FetchFailure::kNone;
  };
  std::vector<Order> TakeOrders() { return std::exchange(orders_, {}); }
  bool has_orders() const { return !orders_.empty(); }

  bool MayAsk(NodeSlot node, MonotonicTime now) const;
  // Until `bytes` more would be here from that node; infinite when it cannot be asked.
  absl::Duration Predict(NodeSlot node, uint8_t tiers, uint64_t bytes, MonotonicTime now) const;

  bool IsFetching(const FetchName& name) const { return fetches_.contains(name); }

  struct NodeStats {
    bool up = false;
    PeerBreaker::State breaker = PeerBreaker::State::kClosed;
    absl::Duration latency;  // of an empty chunk in memory
    double bytes_per_second = 0;
    uint64_t in_flight = 0, in_flight_bytes = 0, waiting = 0, waiting_bytes = 0;
    uint64_t asked = 0, hedges = 0;
    uint64_t ok = 0, ok_bytes = 0, gone = 0, corrupt = 0, busy = 0, failed = 0, late = 0;
    uint64_t breaker_opened = 0;
  };
  NodeStats StatsOf(NodeSlot node, MonotonicTime now) const;
  struct Stats {
    uint64_t fetches = 0, in_flight = 0, in_flight_bytes = 0, waiting = 0;
    uint64_t started = 0, joined = 0, refused = 0;
    uint64_t finished_ok = 0, finished_failed = 0, finished_late = 0;
    uint64_t asked = 0, hedges = 0, hedges_won = 0;
  };
  const Stats& stats() const { return stats_; }

 private:
  using Sequence = uint64_t;  // the order in which fetches were started
  enum class Phase : uint8_t { kWaiting, kAsking };

  struct Candidate {
    FetchCandidate where;
    uint32_t busy_answers = 0;
    bool over = false;   // not asked again
    bool asked = false;  // now
  };
  struct Fetch {
    FetchName name;
    Sequence sequence = 0;
    uint64_t bytes = 0;
    MonotonicTime deadline;
    MonotonicTime timer;  // the entry in timers_
    Phase phase = Phase::kWaiting;
    size_t waiting_for = 0;  // a candidate
    uint32_t resizes = 0;
    FetchFailure failure = FetchFailure::kFailed;  // so far
    absl::InlinedVector<Candidate, 4> candidates;
    absl::InlinedVector<AttemptId, kAttemptsPerFetchMax> attempts;
  };
  struct Attempt {
    Fetch* fetch = nullptr;
    size_t candidate = 0;
    NodeSlot node = 0;
    uint8_t tiers = 0;
    uint64_t bytes = 0;
    uint64_t bytes_with_queue = 0;  // under way at the node when it was asked, with its own
    MonotonicTime asked_at = {}, late_at = {}, give_up_at = {};
    absl::Duration predicted = {};
    bool is_hedge = false;
    bool was_late = false;  // and was looked at
  };
  struct Node {
    bool up = false;
    PeerPace pace;
    PeerBreaker breaker;
    MonotonicTime last_heard, last_answer;
    MonotonicTime silent_since;  // while it is in probed_
    MonotonicTime busy_until;    // zero: it is not
    absl::Duration busy_pause;
    absl::btree_set<AttemptId> attempts;
    uint64_t in_flight_bytes = 0;
    std::map<Sequence, Fetch*> queue;
    uint64_t waiting_bytes = 0;
    NodeStats counts;
  };

  Node& NodeAt(NodeSlot slot);
  const Node* FindNode(NodeSlot slot) const;
  static bool MayAsk(const Node& node, MonotonicTime now);
  absl::Duration PredictAt(const Node& node, uint8_t tiers, uint64_t bytes,
                           MonotonicTime now) const;
  // The candidate to ask next; nothing when none is left.
  std::optional<size_t> Choose(const Fetch& fetch, MonotonicTime now) const;
  // Puts the fetch into the queue of its next candidate, or ends it.
  void Continue(Fetch& fetch, MonotonicTime now);
  void Enqueue(Fetch& fetch, size_t candidate);
  void Dequeue(Fetch& fetch);
  // Whether the node may be asked for so much more.
  bool HasRoom(const Node& node, uint64_t bytes, MonotonicTime now) const;
  bool HasRoomInAll(uint64_t bytes) const;
  void Dispatch(MonotonicTime now);
  void Ask(Fetch& fetch, size_t candidate, bool is_hedge, MonotonicTime now);
  // The attempt is under way no longer; the fetch goes on.
  Attempt EndAttempt(AttemptId id);
  Attempt CancelAttempt(AttemptId id, MonotonicTime now);
  void HeedFailure(Fetch& fetch, const Attempt& attempt, FetchAnswer answer, uint64_t bytes,
                   MonotonicTime now);
  void Learn(const Attempt& attempt, MonotonicTime now);
  void NoteFailure(NodeSlot slot, PeerBreaker::Cause cause, double weight, MonotonicTime now);
  void SendProbes(MonotonicTime now);
  // Those that wait for the node wait for another one. Where there is none they end, or stay.
  void Disperse(Node& node, bool stay, MonotonicTime now);
  // `winner` is none unless it ended well.
  void Finish(Fetch& fetch, FetchFailure failure, AttemptId winner, NodeSlot node,
              MonotonicTime now);
  void OnTimer(Fetch& fetch, MonotonicTime now);
  void TryHedge(Fetch& fetch, MonotonicTime now);
  // Gives the attempt up, unless it is the last hope.
  void OnLate(Fetch& fetch, AttemptId id, MonotonicTime now);
  // True of a node that should have answered and says nothing at all.
  bool IsSilent(const Attempt& attempt, MonotonicTime now) const;
  void SetTimer(Fetch& fetch);

  const FetchPlannerOptions options_;
  std::vector<std::unique_ptr<Node>> nodes_;  // by slot; null until it was named
  absl::flat_hash_map<FetchName, std::unique_ptr<Fetch>> fetches_;
  absl::flat_hash_map<AttemptId, Attempt> attempts_;
  absl::btree_set<NodeSlot> waited_for_;  // nodes with a queue
  absl::btree_set<NodeSlot> probed_;      // nodes that said nothing, until they do
  // One entry a fetch: when it is to be looked at.
  std::map<std::pair<MonotonicTime, Sequence>, Fetch*> timers_;
  std::vector<Order> orders_;
  double hedges_allowed_;
  Sequence next_sequence_ = 1;
  uint64_t next_attempt_ = 1;
  Stats stats_;
};

}  // namespace larder
