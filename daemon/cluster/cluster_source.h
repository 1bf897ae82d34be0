// What the gRPC service larder.v1.Cluster asks of the node behind it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "common/clock.h"
#include "daemon/cluster/members.h"
#include "daemon/index/chunk_event.h"

namespace larder {

// Thread-safe: called on gRPC's threads. Every wait ends by its deadline.
class ClusterSource {
 public:
  virtual ~ClusterSource() = default;

  virtual MemberRecord Describe() = 0;

  struct LogRead {
    bool too_old = false;        // some of the events from there on are gone: a snapshot is needed
    uint64_t next_sequence = 0;  // of this node's log
    std::vector<ChunkEvent> events;
  };
  // Events of this node's log from number `from` on, at most `limit`; waits until the deadline for
  // the first one.
  virtual LogRead ReadLog(uint64_t from, size_t limit, MonotonicTime deadline) = 0;

  struct SnapshotPart {
    std::optional<uint64_t> next_cursor;  // none: this was the last part
    uint64_t next_sequence = 0;           // of the log, not later than what the part shows
    std::vector<ChunkEvent> events;
  };
  // A part of all that is here, from a cursor on; 0 at first. UNAVAILABLE: the node stops.
  virtual absl::StatusOr<SnapshotPart> ReadSnapshot(uint64_t cursor, MonotonicTime deadline) = 0;
};

}  // namespace larder
