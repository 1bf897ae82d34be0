// Turns a client's frames into calls of the core and the core's answers into frames.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "common/clock.h"
#include "common/ids.h"
#include "common/status.h"
#include "daemon/core/core.h"
#include "transport/local/frame.h"
#include "transport/local/message_codec.h"
#include "transport/local/message_format.h"

namespace larder {

// So many copies of a chunk, or one at that node.
struct CopiesWanted {
  uint32_t copies = 0;
  std::string node;
  MonotonicTime deadline;
};

// What the handler needs from the node around it.
struct RequestHandlerHooks {
  // A client asks for this space; OK once it is open and will be known after a restart.
  std::function<absl::StatusOr<SpaceHandle>(const SpaceDescription&)> open_space;
  // A client says that these chunks failed their checksum; nothing is taken on its word.
  std::function<void(SpaceHandle, std::vector<KeyHash>)> report_corrupt;
  // Copies of a chunk are wanted on other nodes. The number of the wish, for OnCopied; 0: it can't
  // be had. Null without other nodes.
  std::function<uint64_t(SpaceHandle, const KeyHash&, const CopiesWanted&, MonotonicTime now)>
      replicate = {};
  // The name of another node that Core::Places speaks of. Not called without other nodes.
  std::function<std::string(uint16_t)> node_name = {};
};

// A request frame is hostile input: everything in it is bounded before use. Not thread-safe; owned
// by the event loop, like the core. `arena_data` is the arena's mapping, into which clients write.
class RequestHandler {
 public:
  RequestHandler(Core* core, std::span<const uint8_t> arena_data, RequestHandlerHooks hooks)
      : core_(core), arena_data_(arena_data), hooks_(std::move(hooks)) {}

  // The answer to one frame; payload is valid until the next call.
  struct Reply {
    bool wanted = true;  // false: the operation has no reply
    FrameLabel label;
    std::span<const uint8_t> payload;
  };
  // A request that waits for chunks, or to hear where they are, gets a reply that is not wanted
  // now; see AnswerWaiting.
  Reply Handle(SessionId session, const Frame& frame, MonotonicTime now);

  // Requests that wait for what comes from disk or other nodes. Answers those for which enough is
  // there or time is over, if `can_answer` their session; the others go on waiting.
  void AnswerWaiting(MonotonicTime now, absl::FunctionRef<bool(SessionId)> can_answer,
                     absl::FunctionRef<void(SessionId, const Reply&)> answer);
  bool has_waiting() const { return !waiting_.empty() || !replicating_.empty(); }
  // A wish for copies has ended. The next AnswerWaiting answers requests that have no others.
  void OnCopied(uint64_t wish, bool copied);
  // Whether there is such a request.
  bool has_copied() const { return has_copied_; }
  // When the next of them is to be answered, whatever has come by then. Those that could not be
  // answered in time are not counted.
  std::optional<MonotonicTime> next_deadline() const { return next_deadline_; }
  void ForgetSession(SessionId session);

 private:
  struct Waiting {
    SessionId session;
    uint64_t request_id = 0;
    Opcode opcode = Opcode::kMatch;  // or kAcquire
    KeysRequest request = {};
    std::vector<KeyHash> keys = {};
    MonotonicTime deadline = {};
  };

  struct Replicating {
    SessionId session;
    uint64_t request_id = 0;
    absl::flat_hash_set<uint64_t> wishes;  // under way
    ReplicateReply reply = {};
  };

  absl::Status Dispatch(SessionId session, const Frame& frame, MonotonicTime now);
  absl::Status OpenSpace(MessageReader& reader);
  // kMatch and kAcquire.
  absl::Status LookUp(SessionId session, Opcode opcode, MessageReader& reader, uint64_t request_id,
                      MonotonicTime now);
  // Writes the reply, unless `may_wait` and it is worth waiting: then they return true.
  absl::StatusOr<bool> TryLookUp(const Waiting& request, bool may_wait, MonotonicTime now);
  absl::StatusOr<bool> TryMatch(const KeysRequest& request, std::span<const KeyHash> keys,
                                bool may_wait, MonotonicTime now);
  absl::StatusOr<bool> TryAcquire(SessionId session, const KeysRequest& request,
                                  std::span<const KeyHash> keys, bool may_wait, MonotonicTime now);
  void KeepWaiting(Waiting request);
  void NoteDeadline(MonotonicTime deadline);
  Reply MakeReply(uint16_t opcode, uint64_t request_id, const absl::Status& status);
  absl::Status Reserve(SessionId session, MessageReader& reader, MonotonicTime now);
  absl::Status Commit(SessionId session, MessageReader& reader, MonotonicTime now);
  absl::Status Abort(SessionId session, MessageReader& reader);
  absl::Status CountKeys(Opcode opcode, MessageReader& reader, MonotonicTime now);
  absl::Status Hint(MessageReader& reader, MonotonicTime now);
  absl::Status Replicate(SessionId session, MessageReader& reader, uint64_t request_id,
                         MonotonicTime now);
  void AnswerCopied(absl::FunctionRef<bool(SessionId)> can_answer,
                    absl::FunctionRef<void(SessionId, const Reply&)> answer);
  absl::Status Stats(MessageReader& reader);
  absl::Status ReportCorrupt(MessageReader& reader);
  absl::StatusOr<KeysRequest> ReadKeys(MessageReader& reader, Opcode opcode,
                                       absl::string_view what);

  Core* const core_;
  const std::span<const uint8_t> arena_data_;
  const RequestHandlerHooks hooks_;
  MessageWriter writer_;
  std::vector<KeyHash> keys_;
  std::vector<Waiting> waiting_;
  size_t waiting_keys_ = 0;  // of all of them
  std::optional<MonotonicTime> next_deadline_;
  std::vector<Replicating> replicating_;
  bool has_copied_ = false;
  bool waits_ = false;  // the request in hand
};

// OK when a whole and unmistakable container of this reservation lies in its extent. The planes'
// bytes are not summed: every reader does that. `cuts`, if any, gets where its levels end.
absl::Status CheckReservedContainer(const Core& core, const Reservation& reservation,
                                    std::span<const uint8_t> arena_data, BlockCuts* cuts = nullptr);

}  // namespace larder
