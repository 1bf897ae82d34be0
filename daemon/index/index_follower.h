// What this node has of another one's chunks, and what it has to ask for next.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "daemon/index/chunk_event.h"
#include "daemon/index/global_index.h"

namespace larder {

// One message of a node to those who follow it. A stream of them begins where the follower asked,
// or with a snapshot. Deltas go on between the parts of a snapshot: each event is the whole state
// of a chunk, so what counts is only that a delta comes after a snapshot's part that may be older.
struct FollowBatch {
  enum class Phase : uint8_t {
    kDeltas = 1,       // without events: the node lives, and that is how far its log goes
    kSnapshot = 2,     // part 0 begins one
    kSnapshotEnd = 3,  // its last part, with or without events
  };
  uint64_t epoch = 0;
  Phase phase = Phase::kDeltas;
  // Deltas: the number of the first event, or of the next one to come. Snapshot: the number of the
  // delta that follows.
  uint64_t first_sequence = 0;
  uint64_t next_sequence = 0;  // of the node's log when it sent this
  uint64_t part = 0;           // of a snapshot: its parts are numbered from 0
  std::vector<ChunkEvent> events;
};

// Where a stream is to begin.
struct FollowPosition {
  uint64_t epoch = 0;  // 0: a snapshot
  uint64_t sequence = 0;

  friend bool operator==(const FollowPosition&, const FollowPosition&) = default;
};

struct IndexFollowerStats {
  uint64_t epoch = 0;          // 0: nothing of it is in the index
  uint64_t next_sequence = 0;  // all events before this one are applied
  uint64_t applied = 0;        // events
  uint64_t snapshots = 0;      // complete ones
  uint64_t gaps = 0;
  uint64_t lag = 0;  // events that the node has logged and this one has not applied
  bool in_sync = false;
};

// One followed node, whose entries in the index it alone changes. A batch that does not go on where
// the last one ended is refused, and the stream begins anew; a node that was restarted, or that
// sends what makes no sense, is hidden until it has sent a whole snapshot's beginning again.
// Entries that a new snapshot of the same epoch does not name stay until it is complete. Pure, not
// thread-safe. Does not own the index, which outlives it.
class IndexFollower {
 public:
  // REQUIRES: the slot is no other follower's, and has no entries.
  IndexFollower(GlobalIndex* index, NodeSlot slot) : index_(index), slot_(slot) {}

  FollowPosition OnStreamOpen();
  enum class Taken {
    kTaken,
    kLater,   // entries are being forgotten: after some Steps, the same batch again
    kResync,  // end this stream and begin one at OnStreamOpen()
  };
  Taken OnBatch(const FollowBatch& batch);
  // The node has said elsewhere that it does not hold a chunk, and that its log ended at `said_at`.
  // Not heeded when events from there on are applied, which are newer.
  void OnRemoval(const ChunkEvent& removal, const FollowPosition& said_at);
  // `broken`: what came could not be understood, so nothing of it is believed.
  void OnStreamEnd(bool broken);

  // The node is no member any more: its entries are not found from now on.
  void Hide();
  // Removes what is hidden or stale, looking at `slots_max` slots of the index. False when there is
  // nothing left to do; after Hide the slot is then free for another node.
  bool Step(size_t slots_max);
  bool has_work() const { return forgetting_; }

  IndexFollowerStats stats() const;
  // All that the node holds has been told, whatever it has logged since.
  bool complete() const { return complete_; }

 private:
  // False when entries have to be forgotten first.
  bool BeginSnapshot(const FollowBatch& batch);
  Taken OnSnapshot(const FollowBatch& batch);
  Taken OnDeltas(const FollowBatch& batch);
  void Apply(std::span<const ChunkEvent> events);

  GlobalIndex* const index_;
  const NodeSlot slot_;
  uint64_t epoch_ = 0;      // of what is in the index; 0: nothing is
  uint64_t next_ = 0;       // the delta that comes next
  uint64_t node_next_ = 0;  // the node's own, as last heard
  uint64_t next_part_ = 0;  // of the snapshot
  bool complete_ = false;   // a whole snapshot and all deltas up to next_ are in the index
  bool in_snapshot_ = false;
  bool forgetting_ = false;
  uint64_t applied_ = 0;
  uint64_t snapshots_ = 0;
  uint64_t gaps_ = 0;
};

}  // namespace larder
