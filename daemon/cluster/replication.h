// Which chunk is offered to which other node: by hint, by heat, or because this node leaves.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/ids.h"
#include "daemon/cluster/drain_list.h"
#include "daemon/cluster/fetch_name.h"
#include "daemon/cluster/heat_table.h"
#include "daemon/index/chunk_event.h"

namespace larder {

// One offer of one chunk to one node; one wish for copies of a chunk. Never reused.
using OfferId = Handle<struct ReplicaOfferTag>;
using WishId = Handle<struct ReplicaWishTag>;

using NodeList = absl::InlinedVector<NodeSlot, 8>;

// Where chunks are, as far as this node knows.
class ReplicaIndex {
 public:
  virtual ~ReplicaIndex() = default;
  // The other nodes that hold the chunk.
  virtual NodeList HoldersOf(const FetchName& name) const = 0;
};

struct ReplicationOptions {
  // Offered and not yet answered, to one node and to all of them.
  uint32_t offers_per_node_max = 8;
  uint32_t offers_max = 64;
  uint64_t offered_bytes_max = uint64_t{256} << 20;
  absl::Duration offer_timeout = absl::Seconds(10);
  // Wishes that wait or are under way.
  uint32_t wishes_max = 1 << 14;
  // A chunk is offered to another node when it was read so often, for each copy that there is.
  double heat_per_copy = 16;
  uint32_t heat_copies_max = 4;
  absl::Duration heat_half_life = absl::Seconds(60);
  size_t heat_entries_max = 1 << 16;
  // Of a drain; 0: as fast as the offers permit.
  uint64_t drain_bytes_per_second = 0;
  size_t drain_chunks_max = 1 << 20;
};

// What is known of a node that might take chunks.
struct ReplicaNode {
  uint64_t capacity_bytes = 0;
  uint64_t held_bytes = 0;
};

enum class OfferAnswer : uint8_t {
  kTaken,    // it holds the chunk now
  kHeld,     // it did before
  kRefused,  // it does not want it
  kFailed,
};

// Pure: time and answers go in, orders come out; the same calls give the same orders. Not
// thread-safe. An offer is small: the node that takes it fetches the chunk and answers then.
//
// Hints come before a drain, a drain before heat. Each wish ends in exactly one kSettled, at its
// deadline at the latest (as soon as Tick hears of it).
class Replication {
 public:
  // A wish asks so many nodes at most.
  static constexpr uint32_t kTriesMax = 8;
  // The target is the one with most room among so many, which the key chooses: nodes that look at
  // the same figures must not all choose the same target.
  static constexpr size_t kChoices = 4;

  // `index` must outlive it.
  Replication(const ReplicationOptions& options, const ReplicaIndex* index);

  // Chunks may be offered to that node, until DropNode. Call it again when the figures change.
  void SetNode(NodeSlot node, const ReplicaNode& figures);
  // It is gone, leaves, or should take nothing.
  void DropNode(NodeSlot node, MonotonicTime now);

  // Another node has read a chunk of this one.
  void OnRemoteRead(const FetchName& name, uint64_t bytes, MonotonicTime now);

  // There are to be `copies` of the chunk, this node's own included. None when too many wishes
  // are open.
  WishId Want(const FetchName& name, uint64_t bytes, uint32_t copies, MonotonicTime deadline,
              MonotonicTime now);
  // The chunk is to be at that node. The same.
  WishId WantAt(const FetchName& name, uint64_t bytes, NodeSlot node, MonotonicTime deadline,
                MonotonicTime now);

  // This node leaves. What it holds is to be named with AddToDrain, in any order, and then
  // SealDrain called. Without effect while a drain is under way.
  void StartDrain(MonotonicTime deadline, MonotonicTime now);
  void AddToDrain(const DrainChunk& chunk);
  void SealDrain(MonotonicTime now);
  void CancelDrain();
  struct DrainProgress {
    enum class State : uint8_t { kNone, kListing, kMoving, kDone };
    State state = State::kNone;
    uint64_t chunks = 0;  // that were named
    uint64_t moved = 0, moved_bytes = 0;
    uint64_t held_elsewhere = 0;  // needed no move
    uint64_t left_behind = 0;     // nobody wanted them, or there was no time or no room to list
    bool in_time = true;          // or its deadline ended it
  };
  const DrainProgress& drain() const { return drain_; }

