// What a node does with and for the other nodes of its cluster: who they are, what they hold, which
// chunks to fetch from whom, what to serve them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/ids.h"
#include "common/status.h"
#include "daemon/cluster/checked_arrival.h"
#include "daemon/cluster/directory.h"
#include "daemon/cluster/fetch_planner.h"
#include "daemon/cluster/members.h"
#include "daemon/cluster/peer_messages.h"
#include "daemon/cluster/replication.h"
#include "daemon/core/core.h"
#include "daemon/core/elsewhere.h"
#include "daemon/index/chunk_event.h"
#include "daemon/index/global_index.h"
#include "daemon/index/index_follower.h"
#include "transport/peer/peer_transport.h"

namespace larder {

struct ClusterCoreOptions {
  std::string self;  // this node's name
  uint64_t granule_bytes = 4096;
  // How long a chunk may take to come from other nodes.
  absl::Duration fetch_timeout = absl::Seconds(5);
  // A chunk that could not be fetched is not asked for again for so long.
  absl::Duration failure_pause = absl::Seconds(1);
  FetchPlannerOptions fetch = {};
  GlobalIndexOptions index = {};
  ReplicationOptions replication = {};
  DirectoryOptions directory = {};
};

// What the transport is to do, in order. Nodes are named, since numbers are this node's own.
struct ClusterOrder {
  enum class Kind : uint8_t {
    kSend,         // payload to node
    kSendAfter,    // the same after `offset_or_bytes` bytes were written into its window
    kOpenWindow,   // of this node's memory, for node to write to
    kCloseWindow,  // OnWindowClosed follows
    kWrite,        // ranges into node's window at `offset_or_bytes`; OnWritten follows
  };
  Kind kind = Kind::kSend;
  std::string node;
  std::vector<uint8_t> payload;
  uint64_t window = 0;
  uint64_t offset_or_bytes = 0;
  uint64_t token = 0;
  std::vector<MemoryRange> ranges;
  MonotonicTime deadline;
};

// Pure: messages, events and time go in, orders come out. Not thread-safe: the event loop owns it,
// beside the core. Whatever came in, call Step afterwards.
class ClusterCore : public Elsewhere, private ReplicaIndex {
 public:
  using OpenSpace = std::function<absl::StatusOr<SpaceHandle>(const SpaceDescription&)>;

  // `core` outlives it. `open_space` opens a space lastingly.
  static absl::StatusOr<std::unique_ptr<ClusterCore>> Create(const ClusterCoreOptions& options,
                                                             Core* core, OpenSpace open_space);
  ~ClusterCore() override;

  // --- who the others are -------------------------------------------------------------------
  // All members, this node too. They say whether this one follows the others or asks directory
  // nodes: see AsksDirectory.
  void SetMembers(std::span<const MemberRecord> members, MonotonicTime now);
  void OnPeerUp(absl::string_view node, uint64_t epoch, MonotonicTime now);
  void OnPeerDown(absl::string_view node, uint64_t epoch, MonotonicTime now);

  // --- what they hold -----------------------------------------------------------------------
  // A stream of the node's log begins, goes on, or ends; see IndexFollower. kResync, and a
  // beginning at a snapshot, for a node that is no member, and while this one follows nobody.
  FollowPosition OnFollowOpen(absl::string_view node);
  IndexFollower::Taken OnFollowBatch(absl::string_view node, const FollowBatch& batch);
  void OnFollowEnd(absl::string_view node, bool broken);
  // What changed here since the last call. False: too much; followers need a snapshot.
  bool TakeEvents(std::vector<ChunkEvent>* events);
  // They are in the log, which now ends at `next_sequence`; see EventLog.
  void OnEventsLogged(uint64_t next_sequence) { log_end_ = next_sequence; }
  // As Core::HoldingsStep.
  std::optional<uint64_t> SnapshotStep(uint64_t cursor, size_t limit,
                                       std::vector<ChunkEvent>* events) const;

  // --- what the transport says --------------------------------------------------------------
  // `arrival`: of a message that came after bytes of a window; null otherwise. A message that makes
  // no sense is counted and dropped.
  void OnMessage(absl::string_view node, std::span<const uint8_t> message,
                 const CheckedArrival* arrival, MonotonicTime now);
  void OnWritten(uint64_t token, MonotonicTime now);
  void OnWindowClosed(uint64_t window);

  // --- copies on other nodes ----------------------------------------------------------------
  // There are to be so many copies of the chunk, the one here included; or, with a name, one at
  // that node. None when it is not here, there is no such node, or too much is wished for.
  WishId Replicate(SpaceHandle space, const KeyHash& key, uint32_t copies, absl::string_view node,
                   MonotonicTime deadline, MonotonicTime now);
  struct Settled {
    WishId wish;
    bool ok = false;
    uint32_t copies = 0;
  };
  // What has become of wishes; each ends by its deadline.
  std::vector<Settled> TakeSettled() { return std::exchange(settled_, {}); }
  // This node leaves: what it holds is offered to others, the most valued first.
  void StartDrain(MonotonicTime deadline, MonotonicTime now);
  const Replication::DrainProgress& drain() const { return replication_.drain(); }
  bool draining() const { return drain().state != Replication::DrainProgress::State::kNone; }

