// How the gRPC threads reach the core, and how what they hold there is given back.
#pragma once

#include <grpcpp/server_context.h>

#include <functional>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "absl/functional/function_ref.h"
#include "common/clock.h"
#include "common/ids.h"
#include "common/status.h"
#include "daemon/core/core.h"
#include "daemon/node/node.h"

namespace larder {

// What an RPC needs to know of a space; a copy, since the space belongs to the event loop.
struct SpaceInfo {
  SpaceHandle handle = 0;
  SpaceId id;
  SpaceDescription description;
  uint64_t whole_payload_bytes = 0;
};
SpaceInfo InfoOf(const Space& space);

// The space of `id`, NOT_FOUND without one. For use inside a task.
absl::StatusOr<const Space*> SpaceById(const Core& core, const SpaceId& id);

// Shared by all RPCs; thread-safe. Owns their session with the core, which is opened by the first
// task, so that the node need not run before the server starts. `node` outlives it.
class CoreAccess {
 public:
  // Runs on the event loop's thread, with the session of all RPCs.
  using Task = absl::FunctionRef<absl::Status(Core&, SessionId, MonotonicTime now)>;

  explicit CoreAccess(Node* node) : node_(node) {}
  // Ends what is still held. REQUIRES: no RPC runs any more.
  ~CoreAccess();

  // Runs `task` and returns its status. DEADLINE_EXCEEDED when it could not begin within the RPC's
  // deadline or a few seconds, whichever is sooner; it then never runs. CANCELLED without running
  // it when nobody waits for the RPC any more.
  absl::Status Run(const grpc::ServerContext& context, Task task);

  // Runs `look` while it says that it is to be found out where chunks are, a moment later each
  // time; the last time it may not wait any more.
  using Look = absl::FunctionRef<absl::StatusOr<bool>(Core&, bool may_wait, MonotonicTime now)>;
  absl::Status RunUntilLocated(const grpc::ServerContext& context, Look look);

  // Runs `task` soon: now, or before the next task when the loop is too busy.
  void RunEventually(std::function<void(Core&, SessionId)> task);

  absl::StatusOr<SpaceInfo> FindSpace(const grpc::ServerContext& context, const SpaceId& id);
  absl::StatusOr<SpaceInfo> OpenSpace(const grpc::ServerContext& context,
                                      const SpaceDescription& description);

  Node& node() { return *node_; }
  std::span<uint8_t> arena_data() const { return node_->arena_data(); }

 private:
  absl::Status RunUntil(MonotonicTime deadline, Task task);

  Node* const node_;
  SessionId session_;  // belongs to the event loop's thread
  std::mutex mutex_;
  std::vector<std::function<void(Core&, SessionId)>> owed_;
};

// Holds a lease and gives it back, whatever happens. Not thread-safe. `access` outlives it.
class ScopedLease {
 public:
  explicit ScopedLease(CoreAccess* access) : access_(access) {}
  ~ScopedLease() { Release(); }
  ScopedLease(const ScopedLease&) = delete;
  ScopedLease& operator=(const ScopedLease&) = delete;

  void Hold(LeaseId lease) { lease_ = lease; }
  void Release();

 private:
  CoreAccess* const access_;
  LeaseId lease_;
};

// Likewise a reservation, which is aborted unless it was committed.
class ScopedReservation {
 public:
  explicit ScopedReservation(CoreAccess* access) : access_(access) {}
  ~ScopedReservation();
  ScopedReservation(const ScopedReservation&) = delete;
  ScopedReservation& operator=(const ScopedReservation&) = delete;

  void Hold(ReservationId reservation) { reservation_ = reservation; }
  ReservationId id() const { return reservation_; }
  void Committed() { reservation_ = {}; }

 private:
  CoreAccess* const access_;
  ReservationId reservation_;
};

}  // namespace larder
