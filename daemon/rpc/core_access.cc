#include "daemon/rpc/core_access.h"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

// How long one task waits for its turn, even when its RPC may take longer.
constexpr absl::Duration kTaskDeadlineMax = absl::Seconds(5);
// At the end the loop may have ended already.
constexpr absl::Duration kFarewellDeadline = absl::Milliseconds(100);
// Looks whether it is known where chunks are, and between two; the cluster gives up earlier.
constexpr int kLooksMax = 100;
constexpr auto kLookPause = std::chrono::milliseconds(1);

absl::Duration TimeLeft(const grpc::ServerContext& context) {
  const auto left = context.deadline() - std::chrono::system_clock::now();
  const auto most = std::chrono::nanoseconds(absl::ToInt64Nanoseconds(kTaskDeadlineMax));
  return absl::FromChrono(
      std::clamp<std::chrono::nanoseconds>(left, std::chrono::nanoseconds::zero(), most));
}

}  // namespace

SpaceInfo InfoOf(const Space& space) {
  return {.handle = space.handle,
          .id = space.id,
          .description = space.description,
          .whole_payload_bytes = space.whole_payload_bytes};
}

absl::StatusOr<const Space*> SpaceById(const Core& core, const SpaceId& id) {
  const std::optional<SpaceHandle> handle = core.FindSpace(id);
  if (!handle) return absl::NotFoundError(absl::StrCat("space_id: no space ", ToString(id)));
  return core.FindSpace(*handle);
}

CoreAccess::~CoreAccess() {
  (void)RunUntil(SystemClock::Get().Now() + kFarewellDeadline,
                 [](Core& core, SessionId session, MonotonicTime) {
                   core.CloseSession(session);
                   return absl::OkStatus();
                 });
}

absl::Status CoreAccess::Run(const grpc::ServerContext& context, Task task) {
  if (context.IsCancelled()) return absl::CancelledError("the caller has gone");
  return RunUntil(SystemClock::Get().Now() + TimeLeft(context), task);
}

absl::Status CoreAccess::RunUntil(MonotonicTime deadline, Task task) {
  absl::Status result;
  const absl::Status ran = node_->WithCore(deadline, [&](Core& core, MonotonicTime now) {
    if (!session_) {
      const absl::StatusOr<SessionId> session = core.OpenSession();
      if (!session.ok()) {
        result = session.status();
        return;
      }
      session_ = *session;
    }
    std::vector<std::function<void(Core&, SessionId)>> owed;
    {
      std::lock_guard lock(mutex_);
      owed = std::exchange(owed_, {});
    }
    for (const auto& debt : owed) debt(core, session_);
    result = task(core, session_, now);
  });
  RETURN_IF_ERROR(ran);
  return result;
}

absl::Status CoreAccess::RunUntilLocated(const grpc::ServerContext& context, Look look) {
  bool waits = true;
  for (int looks = 1; waits; ++looks) {
    const bool may_wait = looks < kLooksMax;
    RETURN_IF_ERROR(Run(context, [&](Core& core, SessionId, MonotonicTime now) -> absl::Status {
      ASSIGN_OR_RETURN(const bool locating, look(core, may_wait, now));
      waits = locating && may_wait;
      return absl::OkStatus();
    }));
    if (waits) std::this_thread::sleep_for(kLookPause);
  }
  return absl::OkStatus();
}

void CoreAccess::RunEventually(std::function<void(Core&, SessionId)> task) {
  {
    // At most one a lease or reservation, and those are bounded by the core.
    std::lock_guard lock(mutex_);
    owed_.push_back(std::move(task));
  }
  (void)RunUntil(SystemClock::Get().Now() + kTaskDeadlineMax,
                 [](Core&, SessionId, MonotonicTime) { return absl::OkStatus(); });
}

absl::StatusOr<SpaceInfo> CoreAccess::FindSpace(const grpc::ServerContext& context,
                                                const SpaceId& id) {
  SpaceInfo info;
  RETURN_IF_ERROR(Run(context, [&](Core& core, SessionId, MonotonicTime) -> absl::Status {
    ASSIGN_OR_RETURN(const Space* space, SpaceById(core, id));
    info = InfoOf(*space);
    return absl::OkStatus();
  }));
  return info;
}

absl::StatusOr<SpaceInfo> CoreAccess::OpenSpace(const grpc::ServerContext& context,
                                                const SpaceDescription& description) {
  SpaceInfo info;
  RETURN_IF_ERROR(Run(context, [&](Core& core, SessionId, MonotonicTime) -> absl::Status {
    ASSIGN_OR_RETURN(const SpaceHandle handle, node_->OpenSpace(description));
    info = InfoOf(*core.FindSpace(handle));
    return absl::OkStatus();
  }));
  return info;
}

void ScopedLease::Release() {
  if (!lease_) return;
  access_->RunEventually([lease = std::exchange(lease_, {})](Core& core, SessionId session) {
    (void)core.Release(session, lease);
  });
}

ScopedReservation::~ScopedReservation() {
  if (!reservation_) return;
  access_->RunEventually([reservation = reservation_](Core& core, SessionId session) {
    (void)core.Abort(session, reservation);
  });
}

}  // namespace larder