  // --- time ---------------------------------------------------------------------------------
  // Carries on what the above and the core have started.
  void Step(MonotonicTime now);
  // When Step is to be called again, whatever happens.
  std::optional<MonotonicTime> next_wakeup() const;
  std::vector<ClusterOrder> TakeOrders() { return std::exchange(orders_, {}); }

  // --- Elsewhere ----------------------------------------------------------------------------
  size_t CountHeld(uint32_t space, std::span<const KeyHash> keys, MonotonicTime now) override;
  std::optional<PlaceElsewhere> Find(uint32_t space, const KeyHash& key,
                                     MonotonicTime now) override;
  bool Fetch(uint32_t space, const KeyHash& key, MonotonicTime now) override;
  bool fetching() const override { return planner_.stats().fetches > 0 || directory_.asking(); }
  uint64_t fetching_bytes() const { return planner_.stats().in_flight_bytes; }
  bool IsLocating(uint32_t space, const KeyHash& key) const override;

  // --- for people ---------------------------------------------------------------------------
  // The name of a node that Find named; empty if it has gone.
  std::string NameOf(NodeSlot slot) const;
  // This node asks directory nodes instead of following all others.
  bool asks() const { return asks_directory_; }
  struct PeerStatus {
    MemberRecord member;
    NodeSlot slot = 0;
    bool up = false;
    IndexNodeStats held;                           // what the index knows of it
    IndexFollowerStats follow;                     // how far that goes
    uint64_t served_chunks = 0, served_bytes = 0;  // to it
    FetchPlanner::NodeStats fetch;                 // from it
  };
  std::vector<PeerStatus> Peers(MonotonicTime now) const;
  struct Stats {
    uint64_t bad_messages = 0;
    uint64_t served_chunks = 0, served_bytes = 0;
    uint64_t refused_gone = 0, refused_busy = 0, refused_resized = 0;
    uint64_t serving = 0;
    uint64_t fetched_chunks = 0, fetched_bytes = 0, corrupt_arrivals = 0, unwanted_arrivals = 0;
    uint64_t answered_questions = 0, answered_keys = 0;  // as a directory node
    Directory::Stats directory;                          // asking others
    GlobalIndexStats index;
    FetchPlanner::Stats fetch;
    Replication::Stats replication;
  };
  Stats GetStats() const;
  // Asks where these are, as far as it is not known. True while an answer is to come.
  bool Locate(SpaceHandle space, std::span<const KeyHash> keys, MonotonicTime now);
  // Whom the index knows to hold the chunk, and how long it would take from there.
  struct HolderStatus {
    std::string node;
    uint8_t tiers = 0;
    absl::Duration predicted;  // infinite: it can't be asked now
  };
  std::vector<HolderStatus> HoldersOf(SpaceHandle space, const KeyHash& key,
                                      MonotonicTime now) const;

 private:
  struct Peer {
    MemberRecord member;
    NodeSlot slot = 0;
    bool up = false;
    uint64_t up_epoch = 0;
    uint64_t served_chunks = 0, served_bytes = 0;
    std::unique_ptr<IndexFollower> follower;
  };
  // A chunk on its way from another node, or a try of it that failed and whose window is not closed
  // yet. The window's number is the attempt's.
  struct Incoming {
    FetchName name;
    NodeSlot node = 0;
    uint64_t offset = 0, bytes = 0;
    bool owns_room = true;
    bool closing = false;
  };
  // A chunk for another node.
  struct Serving {
    NodeSlot node = 0;
    FetchItem item = {};
    SpaceHandle space = 0;
    uint32_t granule_bytes = 0;
    MonotonicTime deadline;
    LeaseId lease = {};
    uint32_t writes_under_way = 0;
    bool answered = false;
    bool released = false;
  };
  using ServingId = std::pair<NodeSlot, uint64_t>;  // and its window

  ClusterCore(const ClusterCoreOptions& options, Core* core, OpenSpace open_space,
              SessionId session, std::unique_ptr<GlobalIndex> index);

  Peer* PeerOf(absl::string_view node);
  Peer* PeerAt(NodeSlot slot);
  void AddPeer(const MemberRecord& member, MonotonicTime now);
  void RemovePeer(const std::string& node, MonotonicTime now);
  void SetDown(Peer& peer, MonotonicTime now);
  void ForgetSome();
  ClusterOrder& AddOrder(ClusterOrder::Kind kind, NodeSlot node);
  void Send(NodeSlot node, std::vector<uint8_t> payload);

