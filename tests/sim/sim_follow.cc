#include "tests/sim/sim_follow.h"

#include <algorithm>

namespace larder {
namespace {

constexpr absl::Duration kPulse = absl::Milliseconds(100);
constexpr absl::Duration kHeartbeat = absl::Seconds(1);
constexpr absl::Duration kSilenceMax = absl::Seconds(3);
constexpr uint32_t kBatchesInFlight = 4;
constexpr size_t kEventsPerBatch = 32;
constexpr uint64_t kEventBytes = 40;

}  // namespace

SimFollow::SimFollow(SimWorld* world, std::vector<std::unique_ptr<SimNode>>* nodes, uint64_t seed)
    : world_(world), nodes_(nodes), random_(seed) {
  world_->queue->After(kPulse, [this] { Pulse(); });
}

void SimFollow::Pulse() {
  const MonotonicTime now = world_->queue->now();
  for (const auto& node : *nodes_) {
    if (!node->running() || node->host().stopped()) continue;
    for (const auto& other : *nodes_) {
      const Pair pair{node->id(), other->id()};
      const StreamPointer stream = streams_[pair];
      const bool wanted = node->others().contains(other->id()) && !node->cluster().asks();
      if (stream != nullptr && stream->open) {
        const bool old = stream->follower_life != node->host().life();
        if (old || !wanted || now - stream->heard_at > kSilenceMax) {
          End(stream, /*broken=*/false);
        } else if (now - stream->sent_at > kHeartbeat) {
          Publish(stream, /*even_nothing=*/true);
        }
      } else if (wanted && now >= open_at_[pair]) {
        Open(*node, *other);
      }
    }
  }
  world_->queue->After(kPulse, [this] { Pulse(); });
}

void SimFollow::Open(SimNode& follower, SimNode& publisher) {
  const Pair pair{follower.id(), publisher.id()};
  open_at_[pair] = world_->queue->now() + absl::Milliseconds(50 + random_.Below(500));
  const SimNetwork& network = *world_->network;
  if (!publisher.running() || publisher.host().stopped() ||
      network.IsBlocked(pair.first, pair.second) || network.IsBlocked(pair.second, pair.first)) {
    return;
  }
  auto stream = std::make_shared<Stream>();
  stream->follower = follower.id();
  stream->publisher = publisher.id();
  stream->follower_life = follower.host().life();
  stream->publisher_life = publisher.host().life();
  stream->heard_at = stream->sent_at = world_->queue->now();
  streams_[pair] = stream;
  const FollowPosition position = follower.cluster().OnFollowOpen(SimNodeName(publisher.id()));
  world_->queue->Note("follow", {pair.first, pair.second, position.epoch, position.sequence});
  world_->queue->After(world_->network->Delay(pair.first, pair.second, 0), [=, this] {
    NodeAt(stream->publisher).host().Post(stream->publisher_life, [=, this] {
      if (stream->open) Begin(stream, position);
    });
  });
}

// --- the publisher -----------------------------------------------------------------------------

void SimFollow::Begin(const StreamPointer& stream, FollowPosition position) {
  SimNode& node = NodeAt(stream->publisher);
  node.FlushEvents();
  stream->begun = true;
  std::vector<ChunkEvent> events;
  stream->next = position.sequence;
  const bool goes_on = position.epoch == node.epoch() &&
                       node.log().Read(position.sequence, 0, &events) == EventLog::ReadResult::kOk;
  if (!goes_on) {
    stream->in_snapshot = true;
    stream->next = node.log().next_sequence();
    stream->cursor = 0;
  }
  Publish(stream, /*even_nothing=*/true);
}

void SimFollow::OnGrowth(SimNodeId publisher) {
  for (const auto& [pair, stream] : streams_) {
    if (pair.second == publisher && stream != nullptr) Publish(stream, /*even_nothing=*/false);
  }
}

void SimFollow::Publish(const StreamPointer& stream, bool even_nothing) {
  SimNode& node = NodeAt(stream->publisher);
  FollowBatch batch;
  while (stream->open && stream->begun && node.running() &&
         node.host().life() == stream->publisher_life && !node.host().stopped() &&
         stream->in_flight < kBatchesInFlight &&
         NextBatch(*stream, std::exchange(even_nothing, false), &batch)) {
    ++stream->in_flight;
    stream->sent_at = world_->queue->now();
    const absl::Duration delay = world_->network->Delay(stream->publisher, stream->follower,
                                                        batch.events.size() * kEventBytes);
    if (random_.Unit() < faults.loses) {
      world_->queue->After(delay, [=, this] { End(stream, /*broken=*/false); });
      return;
    }
    stream->last_arrival =
        std::max(stream->last_arrival + absl::Nanoseconds(1), world_->queue->now() + delay);
    world_->queue->At(stream->last_arrival, [=, this] { Arrive(stream, batch); });
  }
}

bool SimFollow::NextBatch(Stream& stream, bool even_nothing, FollowBatch* batch) {
  SimNode& node = NodeAt(stream.publisher);
  *batch = {.epoch = node.epoch(), .events = {}};
  // Deltas first, also within a snapshot: then none of them is missed for its length.
  if (node.log().Read(stream.next, kEventsPerBatch, &batch->events) ==
      EventLog::ReadResult::kTooOld) {
    stream.in_snapshot = true;
    stream.part = 0;
    stream.cursor = 0;
    stream.next = node.log().next_sequence();
  }
  if (stream.in_snapshot && (batch->events.empty() || stream.part == 0)) {
    batch->events.clear();
    batch->part = stream.part++;
    stream.cursor = node.cluster().SnapshotStep(*stream.cursor, kEventsPerBatch, &batch->events);
    stream.in_snapshot = stream.cursor.has_value();
    batch->phase =
        stream.in_snapshot ? FollowBatch::Phase::kSnapshot : FollowBatch::Phase::kSnapshotEnd;
  } else {
    if (batch->events.empty() && !even_nothing) return false;
    batch->phase = FollowBatch::Phase::kDeltas;
  }
  batch->first_sequence = stream.next;
  if (batch->phase == FollowBatch::Phase::kDeltas) stream.next += batch->events.size();
  batch->next_sequence = node.log().next_sequence();
  return true;
}

// --- the follower ------------------------------------------------------------------------------

void SimFollow::Arrive(const StreamPointer& stream, FollowBatch batch) {
  if (!stream->open) return;
  if (world_->network->IsBlocked(stream->publisher, stream->follower)) {
    // Repeated until it gets through, or the follower has had enough.
    stream->last_arrival = world_->queue->now() + absl::Milliseconds(200);
    world_->queue->At(stream->last_arrival, [=, this] { Arrive(stream, batch); });
    return;
  }
  stream->heard_at = world_->queue->now();
  stream->inbox.push_back(std::move(batch));
  NodeAt(stream->follower).Do(stream->follower_life, [=, this] { Take(stream); });
}

void SimFollow::Take(const StreamPointer& stream) {
  SimNode& node = NodeAt(stream->follower);
  while (stream->open && !stream->inbox.empty()) {
    const FollowBatch& batch = stream->inbox.front();
    world_->queue->Note("batch",
                        {stream->follower, stream->publisher, static_cast<uint64_t>(batch.phase),
                         batch.first_sequence, batch.events.size()});
    if (random_.Unit() < faults.garbles) return End(stream, /*broken=*/true);
    const auto taken = node.cluster().OnFollowBatch(SimNodeName(stream->publisher), batch);
    if (taken == IndexFollower::Taken::kResync) return End(stream, /*broken=*/false);
    if (taken == IndexFollower::Taken::kLater) {
      if (std::exchange(stream->taking, true)) return;
      world_->queue->After(absl::Milliseconds(1), [=, this] {
        stream->taking = false;
        NodeAt(stream->follower).Do(stream->follower_life, [=, this] { Take(stream); });
      });
      return;
    }
    stream->inbox.pop_front();
    world_->queue->After(world_->network->Delay(stream->follower, stream->publisher, 0), [=, this] {
      --stream->in_flight;
      Publish(stream, /*even_nothing=*/false);
    });
  }
}

void SimFollow::End(const StreamPointer& stream, bool broken) {
  if (!stream->open) return;
  stream->open = false;
  open_at_[{stream->follower, stream->publisher}] =
      world_->queue->now() + absl::Milliseconds(20 + random_.Below(300));
  SimNode& node = NodeAt(stream->follower);
  node.Do(stream->follower_life, [&node, stream, broken] {
    node.cluster().OnFollowEnd(SimNodeName(stream->publisher), broken);
  });
}

}  // namespace larder
