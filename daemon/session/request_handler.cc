#include "daemon/session/request_handler.h"

#include <algorithm>
#include <bit>
#include <limits>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/strings/str_cat.h"
#include "common/hash.h"
#include "daemon/core/level_cuts.h"
#include "kernels/format/container.h"

namespace larder {
namespace {

// Requests that wait for chunks at once, and their keys; and the longest that one waits.
constexpr size_t kWaitingMax = 4096;
constexpr size_t kWaitingKeysMax = size_t{1} << 20;
constexpr absl::Duration kWaitMax = absl::Seconds(60);
// The longest that a match waits to hear where chunks are; the cluster gives up earlier.
constexpr absl::Duration kLocateWaitMax = absl::Milliseconds(100);
// Requests that wait for copies on other nodes.
constexpr size_t kReplicatingMax = 1024;

absl::Duration DurationOrInfinite(uint64_t milliseconds) {
  // A century is as good as forever and cannot overflow when it is added to a time.
  constexpr uint64_t kCenturyMs = uint64_t{100} * 365 * 24 * 3600 * 1000;
  if (milliseconds == 0 || milliseconds > kCenturyMs) return absl::InfiniteDuration();
  return absl::Milliseconds(milliseconds);
}

bool HasReply(Opcode opcode) {
  return opcode != Opcode::kRelease && opcode != Opcode::kAbort && opcode != Opcode::kReportCorrupt;
}

// Reserved fields and unknown flags are zero, so that a later version can give them a meaning.
absl::Status CheckZero(absl::string_view what, uint64_t value) {
  if (value == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, ": a reserved field or an unknown flag is not zero"));
}

static_assert(static_cast<int>(ChunkPlace::Tier::kMemory) == kPlaceMemory);
static_assert(static_cast<int>(ChunkPlace::Tier::kDisk) == kPlaceDisk);
static_assert(static_cast<int>(ChunkPlace::Tier::kPeerMemory) == kPlacePeerMemory);
static_assert(static_cast<int>(ChunkPlace::Tier::kPeerDisk) == kPlacePeerDisk);

bool IsAtPeer(const ChunkPlace& place) {
  return place.tier == ChunkPlace::Tier::kPeerMemory || place.tier == ChunkPlace::Tier::kPeerDisk;
}

ChunkPlaceMessage ToMessage(const ChunkPlace& place) {
  constexpr int64_t kPredictedUsMax = std::numeric_limits<uint32_t>::max();
  const int64_t predicted_us = absl::ToInt64Microseconds(place.predicted);
  return {
      .place = static_cast<uint8_t>(place.tier),
      .reserved = 0,
      .node = place.node,
      .predicted_us = static_cast<uint32_t>(std::clamp<int64_t>(predicted_us, 0, kPredictedUsMax))};
}

NodeNameMessage NameMessage(uint16_t node, absl::string_view name) {
  NodeNameMessage message{};
  message.node = node;
  message.name_bytes = static_cast<uint16_t>(std::min(name.size(), sizeof(message.name)));
  std::copy_n(name.data(), message.name_bytes, message.name);
  return message;
}

// Names the closest relative of a new space, which is where an operator should look when hits stay
// away: same tenant and model, another manifest.
std::string RelativeNote(const Core& core, const Space& space) {
  for (const auto& other : core.spaces()) {
    if (other->id == space.id || other->description.tenant != space.description.tenant ||
        other->description.manifest.model != space.description.manifest.model ||
        other->description.manifest == space.description.manifest) {
      continue;
    }
    return absl::StrCat(
        "space ", ToString(other->id), " of the same model differs in ",
        DescribeDifference(other->description.manifest, space.description.manifest));
  }
  return "";
}

}  // namespace

