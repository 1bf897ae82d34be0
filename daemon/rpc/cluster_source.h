// What a node lets the Cluster service read of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/status.h"
#include "daemon/index/chunk_event.h"
#include "daemon/index/event_log.h"
#include "proto/larder/v1/cluster.pb.h"

namespace larder {

// Thread-safe: gRPC's threads and the one that serves all followers call it. No call waits longer
// than a few seconds.
class ClusterSource {
 public:
  virtual ~ClusterSource() = default;

  virtual absl::Status Describe(v1::DescribeResponse* response) = 0;

  struct LogEnd {
    uint64_t epoch = 0;
    uint64_t next_sequence = 0;
  };
  virtual LogEnd End() = 0;
  // As EventLog::Read; `end` is the log's at that moment.
  virtual EventLog::ReadResult ReadLog(uint64_t from, size_t limit, std::vector<ChunkEvent>* events,
                                       LogEnd* end) = 0;

  // A step of a walk over all chunks: appends the state of at most `limit` of them, from `*cursor`
  // (at first 0) on, and moves it. False when that was the last step. A chunk that is there during
  // the whole walk is named; one that comes, goes or changes has an event in the log anyway.
  virtual absl::StatusOr<bool> SnapshotStep(uint64_t* cursor, size_t limit,
                                            std::vector<ChunkEvent>* events) = 0;
};

}  // namespace larder
