#include "daemon/node/verifier.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "common/hash.h"
#include "daemon/node/log.h"
#include "kernels/format/container.h"

namespace larder {
namespace {

constexpr size_t kJobsMax = 256;
constexpr auto kFullQueuePause = std::chrono::milliseconds(1);

}  // namespace

absl::Status CheckStoredChunk(std::span<const uint8_t> arena_data, const Manifest& manifest,
                              const SpaceId& space, const KeyHash& key,
                              std::span<const BlockExtent> extents) {
  for (const BlockExtent& extent : extents) {
    ASSIGN_OR_RETURN(const ContainerView view,
                     ContainerView::Parse(arena_data.subspan(extent.offset, extent.bytes)));
    RETURN_IF_ERROR(view.CheckIdentity(manifest, space, view.identity().key, extent.part));
    if (HashKey(view.identity().key) != key) {
      return absl::DataLossError("the container's key is another chunk's");
    }
    RETURN_IF_ERROR(view.VerifyBodies());
  }
  return absl::OkStatus();
}

Verifier::Verifier(Core* core, TaskQueue* tasks, std::span<const uint8_t> arena_data)
    : core_(core), tasks_(tasks), arena_data_(arena_data), jobs_(kJobsMax) {
  if (const auto session = core_->OpenSession(); session.ok()) session_ = *session;
  thread_ = std::thread([this] { Run(); });
}

Verifier::~Verifier() { Stop(); }

void Verifier::Stop() {
  stopping_.store(true);
  jobs_.Close();
  while (jobs_.TryPop()) {
  }
  if (thread_.joinable()) thread_.join();
}

void Verifier::Verify(SpaceHandle space, std::span<const KeyHash> keys, MonotonicTime now) {
  const Space* description = core_->FindSpace(space);
  if (description == nullptr) return;
  for (const KeyHash& key : keys) {
    const Manifest& manifest = description->description.manifest;
    absl::StatusOr<AcquireResult> acquired =
        core_->Acquire(session_, space, std::span(&key, 1), manifest.WholePart(), now);
    if (!acquired.ok() || !acquired->lease) continue;
    const LeaseId lease = acquired->lease;
    Job job{.space = space,
            .key = key,
            .lease = lease,
            .manifest = manifest,
            .space_id = description->id,
            .extents = std::move(acquired->extents)};
    if (!jobs_.TryPush(std::move(job))) (void)core_->Release(session_, lease);
  }
}

void Verifier::Run() {
  while (const std::optional<Job> job = jobs_.Pop()) {
    const absl::Status sound =
        CheckStoredChunk(arena_data_, job->manifest, job->space_id, job->key, job->extents);
    // Text, not the status: each thread has its own copy.
    Report(*job, sound.ok() ? std::nullopt : std::optional(std::string(sound.message())));
  }
}

void Verifier::Report(const Job& job, const std::optional<std::string>& damage) {
  const auto finish = [this, job, damage] { Finish(job, damage); };
  // The loop is busy, not gone: the lease must come back to it.
  while (absl::IsResourceExhausted(tasks_->Post(finish)) && !stopping_.load()) {
    std::this_thread::sleep_for(kFullQueuePause);
  }
}

void Verifier::Finish(const Job& job, const std::optional<std::string>& damage) {
  if (damage) {
    const std::optional<ChunkInfo> stored = core_->Inspect(job.space, job.key);
    // Removed and put again meanwhile, it lies elsewhere: the lease keeps its old place occupied.
    if (stored && std::find(stored->extents.begin(), stored->extents.end(), job.extents.front()) !=
                      stored->extents.end()) {
      LogError("corrupt chunk removed", {{"key", ToString(job.key)}, {"why", *damage}});
      (void)core_->Remove(job.space, std::span(&job.key, 1), RemovalCause::kCorrupt);
    }
  }
  (void)core_->Release(session_, job.lease);
}

}  // namespace larder