absl::Status CheckReservedContainer(const Core& core, const Reservation& reservation,
                                    std::span<const uint8_t> arena_data, BlockCuts* cuts) {
  const Space* space = core.FindSpace(reservation.space);
  ASSIGN_OR_RETURN(const ContainerView view,
                   ContainerView::Parse(arena_data.subspan(reservation.offset, reservation.bytes)));
  const ChunkIdentity& identity = view.identity();
  RETURN_IF_ERROR(
      view.CheckIdentity(space->description.manifest, space->id, identity.key, reservation.part));
  if (HashKey(identity.key) != reservation.key) {
    return absl::DataLossError("the container's key is not the one that was reserved");
  }
  if (identity.parent != reservation.parent || identity.depth != reservation.depth) {
    return absl::DataLossError("the container's parent or depth is not what was reserved");
  }
  if (cuts != nullptr) *cuts = CutsOf(view);
  return absl::OkStatus();
}

RequestHandler::Reply RequestHandler::Handle(SessionId session, const Frame& frame,
                                             MonotonicTime now) {
  writer_.Clear();
  waits_ = false;
  absl::Status status = CheckZero("request frame", frame.header.status | frame.header.reserved);
  if (status.ok()) status = Dispatch(session, frame, now);
  return MakeReply(frame.header.opcode, frame.header.request_id, status);
}

RequestHandler::Reply RequestHandler::MakeReply(uint16_t opcode, uint64_t request_id,
                                                const absl::Status& status) {
  if (!status.ok()) {
    writer_.Clear();
    writer_.WriteText(absl::string_view(status.message()).substr(0, kFramePayloadBytesMax));
  }
  return {.wanted = HasReply(static_cast<Opcode>(opcode)) && !waits_,
          .label = {.opcode = opcode, .status = status.code(), .request_id = request_id},
          .payload = writer_.payload()};
}

absl::Status RequestHandler::Dispatch(SessionId session, const Frame& frame, MonotonicTime now) {
  const auto opcode = static_cast<Opcode>(frame.header.opcode);
  MessageReader reader(frame.payload);
  switch (opcode) {
    case Opcode::kOpenSpace:
      return OpenSpace(reader);
    case Opcode::kMatch:
    case Opcode::kAcquire:
      return LookUp(session, opcode, reader, frame.header.request_id, now);
    case Opcode::kRelease: {
      const auto request = reader.Read<ReleaseRequest>();
      RETURN_IF_ERROR(reader.Finish("release"));
      return core_->Release(session, LeaseId{request.lease});
    }
    case Opcode::kReserve:
      return Reserve(session, reader, now);
    case Opcode::kCommit:
      return Commit(session, reader, now);
    case Opcode::kAbort:
      return Abort(session, reader);
    case Opcode::kTouch:
    case Opcode::kPin:
    case Opcode::kUnpin:
    case Opcode::kRemove:
      return CountKeys(opcode, reader, now);
    case Opcode::kStats:
      return Stats(reader);
    case Opcode::kReportCorrupt:
      return ReportCorrupt(reader);
    case Opcode::kHint:
      return Hint(reader, now);
    case Opcode::kReplicate:
      return Replicate(session, reader, frame.header.request_id, now);
  }
  return absl::UnimplementedError(
      absl::StrCat("opcode ", static_cast<int>(opcode), " is not known to this daemon"));
}

absl::Status RequestHandler::OpenSpace(MessageReader& reader) {
  const auto request = reader.Read<OpenSpaceRequest>();
  if (request.tenant_bytes > kTenantBytesMax || request.salt_bytes > kSaltBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("open space: tenant or salt longer than ",
                                                   kTenantBytesMax, " or ", kSaltBytesMax,
                                                   " bytes"));
  }
  SpaceDescription description;
  description.tenant = std::string(reader.ReadText(request.tenant_bytes));
  description.salt = std::string(reader.ReadText(request.salt_bytes));
  const std::span<const uint8_t> manifest = reader.ReadBytes(request.manifest_bytes);
  RETURN_IF_ERROR(reader.Finish("open space"));
  RETURN_IF_ERROR(CheckZero("open space", request.reserved));
  ASSIGN_OR_RETURN(description.manifest, Manifest::Parse(manifest));
  const SpaceId id =
      ComputeSpaceId(description.tenant, description.manifest.Id(), description.salt);
  if (id != SpaceId{request.space_id_low, request.space_id_high}) {
    return absl::FailedPreconditionError(absl::StrCat(
        "client and daemon disagree on what the manifest means: the client computed ",
        ToHex(request.space_id_high, request.space_id_low), ", the daemon ", ToString(id)));
  }
  ASSIGN_OR_RETURN(const SpaceHandle handle, hooks_.open_space(description));
  const std::string note = RelativeNote(*core_, *core_->FindSpace(handle));
  writer_.Write(OpenSpaceReply{.space = handle, .note_bytes = static_cast<uint32_t>(note.size())});
  writer_.WriteText(note);
  return absl::OkStatus();
}

