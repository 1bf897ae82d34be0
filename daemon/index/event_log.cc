#include "daemon/index/event_log.h"

#include <algorithm>

namespace larder {

void EventLog::Append(const ChunkEvent& event) {
  const size_t at = next_sequence_ % capacity_;
  ring_.GrowTo(at + 1);
  ring_[at] = event;
  ++next_sequence_;
}

void EventLog::Invalidate() {
  // A number that nobody can read: whoever waited for it has missed something.
  ++next_sequence_;
  valid_from_ = next_sequence_;
}

EventLog::ReadResult EventLog::Read(uint64_t from, size_t limit,
                                    std::vector<ChunkEvent>* events) const {
  if (from < first_sequence() || from > next_sequence_) return ReadResult::kTooOld;
  const uint64_t end = from + std::min<uint64_t>(limit, next_sequence_ - from);
  for (uint64_t sequence = from; sequence < end; ++sequence) {
    events->push_back(ring_[sequence % capacity_]);
  }
  return ReadResult::kOk;
}

}  // namespace larder
