// The latest events of this node, numbered, for those who follow it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/paged_vector.h"
#include "daemon/index/chunk_event.h"

namespace larder {

// A ring: the oldest events make room for new ones, and a reader that needs them is told to take a
// snapshot instead. Memory grows with use up to 40 bytes for each event of the capacity. Pure, not
// thread-safe.
class EventLog {
 public:
  // `epoch` is this node's, not 0; sequence numbers begin at 0 in each. REQUIRES: capacity > 0.
  EventLog(uint64_t epoch, size_t capacity) : epoch_(epoch), capacity_(capacity) {}

  void Append(const ChunkEvent& event);
  // Events were lost before they were appended: all readers have to take a snapshot.
  void Invalidate();

  uint64_t epoch() const { return epoch_; }
  // Of the next event that will be appended.
  uint64_t next_sequence() const { return next_sequence_; }
  // Of the oldest event that is still here.
  uint64_t first_sequence() const {
    const uint64_t kept = next_sequence_ > capacity_ ? next_sequence_ - capacity_ : 0;
    return kept > valid_from_ ? kept : valid_from_;
  }

  // kTooOld: some of the events from there on are gone, or there never was such a number.
  enum class ReadResult { kOk, kTooOld };
  // Appends the events from number `from` on, at most `limit`, none if there are none yet.
  ReadResult Read(uint64_t from, size_t limit, std::vector<ChunkEvent>* events) const;

 private:
  const uint64_t epoch_;
  const size_t capacity_;
  uint64_t next_sequence_ = 0;
  uint64_t valid_from_ = 0;
  PagedVector<ChunkEvent> ring_;
};

}  // namespace larder