  void OnAnswer(OfferId offer, OfferAnswer answer, MonotonicTime now);
  void Tick(MonotonicTime now);
  std::optional<MonotonicTime> next_wakeup() const;

  struct Order {
    enum class Kind : uint8_t {
      kOffer,    // the chunk to `node`
      kSettled,  // the wish; there are `copies` as far as is known
    };
    Kind kind = Kind::kOffer;
    OfferId offer = {};
    WishId wish;
    FetchName name;
    uint64_t bytes = 0;
    NodeSlot node = 0;
    MonotonicTime deadline;
    bool ok = false;
    uint32_t copies = 0;
  };
  std::vector<Order> TakeOrders() { return std::exchange(orders_, {}); }

  struct Stats {
    uint64_t wishes = 0, waiting = 0, offers = 0, offered_bytes = 0;  // now
    uint64_t offered = 0, taken = 0, held = 0, refused = 0, failed = 0, timed_out = 0;
    uint64_t by_heat = 0, settled_ok = 0, settled_short = 0;
  };
  const Stats& stats() const { return stats_; }

 private:
  enum class Cause : uint8_t { kHint, kDrain, kHeat };
  static constexpr size_t kCauses = 3;

  struct Wish {
    Cause cause = Cause::kHint;
    FetchName name;
    uint64_t bytes = 0;
    uint32_t copies = 0;              // that there are to be, this node's own included
    std::optional<NodeSlot> at = {};  // only there
    MonotonicTime deadline;
    bool waiting = false;
    NodeList tried = {};  // and not outstanding
    NodeList taken = {};  // the index may not know yet
    absl::InlinedVector<OfferId, 2> offers = {};
  };
  struct Offer {
    WishId wish;
    NodeSlot node = 0;
    uint64_t bytes = 0;
    MonotonicTime deadline;
  };
  struct Node {
    ReplicaNode figures;
    uint32_t offers = 0;
    uint64_t offered_bytes = 0;
  };
  enum class Target : uint8_t { kFound, kAllBusy, kNone };

  WishId Add(Wish wish, MonotonicTime now);
  // Offers as long as there is room for it.
  void Step(MonotonicTime now);
  void OfferWhatWaits(MonotonicTime now);
  // One offer more for the wish, or its end.
  void Advance(WishId id, Wish& wish, MonotonicTime now);
  uint32_t CopiesOf(const Wish& wish, const NodeList& holders) const;
  Target ChooseTarget(const Wish& wish, const NodeList& holders, NodeSlot* target) const;
  double LoadOf(const Node& node) const;
  void MakeOffer(WishId id, Wish& wish, NodeSlot target, MonotonicTime now);
  Offer RemoveOffer(OfferId id);
  void EndOffer(OfferId id, OfferAnswer answer);
  void Wait(WishId id, Wish& wish);
  void Settle(WishId id, bool in_time);
  bool HasRoom(uint64_t bytes) const;
  void RefillDrain(MonotonicTime now);

  const ReplicationOptions options_;
  const ReplicaIndex* const index_;
  std::map<NodeSlot, Node> nodes_;
  std::map<WishId, Wish> wishes_;
  std::map<OfferId, Offer> offers_;
  std::array<std::deque<WishId>, kCauses> waiting_;  // may hold some that are settled
  std::set<std::pair<MonotonicTime, WishId>> wish_deadlines_;
  std::set<std::pair<MonotonicTime, OfferId>> offer_deadlines_;
  HeatTable heat_;
  std::set<FetchName> heating_;  // with a wish by heat
  DrainProgress drain_;
  DrainList drain_list_;
  MonotonicTime drain_deadline_;
  uint64_t drain_wishes_ = 0;
  double drain_credit_bytes_ = 0;
  MonotonicTime drain_credit_at_;
  std::vector<Order> orders_;
  uint64_t next_id_ = 1;
  Stats stats_;
};

}  // namespace larder
