#include "daemon/rpc/follow_messages.h"

#include "absl/strings/str_cat.h"
#include "daemon/index/event_batch.h"

namespace larder {

static_assert(static_cast<int>(FollowBatch::Phase::kDeltas) == v1::FOLLOW_PHASE_DELTAS);
static_assert(static_cast<int>(FollowBatch::Phase::kSnapshot) == v1::FOLLOW_PHASE_SNAPSHOT);
static_assert(static_cast<int>(FollowBatch::Phase::kSnapshotEnd) == v1::FOLLOW_PHASE_SNAPSHOT_END);

void ToMessage(const FollowBatch& batch, v1::FollowResponse* response) {
  response->set_epoch(batch.epoch);
  response->set_phase(static_cast<v1::FollowPhase>(batch.phase));
  response->set_first_sequence(batch.first_sequence);
  response->set_next_sequence(batch.next_sequence);
  response->set_part(batch.part);
  response->set_events(EncodeEvents(batch.events));
}

absl::StatusOr<FollowBatch> ParseFollowResponse(const v1::FollowResponse& response) {
  if (response.epoch() == 0) return absl::InvalidArgumentError("epoch: 0");
  if (response.phase() < v1::FOLLOW_PHASE_DELTAS ||
      response.phase() > v1::FOLLOW_PHASE_SNAPSHOT_END) {
    return absl::InvalidArgumentError(absl::StrCat("phase: ", response.phase()));
  }
  FollowBatch batch;
  batch.epoch = response.epoch();
  batch.phase = static_cast<FollowBatch::Phase>(response.phase());
  batch.first_sequence = response.first_sequence();
  batch.next_sequence = response.next_sequence();
  batch.part = response.part();
  ASSIGN_OR_RETURN(batch.events, DecodeEvents(response.events()));
  if (batch.next_sequence < batch.first_sequence ||
      (batch.phase == FollowBatch::Phase::kDeltas &&
       batch.next_sequence - batch.first_sequence < batch.events.size())) {
    return absl::InvalidArgumentError(absl::StrCat("next_sequence: ", batch.next_sequence,
                                                   " after ", batch.events.size(), " events from ",
                                                   batch.first_sequence));
  }
  return batch;
}

}  // namespace larder
