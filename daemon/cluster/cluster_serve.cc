// Chunks of this node that others fetch.
#include <algorithm>
#include <utility>

#include "daemon/cluster/cluster_core.h"

namespace larder {
namespace {

constexpr size_t kServingsMax = 8192;
// The transport bounds what is under way to one peer; some of it is for chunks of many parts.
constexpr uint32_t kWritesPerPeerMax = kTransfersPerPeerMax / 2;
constexpr absl::Duration kServeTimeoutMax = absl::Seconds(30);
// A chunk that was written stays leased for so long after the deadline unless it is released: its
// bytes may be on their way still.
constexpr absl::Duration kReleaseGrace = absl::Seconds(2);

}  // namespace

void ClusterCore::OnFetch(Peer& peer, const PeerFetch& fetch, MonotonicTime now) {
  const std::optional<SpaceHandle> space = core_->FindSpace(fetch.space);
  const MonotonicTime deadline =
      now + std::min(absl::Milliseconds(fetch.deadline_ms), kServeTimeoutMax);
  for (const FetchItem& item : fetch.items) {
    const ServingId id{peer.slot, item.window};
    if (servings_.contains(id)) continue;
    Serving serving{.node = peer.slot,
                    .item = item,
                    .space = space.value_or(0),
                    .granule_bytes = fetch.granule_bytes,
                    .deadline = deadline};
    if (!space) {
      Answer(serving, FetchResultCode::kGone, log_end_);
      continue;
    }
    if (servings_.size() >= kServingsMax || writes_to_[peer.slot] >= kWritesPerPeerMax) {
      Answer(serving, FetchResultCode::kBusy);
      continue;
    }
    const auto added = servings_.emplace(id, serving).first;
    if (TryServe(added->second, now)) {
      EndIfDone(id);
    } else {
      waiting_for_disk_.push_back(id);
    }
  }
}

bool ClusterCore::TryServe(Serving& serving, MonotonicTime now) {
  const std::span<const KeyHash> key(&serving.item.key, 1);
  const Space& space = *core_->FindSpace(serving.space);
  const Part whole = space.description.manifest.WholePart();
  const absl::StatusOr<AcquireResult> acquired =
      core_->Acquire(session_, serving.space, key, whole, now);
  if (!acquired.ok()) {
    Answer(serving, FetchResultCode::kBusy);
    return true;
  }
  if (!acquired->chunks.empty()) {
    serving.lease = acquired->lease;
    StartWrites(serving, acquired->extents, now);
    return true;
  }
  if (core_->Load(serving.space, key, /*local_only=*/true, now).coming > 0) return false;
  Answer(serving, FetchResultCode::kGone, log_end_);
  return true;
}

void ClusterCore::StartWrites(Serving& serving, std::span<const BlockExtent> extents,
                              MonotonicTime now) {
  const auto rounded = [&](uint64_t bytes) {
    return (bytes + serving.granule_bytes - 1) / serving.granule_bytes * serving.granule_bytes;
  };
  PeerFetched fetched;
  fetched.window = serving.item.window;
  fetched.code = FetchResultCode::kWritten;
  uint64_t end = 0;
  uint64_t bytes = 0;
  for (const BlockExtent& extent : extents) {
    fetched.parts.push_back({.offset = rounded(end), .bytes = extent.bytes});
    end = rounded(end) + extent.bytes;
    bytes += extent.bytes;
  }
  if (end > serving.item.window_bytes) {
    Answer(serving, FetchResultCode::kResized, rounded(end));
    return;
  }
  const std::optional<ChunkInfo> info = core_->Inspect(serving.space, serving.item.key);
  if (info && info->expiry) {
    const absl::Duration left = *info->expiry - now;
    fetched.ttl_ms = static_cast<uint64_t>(std::max<int64_t>(1, absl::ToInt64Milliseconds(left)));
  }
  Peer& peer = *PeerAt(serving.node);
  for (size_t i = 0; i < extents.size(); ++i) {
    ClusterOrder& write = AddOrder(ClusterOrder::Kind::kWrite, serving.node);
    write.window = serving.item.window;
    write.offset_or_bytes = fetched.parts[i].offset;
    write.token = next_token_++;
    write.ranges = {{.offset = extents[i].offset, .bytes = extents[i].bytes}};
    write.deadline = serving.deadline;
    write_tokens_[write.token] = {serving.node, serving.item.window};
  }
  const auto writes = static_cast<uint32_t>(extents.size());
  serving.writes_under_way += writes;
  writes_to_[peer.slot] += writes;
  ClusterOrder& answer = AddOrder(ClusterOrder::Kind::kSendAfter, serving.node);
  answer.payload = WriteMessage(fetched);
  answer.window = serving.item.window;
  answer.offset_or_bytes = bytes;
  serving.answered = true;
  ++peer.served_chunks;
  peer.served_bytes += bytes;
  ++stats_.served_chunks;
  stats_.served_bytes += bytes;
  replication_.OnRemoteRead({serving.space, serving.item.key}, bytes, now);
}

void ClusterCore::Answer(Serving& serving, FetchResultCode code, uint64_t bytes_or_log_end) {
  Send(serving.node,
       WriteMessage(PeerFetched{
           .window = serving.item.window, .code = code, .bytes_or_log_end = bytes_or_log_end}));
  serving.answered = serving.released = true;
  ++(code == FetchResultCode::kGone      ? stats_.refused_gone
     : code == FetchResultCode::kResized ? stats_.refused_resized
                                         : stats_.refused_busy);
}

void ClusterCore::EndIfDone(const ServingId& id) {
  const auto found = servings_.find(id);
  if (found == servings_.end()) return;
  const Serving& serving = found->second;
  if (!serving.answered || !serving.released || serving.writes_under_way > 0) return;
  if (serving.lease) (void)core_->Release(session_, serving.lease);
  servings_.erase(found);
}

void ClusterCore::OnRelease(Peer& peer, std::span<const uint64_t> windows) {
  for (const uint64_t window : windows) {
    const ServingId id{peer.slot, window};
    const auto found = servings_.find(id);
    if (found == servings_.end()) continue;
    found->second.answered = found->second.released = true;
    EndIfDone(id);
  }
}

void ClusterCore::OnWritten(uint64_t token, MonotonicTime) {
  const auto found = write_tokens_.find(token);
  if (found == write_tokens_.end()) return;
  const ServingId id = found->second;
  write_tokens_.erase(found);
  --writes_to_[id.first];
  if (const auto serving = servings_.find(id); serving != servings_.end()) {
    --serving->second.writes_under_way;
    EndIfDone(id);
  }
}

void ClusterCore::ServeWaiting(MonotonicTime now) {
  loads_ended_seen_ = core_->loads_ended();
  for (const ServingId& id : std::exchange(waiting_for_disk_, {})) {
    const auto found = servings_.find(id);
    if (found == servings_.end() || found->second.answered) continue;
    if (TryServe(found->second, now)) {
      EndIfDone(id);
    } else {
      waiting_for_disk_.push_back(id);
    }
  }
}

void ClusterCore::EndLateServings(MonotonicTime now) {
  std::vector<ServingId> late;
  for (auto& [id, serving] : servings_) {
    if (now < serving.deadline) continue;
    if (!serving.answered) Answer(serving, FetchResultCode::kBusy);
    if (now >= serving.deadline + kReleaseGrace) serving.released = true;
    if (serving.released) late.push_back(id);
  }
  for (const ServingId& id : late) EndIfDone(id);
}

}  // namespace larder