absl::StatusOr<KeysRequest> RequestHandler::ReadKeys(MessageReader& reader, Opcode opcode,
                                                     absl::string_view what) {
  static_assert(sizeof(KeyHash) == sizeof(KeyHashMessage));
  const auto request = reader.Read<KeysRequest>();
  keys_ = reader.ReadArray<KeyHash>(request.key_count, kMessageKeysMax);
  RETURN_IF_ERROR(reader.Finish(what));
  uint32_t known_flags = 0;
  uint64_t unused = request.wait_ms_or_chunks_min | std::bit_cast<uint64_t>(request.part);
  if (opcode == Opcode::kMatch) {
    unused = std::bit_cast<uint64_t>(request.part);
    known_flags = kMatchTouches | kMatchPlaces | kMatchLocalOnly;
  } else if (opcode == Opcode::kAcquire) {
    known_flags = kAcquireLoads | kAcquireWaitsForAll | kAcquireLocalOnly;
    unused = 0;
  }
  RETURN_IF_ERROR(CheckZero(what, unused | (request.flags & ~known_flags)));
  return request;
}

absl::StatusOr<bool> RequestHandler::TryMatch(const KeysRequest& request,
                                              std::span<const KeyHash> keys, bool may_wait,
                                              MonotonicTime now) {
  const LookupOptions options{.touch = (request.flags & kMatchTouches) != 0,
                              .local_only = (request.flags & kMatchLocalOnly) != 0,
                              .chunks_min = request.wait_ms_or_chunks_min,
                              .may_wait = may_wait};
  ASSIGN_OR_RETURN(const PrefixMatch result, core_->Match(request.space, keys, options, now));
  if (result.locating) return true;
  std::vector<ChunkPlace> places;
  if ((request.flags & kMatchPlaces) != 0) {
    places = core_->Places(request.space, keys.first(result.chunks), now);
  }
  absl::btree_map<uint16_t, std::string> nodes;
  for (const ChunkPlace& place : places) {
    if (IsAtPeer(place) && !nodes.contains(place.node)) {
      nodes[place.node] = hooks_.node_name(place.node);
    }
  }
  writer_.Write(MatchReply{.chunks = result.chunks,
                           .memory_chunks = result.memory_chunks,
                           .tokens = result.tokens,
                           .bytes = result.bytes,
                           .peer_chunks = result.peer_chunks,
                           .place_count = static_cast<uint16_t>(places.size()),
                           .node_count = static_cast<uint16_t>(nodes.size())});
  writer_.WriteArray<ChunkPlaceMessage>(places.size(),
                                        [&](size_t i) { return ToMessage(places[i]); });
  for (const auto& [node, name] : nodes) writer_.Write(NameMessage(node, name));
  return false;
}

