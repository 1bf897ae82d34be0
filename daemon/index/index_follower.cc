#include "daemon/index/index_follower.h"

#include <algorithm>

namespace larder {

FollowPosition IndexFollower::OnStreamOpen() {
  in_snapshot_ = false;
  if (!complete_) return {};
  return {.epoch = epoch_, .sequence = next_};
}

IndexFollower::Taken IndexFollower::OnBatch(const FollowBatch& batch) {
  if (epoch_ != 0 && batch.epoch != epoch_) Hide();
  return batch.phase == FollowBatch::Phase::kDeltas ? OnDeltas(batch) : OnSnapshot(batch);
}

bool IndexFollower::BeginSnapshot(const FollowBatch& batch) {
  complete_ = false;
  in_snapshot_ = false;
  forgetting_ = !index_->BeginSnapshot(slot_);
  if (forgetting_) return false;
  in_snapshot_ = true;
  epoch_ = batch.epoch;
  next_ = batch.first_sequence;
  next_part_ = 0;
  return true;
}

IndexFollower::Taken IndexFollower::OnSnapshot(const FollowBatch& batch) {
  if (batch.part == 0) {
    if (!BeginSnapshot(batch)) return Taken::kLater;
  } else if (!in_snapshot_ || batch.part != next_part_) {
    ++gaps_;
    return Taken::kResync;
  }
  ++next_part_;
  Apply(batch.events);
  node_next_ = std::max(next_, batch.next_sequence);
  if (batch.phase == FollowBatch::Phase::kSnapshotEnd) {
    in_snapshot_ = false;
    complete_ = true;
    forgetting_ = true;
    ++snapshots_;
  }
  return Taken::kTaken;
}

IndexFollower::Taken IndexFollower::OnDeltas(const FollowBatch& batch) {
  if (!complete_ && !in_snapshot_) return Taken::kResync;
  if (batch.first_sequence != next_) {
    ++gaps_;
    return Taken::kResync;
  }
  Apply(batch.events);
  next_ += batch.events.size();
  node_next_ = std::max(next_, batch.next_sequence);
  return Taken::kTaken;
}

void IndexFollower::OnStreamEnd(bool broken) {
  in_snapshot_ = false;
  if (broken) Hide();
}

void IndexFollower::OnRemoval(const ChunkEvent& removal, const FollowPosition& said_at) {
  if (epoch_ == said_at.epoch && next_ <= said_at.sequence) index_->Apply(slot_, removal);
}

void IndexFollower::Hide() {
  index_->HideNode(slot_);
  forgetting_ = true;
  epoch_ = 0;
  next_ = 0;
  node_next_ = 0;
  complete_ = false;
  in_snapshot_ = false;
}

bool IndexFollower::Step(size_t slots_max) {
  // While a snapshot comes in, what it has not named yet is stale and stays.
  if (forgetting_ && !in_snapshot_) forgetting_ = index_->ForgetStep(slot_, slots_max);
  return forgetting_;
}

void IndexFollower::Apply(std::span<const ChunkEvent> events) {
  index_->Apply(slot_, events);
  applied_ += events.size();
}

IndexFollowerStats IndexFollower::stats() const {
  return {.epoch = epoch_,
          .next_sequence = next_,
          .applied = applied_,
          .snapshots = snapshots_,
          .gaps = gaps_,
          .lag = node_next_ - next_,
          .in_sync = complete_ && next_ == node_next_};
}

}  // namespace larder