  // Fetching.
  bool FailedLately(const FetchName& name, MonotonicTime now) const;
  // Of those that hold the chunk, who can be asked.
  using Candidates = absl::InlinedVector<FetchCandidate, 4>;
  Candidates CandidatesFor(const FetchName& name, uint32_t* pages, MonotonicTime now);
  const SpaceId* IdOf(SpaceHandle space) const;
  static ChunkEvent EventOf(const SpaceId& space, const Holding& holding);
  void CarryOutPlan(MonotonicTime now);
  void Ask(const FetchPlanner::Order& order, MonotonicTime now);
  void CloseIncoming(uint64_t window, Incoming& incoming);
  void SendAsks();
  void SendReleases();
  void OnFetched(Peer& peer, const PeerFetched& fetched, const CheckedArrival* arrival,
                 MonotonicTime now);
  // It was not there when its log ended at `log_end`.
  void OnGone(Peer& peer, const FetchName& name, uint64_t log_end);
  FetchAnswer TakeIn(Incoming& incoming, const PeerFetched& fetched, const CheckedArrival& arrival,
                     MonotonicTime now);

  // Directory nodes.
  void SetMode(bool asks);
  void UpdateDirectories(MonotonicTime now);
  // What is not known of these, up to the first that nobody holds.
  void AskFor(SpaceHandle space, std::span<const KeyHash> keys, MonotonicTime now);
  void CarryOutQuestions(MonotonicTime now);
  // Whether each other node has told all that it holds.
  bool KnowsAll() const;
  void OnLocate(const Peer& peer, const PeerLocate& locate);
  void OnLocated(Peer& peer, const PeerLocated& located, MonotonicTime now);

  // Serving.
  void OnFetch(Peer& peer, const PeerFetch& fetch, MonotonicTime now);
  void OnRelease(Peer& peer, std::span<const uint64_t> windows);
  // True when it was answered, whatever the answer.
  bool TryServe(Serving& serving, MonotonicTime now);
  void StartWrites(Serving& serving, std::span<const BlockExtent> extents, MonotonicTime now);
  void Answer(Serving& serving, FetchResultCode code, uint64_t bytes_or_log_end = 0);
  void EndIfDone(const ServingId& id);
  void ServeWaiting(MonotonicTime now);
  void EndLateServings(MonotonicTime now);

  // Copies.
  NodeList HoldersOf(const FetchName& name) const override;
  void UpdateTargets(MonotonicTime now);
  void ListForDrain(MonotonicTime now);
  void CarryOutReplication(MonotonicTime now);
  void OnOffered(std::span<const OfferedItem> items, MonotonicTime now);
  void OnOffer(Peer& peer, const PeerOffer& offer, MonotonicTime now);
  void AnswerOffers(const FetchName& name);

  const ClusterCoreOptions options_;
  Core* const core_;
  const OpenSpace open_space_;
  const SessionId session_;  // of all that is served
  std::unique_ptr<GlobalIndex> index_;
  FetchPlanner planner_;
  Replication replication_;
  Directory directory_;
  bool asks_directory_ = false;  // instead of following the others
  std::vector<ClusterOrder> orders_;
  uint64_t log_end_ = 0;

  absl::btree_map<std::string, Peer> peers_;
  absl::flat_hash_map<std::string, uint64_t> connected_;  // epochs; members or not
  std::vector<std::string> name_of_slot_;                 // empty: free
  // Of nodes that are gone; the index still has entries of them.
  std::vector<std::pair<NodeSlot, std::unique_ptr<IndexFollower>>> leaving_;

  std::map<uint64_t, Incoming> incoming_;  // by window
  std::map<std::pair<NodeSlot, SpaceHandle>, std::vector<FetchItem>> asks_;
  std::map<NodeSlot, std::vector<uint64_t>> releases_;
  absl::flat_hash_map<FetchName, MonotonicTime> failed_until_;
  FoundChunks found_;  // kept between calls

  std::map<ServingId, Serving> servings_;
  std::vector<ServingId> waiting_for_disk_;
  absl::flat_hash_map<uint64_t, ServingId> write_tokens_;
  absl::flat_hash_map<NodeSlot, uint32_t> writes_to_;  // under way; whoever has the slot
  uint64_t next_token_ = 1;
  uint64_t loads_ended_seen_ = 0;
  MonotonicTime next_sweep_;

  // Offers of chunks that are being fetched for them.
  absl::flat_hash_map<FetchName, absl::InlinedVector<std::pair<NodeSlot, uint64_t>, 1>> taking_;
  std::vector<Settled> settled_;
  std::optional<uint64_t> drain_cursor_;  // set while what is here is listed

  Stats stats_;
};

}  // namespace larder
