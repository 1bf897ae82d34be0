#include "daemon/rpc/follow_stream.h"

#include <chrono>
#include <utility>

#include "daemon/index/event_batch_format.h"
#include "daemon/rpc/follow_messages.h"
#include "daemon/rpc/rpc_status.h"

namespace larder {
namespace {

// How long events gather before they are sent together, when nothing else wakes the thread.
constexpr std::chrono::milliseconds kGather{5};
constexpr std::chrono::seconds kIdle{1};

}  // namespace

void FollowStream::OnWriteDone(bool ok) {
  if (!ok) cancelled_ = true;
  writing_ = false;
  server_->Wake();
}

void FollowStream::OnCancel() {
  cancelled_ = true;
  server_->Wake();
}

void FollowStream::OnDone() { server_->Forget(this); }

bool FollowStream::Advance(ClusterSource* source, const FollowServerOptions& options,
                           MonotonicTime now) {
  if (writing_) {
    if (!timed_out_ && now - last_write_ > options.write_timeout) {
      timed_out_ = true;
      context_->TryCancel();
    }
    return true;
  }
  if (cancelled_) {
    Finish(grpc::Status(grpc::StatusCode::CANCELLED, "the follower is gone, or takes nothing"));
    return false;
  }
  if (!begun_) Begin(source);
  const absl::StatusOr<bool> something = NextMessage(source, options, now);
  if (!something.ok()) {
    Finish(ToGrpcStatus(something.status()));
    return false;
  }
  if (*something) {
    last_write_ = now;
    writing_ = true;
    StartWrite(&message_);
  }
  return true;
}

void FollowStream::Begin(ClusterSource* source) {
  begun_ = true;
  std::vector<ChunkEvent> none;
  ClusterSource::LogEnd end;
  const EventLog::ReadResult known = source->ReadLog(from_.sequence, 0, &none, &end);
  epoch_ = end.epoch;
  in_snapshot_ = from_.epoch != end.epoch || known == EventLog::ReadResult::kTooOld;
  next_ = in_snapshot_ ? end.next_sequence : from_.sequence;
}

absl::StatusOr<bool> FollowStream::NextMessage(ClusterSource* source,
                                               const FollowServerOptions& options,
                                               MonotonicTime now) {
  FollowBatch batch;
  batch.epoch = epoch_;
  // Read before the snapshot's part that follows, so no older than what was sent.
  if (!in_snapshot_ || deltas_turn_) RETURN_IF_ERROR(ReadDeltas(source, &batch));
  deltas_turn_ = !deltas_turn_;
  const bool nothing = batch.events.empty();
  if (nothing && in_snapshot_) {
    RETURN_IF_ERROR(ReadSnapshot(source, &batch));
  } else if (nothing && now - last_write_ < options.heartbeat) {
    return false;
  }
  ToMessage(batch, &message_);
  return true;
}

absl::Status FollowStream::ReadDeltas(ClusterSource* source, FollowBatch* batch) {
  batch->phase = FollowBatch::Phase::kDeltas;
  batch->first_sequence = next_;
  ClusterSource::LogEnd end;
  const EventLog::ReadResult result =
      source->ReadLog(next_, kEventBatchEventsMax, &batch->events, &end);
  if (result == EventLog::ReadResult::kTooOld || end.epoch != epoch_) {
    return absl::OutOfRangeError("too slow: the log has gone on, ask again");
  }
  batch->next_sequence = end.next_sequence;
  next_ += batch->events.size();
  return absl::OkStatus();
}

absl::Status FollowStream::ReadSnapshot(ClusterSource* source, FollowBatch* batch) {
  ASSIGN_OR_RETURN(const bool more,
                   source->SnapshotStep(&cursor_, kEventBatchEventsMax, &batch->events));
  in_snapshot_ = more;
  batch->phase = more ? FollowBatch::Phase::kSnapshot : FollowBatch::Phase::kSnapshotEnd;
  batch->first_sequence = next_;
  batch->next_sequence = source->End().next_sequence;
  batch->part = part_++;
  return absl::OkStatus();
}

FollowServer::FollowServer(ClusterSource* source, const FollowServerOptions& options)
    : source_(source), options_(options), thread_([this] { Run(); }) {}

FollowServer::~FollowServer() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

grpc::ServerWriteReactor<v1::FollowResponse>* FollowServer::Open(
    grpc::CallbackServerContext* context, const FollowPosition& from) {
  auto owned = std::make_unique<FollowStream>(this, context, from);
  FollowStream* const stream = owned.get();
  bool full = false;
  {
    std::lock_guard lock(mutex_);
    streams_.emplace(stream, std::move(owned));
    full = serving_.size() >= options_.followers_max;
    if (!full) serving_.push_back(stream);
  }
  if (full) {
    stream->Finish(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too many followers"));
  } else {
    Wake();
  }
  return stream;
}

size_t FollowServer::followers() const {
  std::lock_guard lock(mutex_);
  return serving_.size();
}

void FollowServer::Wake() {
  {
    std::lock_guard lock(mutex_);
    woken_ = true;
  }
  changed_.notify_all();
}

void FollowServer::Forget(FollowStream* stream) {
  std::unique_ptr<FollowStream> last;
  std::lock_guard lock(mutex_);
  const auto found = streams_.find(stream);
  last = std::move(found->second);
  streams_.erase(found);
}

// A stream is gRPC's until it has been finished, which only this thread does with those that it
// serves: so they cannot go while it works on them.
void FollowServer::Run() {
  std::vector<FollowStream*> serving, ended;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    woken_ = false;
    serving = serving_;
    lock.unlock();
    ended.clear();
    const MonotonicTime now = SystemClock::Get().Now();
    for (FollowStream* stream : serving) {
      if (!stream->Advance(source_, options_, now)) ended.push_back(stream);
    }
    lock.lock();
    for (FollowStream* stream : ended) std::erase(serving_, stream);
    const std::chrono::milliseconds wait = serving_.empty() ? kIdle : kGather;
    changed_.wait_for(lock, wait, [this] { return woken_ || stopping_; });
  }
}

}  // namespace larder