absl::Status RequestHandler::LookUp(SessionId session, Opcode opcode, MessageReader& reader,
                                    uint64_t request_id, MonotonicTime now) {
  const bool match = opcode == Opcode::kMatch;
  Waiting waiting{.session = session, .request_id = request_id, .opcode = opcode};
  ASSIGN_OR_RETURN(waiting.request, ReadKeys(reader, opcode, match ? "match" : "acquire"));
  waiting.keys = std::move(keys_);
  const absl::Duration wait =
      match ? kLocateWaitMax
            : std::min(absl::Milliseconds(waiting.request.wait_ms_or_chunks_min), kWaitMax);
  waiting.deadline = now + wait;
  const bool may_wait = wait > absl::ZeroDuration() && waiting_.size() < kWaitingMax &&
                        waiting_keys_ + waiting.keys.size() <= kWaitingKeysMax;
  ASSIGN_OR_RETURN(waits_, TryLookUp(waiting, may_wait, now));
  if (waits_) {
    NoteDeadline(waiting.deadline);
    KeepWaiting(std::move(waiting));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> RequestHandler::TryLookUp(const Waiting& request, bool may_wait,
                                               MonotonicTime now) {
  if (request.opcode == Opcode::kMatch) {
    return TryMatch(request.request, request.keys, may_wait, now);
  }
  return TryAcquire(request.session, request.request, request.keys, may_wait, now);
}

void RequestHandler::NoteDeadline(MonotonicTime deadline) {
  next_deadline_ = std::min(next_deadline_.value_or(deadline), deadline);
}

absl::StatusOr<bool> RequestHandler::TryAcquire(SessionId session, const KeysRequest& request,
                                                std::span<const KeyHash> keys, bool may_wait,
                                                MonotonicTime now) {
  const bool loads = (request.flags & kAcquireLoads) != 0;
  const bool local_only = (request.flags & kAcquireLocalOnly) != 0;
  if (may_wait && (request.flags & kAcquireWaitsForAll) != 0) {
    const Core::LoadResult load = core_->Load(request.space, keys, local_only, now);
    if (load.coming > load.in_memory) return true;
  }
  ASSIGN_OR_RETURN(
      const AcquireResult result,
      core_->Acquire(session, request.space, keys, std::bit_cast<Part>(request.part), now));
  Core::LoadResult load;
  if (loads && result.chunks.size() < keys.size()) {
    load = core_->Load(request.space, keys.subspan(result.chunks.size()), local_only, now);
    if (may_wait && result.chunks.empty() && load.coming > load.in_memory) return true;
  }
  const size_t bytes = sizeof(AcquireReply) + result.chunks.size() * sizeof(LeasedChunkMessage) +
                       result.extents.size() * sizeof(ExtentMessage);
  if (bytes > kFramePayloadBytesMax) {
    (void)core_->Release(session, result.lease);
    return absl::ResourceExhaustedError(absl::StrCat("acquire: ", result.extents.size(),
                                                     " parts do not fit one frame; ask for "
                                                     "fewer chunks at a time"));
  }
  writer_.Write(AcquireReply{.lease = result.lease.value,
                             .chunk_count = static_cast<uint32_t>(result.chunks.size()),
                             .extent_count = static_cast<uint32_t>(result.extents.size()),
                             .coming_count = load.coming,
                             .reserved = 0});
  writer_.WriteArray<LeasedChunkMessage>(result.chunks.size(), [&](size_t i) {
    return LeasedChunkMessage{result.chunks[i].first_extent, result.chunks[i].extent_count};
  });
  writer_.WriteArray<ExtentMessage>(result.extents.size(), [&](size_t i) {
    const BlockExtent& extent = result.extents[i];
    return ExtentMessage{extent.offset, extent.bytes, std::bit_cast<PartMessage>(extent.part)};
  });
  return false;
}

void RequestHandler::AnswerWaiting(MonotonicTime now, absl::FunctionRef<bool(SessionId)> can_answer,
                                   absl::FunctionRef<void(SessionId, const Reply&)> answer) {
  if (has_copied_) AnswerCopied(can_answer, answer);
  std::vector<Waiting> waiting = std::exchange(waiting_, {});
  waiting_keys_ = 0;
  next_deadline_.reset();
  for (Waiting& request : waiting) {
    writer_.Clear();
    waits_ = false;
    absl::StatusOr<bool> waits = true;
    if (can_answer(request.session)) waits = TryLookUp(request, now < request.deadline, now);
    if (waits.ok() && *waits) {
      if (request.deadline > now) NoteDeadline(request.deadline);
      KeepWaiting(std::move(request));
      continue;
    }
    answer(request.session,
           MakeReply(static_cast<uint16_t>(request.opcode), request.request_id, waits.status()));
  }
}

void RequestHandler::OnCopied(uint64_t wish, bool copied) {
  for (Replicating& request : replicating_) {
    if (request.wishes.erase(wish) == 0) continue;
    request.reply.copied += copied ? 1 : 0;
    has_copied_ |= request.wishes.empty();
    return;
  }
}

void RequestHandler::AnswerCopied(absl::FunctionRef<bool(SessionId)> can_answer,
                                  absl::FunctionRef<void(SessionId, const Reply&)> answer) {
  has_copied_ = false;
  for (size_t i = 0; i < replicating_.size();) {
    const Replicating& request = replicating_[i];
    if (!request.wishes.empty() || !can_answer(request.session)) {
      has_copied_ |= request.wishes.empty();
      ++i;
      continue;
    }
    waits_ = false;
    writer_.Clear();
    writer_.Write(request.reply);
    answer(request.session, MakeReply(static_cast<uint16_t>(Opcode::kReplicate), request.request_id,
                                      absl::OkStatus()));
    replicating_.erase(replicating_.begin() + static_cast<ptrdiff_t>(i));
  }
}

void RequestHandler::KeepWaiting(Waiting request) {
  waiting_keys_ += request.keys.size();
  waiting_.push_back(std::move(request));
}

void RequestHandler::ForgetSession(SessionId session) {
  std::erase_if(waiting_, [&](const Waiting& waiting) {
    if (waiting.session != session) return false;
    waiting_keys_ -= waiting.keys.size();
    return true;
  });
  std::erase_if(replicating_,
                [&](const Replicating& request) { return request.session == session; });
}

absl::Status RequestHandler::Reserve(SessionId session, MessageReader& reader, MonotonicTime now) {
  const auto request = reader.Read<ReserveRequest>();
  const auto messages = reader.ReadArray<ReserveItemMessage>(request.item_count, kMessageItemsMax);
  RETURN_IF_ERROR(reader.Finish("reserve"));
  constexpr uint32_t kKnownFlags = kReservePins | kReserveCategoryMask;
  RETURN_IF_ERROR(CheckZero("reserve", request.reserved | (request.flags & ~kKnownFlags)));
  std::vector<ReserveItem> items;
  items.reserve(messages.size());
  for (const ReserveItemMessage& message : messages) {
    RETURN_IF_ERROR(CheckZero("reserve: item", message.reserved));
    items.push_back({.key = std::bit_cast<KeyHash>(message.key),
                     .parent = std::bit_cast<KeyHash>(message.parent),
                     .depth = message.depth,
                     .part = std::bit_cast<Part>(message.part),
                     .bytes = message.bytes});
  }
  const ReserveOptions options{
      .deadline = DurationOrInfinite(request.deadline_ms),
      .ttl = DurationOrInfinite(request.ttl_ms),
      .pin = (request.flags & kReservePins) != 0,
      .category =
          static_cast<uint8_t>((request.flags & kReserveCategoryMask) >> kReserveCategoryShift)};
  ASSIGN_OR_RETURN(const std::vector<ReserveOutcome> outcomes,
                   core_->Reserve(session, request.space, items, options, now));
  for (const ReserveOutcome& outcome : outcomes) {
    writer_.Write(ReserveOutcomeMessage{.kind = static_cast<uint32_t>(outcome.kind),
                                        .reserved = 0,
                                        .reservation = outcome.id.value,
                                        .offset = outcome.offset});
  }
  return absl::OkStatus();
}

absl::Status RequestHandler::Commit(SessionId session, MessageReader& reader, MonotonicTime now) {
  const auto request = reader.Read<ReservationsRequest>();
  const auto ids = reader.ReadArray<ReservationId>(request.count, kMessageKeysMax);
  RETURN_IF_ERROR(reader.Finish("commit"));
  RETURN_IF_ERROR(CheckZero("commit", request.reserved));
  // A container that is not what was reserved never becomes visible.
  std::vector<ReservationId> sound;
  std::vector<absl::StatusCode> codes(ids.size(), absl::StatusCode::kOk);
  std::vector<size_t> positions;
  for (size_t i = 0; i < ids.size(); ++i) {
    const Reservation* reservation = core_->FindReservation(session, ids[i]);
    if (reservation != nullptr) {
      BlockCuts cuts;
      absl::Status checked = CheckReservedContainer(*core_, *reservation, arena_data_, &cuts);
      if (checked.ok()) checked = core_->SetCuts(session, ids[i], cuts);
      if (!checked.ok()) {
        codes[i] = checked.code();
        (void)core_->Abort(session, ids[i]);
        continue;
      }
    }
    sound.push_back(ids[i]);
    positions.push_back(i);
  }
  const std::vector<absl::Status> statuses = core_->Commit(session, sound, now);
  for (size_t i = 0; i < statuses.size(); ++i) codes[positions[i]] = statuses[i].code();
  for (absl::StatusCode code : codes) writer_.Write(static_cast<uint32_t>(code));
  return absl::OkStatus();
}

absl::Status RequestHandler::Abort(SessionId session, MessageReader& reader) {
  const auto request = reader.Read<ReservationsRequest>();
  const auto ids = reader.ReadArray<ReservationId>(request.count, kMessageKeysMax);
  RETURN_IF_ERROR(reader.Finish("abort"));
  RETURN_IF_ERROR(CheckZero("abort", request.reserved));
  for (ReservationId id : ids) (void)core_->Abort(session, id);
  return absl::OkStatus();
}

absl::Status RequestHandler::CountKeys(Opcode opcode, MessageReader& reader, MonotonicTime now) {
  ASSIGN_OR_RETURN(const KeysRequest request,
                   ReadKeys(reader, opcode, "touch, pin, unpin or remove"));
  absl::StatusOr<uint32_t> count;
  if (opcode == Opcode::kTouch) {
    count = core_->Touch(request.space, keys_, now);
  } else if (opcode == Opcode::kRemove) {
    count = core_->Remove(request.space, keys_, RemovalCause::kRemoved);
  } else {
    count = core_->SetPinned(request.space, keys_, opcode == Opcode::kPin);
  }
  RETURN_IF_ERROR(count.status());
  writer_.Write(CountReply{.count = *count, .reserved = 0});
  return absl::OkStatus();
}

absl::Status RequestHandler::Hint(MessageReader& reader, MonotonicTime now) {
  const auto request = reader.Read<HintRequest>();
  keys_ = reader.ReadArray<KeyHash>(request.key_count, kMessageKeysMax);
  RETURN_IF_ERROR(reader.Finish("hint"));
  constexpr uint32_t kKnownFlags =
      kHintNoNextUse | kHintSessionEnd | kHintPin | kHintHasPriority | kHintPriorityMask;
  RETURN_IF_ERROR(CheckZero("hint", request.reserved | (request.flags & ~kKnownFlags)));
  const auto duration = [](uint64_t milliseconds) -> std::optional<absl::Duration> {
    if (milliseconds == 0) return std::nullopt;
    return std::min(DurationOrInfinite(milliseconds), kTtlMax);
  };
  const uint32_t priority = (request.flags & kHintPriorityMask) >> kHintPriorityShift;
  const bool has_priority = (request.flags & kHintHasPriority) != 0;
  if (priority > static_cast<uint32_t>(ChunkPriority::kHigh) || (!has_priority && priority != 0)) {
    return absl::InvalidArgumentError(absl::StrCat("hint: no priority is ", priority));
  }
  Hints hints{.keep = duration(request.keep_ms),
              .next_use = duration(request.next_use_ms),
              .no_next_use = (request.flags & kHintNoNextUse) != 0,
              .session_end = (request.flags & kHintSessionEnd) != 0,
              .ttl = duration(request.ttl_ms),
              .priority = std::nullopt,
              .pin = (request.flags & kHintPin) != 0};
  if (has_priority) hints.priority = static_cast<ChunkPriority>(priority);
  ASSIGN_OR_RETURN(const HintReport report, core_->Hint(request.space, keys_, hints, now));
  writer_.Write(HintReply{.found = report.found,
                          .accepted = report.accepted,
                          .clipped = report.clipped,
                          .refused = report.refused});
  return absl::OkStatus();
}

absl::Status RequestHandler::Replicate(SessionId session, MessageReader& reader,
                                       uint64_t request_id, MonotonicTime now) {
  const auto request = reader.Read<ReplicateRequest>();
  keys_ = reader.ReadArray<KeyHash>(request.key_count, kMessageKeysMax);
  RETURN_IF_ERROR(reader.Finish("replicate"));
  RETURN_IF_ERROR(CheckZero("replicate", request.reserved));
  if (request.node_bytes > sizeof(request.node) ||
      (request.copies == 0) != (request.node_bytes > 0)) {
    return absl::InvalidArgumentError("replicate: says either how many copies, or on which node");
  }
  if (core_->FindSpace(request.space) == nullptr) {
    return absl::NotFoundError(absl::StrCat("no space has the handle ", request.space));
  }
  if (hooks_.replicate == nullptr) {
    return absl::FailedPreconditionError("replicate: this node belongs to no cluster");
  }
  if (replicating_.size() >= kReplicatingMax) {
    return absl::ResourceExhaustedError("replicate: too many such requests wait already");
  }
  const absl::Duration wait = std::min(absl::Milliseconds(request.wait_ms), kWaitMax);
  const CopiesWanted wanted{.copies = request.copies,
                            .node = std::string(request.node, request.node_bytes),
                            .deadline = now + (request.wait_ms == 0 ? kWaitMax : wait)};
  Replicating replicating{.session = session, .request_id = request_id, .wishes = {}, .reply = {}};
  for (const KeyHash& key : keys_) {
    const uint64_t wish = hooks_.replicate(request.space, key, wanted, now);
    if (wish == 0) continue;
    ++replicating.reply.accepted;
    replicating.wishes.insert(wish);
  }
  waits_ = request.wait_ms != 0 && !replicating.wishes.empty();
  if (waits_) {
    replicating_.push_back(std::move(replicating));
  } else {
    writer_.Write(replicating.reply);
  }
  return absl::OkStatus();
}

absl::Status RequestHandler::Stats(MessageReader& reader) {
  RETURN_IF_ERROR(reader.Finish("stats"));
  const CoreStats stats = core_->Stats();
  const DiskTierStats disk = core_->disk() == nullptr ? DiskTierStats{} : core_->disk()->Stats();
  writer_.Write(StatsReply{
      .data_bytes = stats.data_bytes,
      .used_bytes = stats.used_bytes,
      .pinned_bytes = stats.pinned_bytes,
      .reserved_bytes = stats.reserved_bytes,
      .chunks = stats.chunks,
      .sessions = stats.sessions,
      .leases = stats.leases,
      .reservations = stats.reservations,
      .evicted_chunks = stats.removed_chunks[static_cast<size_t>(RemovalCause::kCapacity)],
      .corrupt_chunks = stats.removed_chunks[static_cast<size_t>(RemovalCause::kCorrupt)],
      .disk_chunks = disk.chunks,
      .disk_demoting_bytes = stats.demoting_bytes,
      .disk_payload_bytes_written = disk.written_bytes,
      .disk_device_bytes_written = disk.device_bytes,
      .disk_loads = stats.disk_loads,
      .disk_demotions = stats.demotions});
  return absl::OkStatus();
}

absl::Status RequestHandler::ReportCorrupt(MessageReader& reader) {
  ASSIGN_OR_RETURN(const KeysRequest request,
                   ReadKeys(reader, Opcode::kReportCorrupt, "report corrupt"));
  if (core_->FindSpace(request.space) == nullptr) {
    return absl::NotFoundError(absl::StrCat("no space has the handle ", request.space));
  }
  hooks_.report_corrupt(request.space, keys_);
  return absl::OkStatus();
}

}  // namespace larder
