#include "daemon/rpc/verify_walk.h"

#include <utility>

#include "daemon/node/log.h"
#include "daemon/node/verifier.h"
#include "daemon/rpc/messages.h"

namespace larder {
namespace {

constexpr size_t kChunksPerTaskMax = 256;
constexpr absl::Duration kReportInterval = absl::Milliseconds(500);

}  // namespace

absl::Status VerifyWalk::Run(std::optional<SpaceId> space) {
  RETURN_IF_ERROR(Begin(space));
  std::optional<ChunkIndex> cursor = 0;
  std::vector<ChunkName> chunks;
  while (cursor) {
    RETURN_IF_ERROR(ListSome(&cursor, &chunks));
    for (const ChunkName& chunk : chunks) {
      RETURN_IF_ERROR(VerifyChunk(chunk));
      if (SystemClock::Get().Now() >= next_report_) RETURN_IF_ERROR(ReportProgress());
    }
  }
  progress_.set_done(true);
  return ReportProgress();
}

absl::Status VerifyWalk::Begin(std::optional<SpaceId> space_id) {
  RETURN_IF_ERROR(access_->Run(context_, [&](Core& core, SessionId, MonotonicTime) -> absl::Status {
    progress_.set_total_chunks(core.Stats().chunks);
    if (!space_id) return absl::OkStatus();
    ASSIGN_OR_RETURN(const Space* space, SpaceById(core, *space_id));
    only_ = space->handle;
    progress_.set_total_chunks(space->stats.resident_chunks);
    return absl::OkStatus();
  }));
  return ReportProgress();
}

absl::Status VerifyWalk::ListSome(std::optional<ChunkIndex>* cursor,
                                  std::vector<ChunkName>* chunks) {
  chunks->clear();
  return access_->Run(context_, [&](Core& core, SessionId, MonotonicTime) {
    std::vector<ChunkInfo> infos;
    *cursor = core.ListStep(only_, **cursor, kChunksPerTaskMax, &infos);
    // What is only on disk is verified when it is read, or by `larderctl disk verify`.
    for (const ChunkInfo& info : infos) {
      if (info.in_memory) chunks->push_back({info.space, info.key});
    }
    return absl::OkStatus();
  });
}

absl::Status VerifyWalk::VerifyChunk(const ChunkName& chunk) {
  ScopedLease lease(access_);
  std::vector<BlockExtent> extents;
  RETURN_IF_ERROR(
      access_->Run(context_, [&](Core& core, SessionId session, MonotonicTime) -> absl::Status {
        ASSIGN_OR_RETURN(AcquireResult acquired,
                         core.AcquireUncounted(session, chunk.space, chunk.key));
        lease.Hold(acquired.lease);
        extents = std::move(acquired.extents);
        if (!space_ || space_->handle != chunk.space) space_ = InfoOf(*core.FindSpace(chunk.space));
        return absl::OkStatus();
      }));
  if (extents.empty()) {
    progress_.set_skipped(progress_.skipped() + 1);
    return absl::OkStatus();
  }
  const absl::Status sound = CheckStoredChunk(access_->arena_data(), space_->description.manifest,
                                              space_->id, chunk.key, extents);
  uint64_t bytes = 0;
  for (const BlockExtent& extent : extents) bytes += extent.bytes;
  progress_.set_chunks(progress_.chunks() + 1);
  progress_.set_bytes(progress_.bytes() + bytes);
  return sound.ok() ? absl::OkStatus() : Quarantine(chunk, space_->id, sound);
}

absl::Status VerifyWalk::Quarantine(const ChunkName& chunk, const SpaceId& space,
                                    const absl::Status& why) {
  LogError("corrupt chunk removed",
           {{"key", ToString(chunk.key)}, {"why", std::string(why.message())}});
  progress_.set_corrupt(progress_.corrupt() + 1);
  RETURN_IF_ERROR(access_->Run(context_, [&](Core& core, SessionId, MonotonicTime) {
    return core.Remove(chunk.space, std::span(&chunk.key, 1), RemovalCause::kCorrupt).status();
  }));
  v1::VerifyResponse response;
  response.mutable_corrupt()->set_space_id(ToString(space));
  response.mutable_corrupt()->set_key_hash(ToString(chunk.key));
  response.mutable_corrupt()->set_reason(std::string(why.message()));
  return Send(response);
}

absl::Status VerifyWalk::ReportProgress() {
  next_report_ = SystemClock::Get().Now() + kReportInterval;
  v1::VerifyResponse response;
  *response.mutable_progress() = progress_;
  return Send(response);
}

absl::Status VerifyWalk::Send(const v1::VerifyResponse& response) {
  if (writer_->Write(response)) return absl::OkStatus();
  return absl::CancelledError("the caller has gone");
}

}  // namespace larder
