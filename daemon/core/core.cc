#include "daemon/core/core.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/check.h"

namespace larder {
namespace {

// Chunks that wait to be written through; further ones are written when they leave memory.
constexpr size_t kUnsavedMax = size_t{1} << 20;

// Bounds on the work of one Tick.
constexpr int kExpiriesPerTickMax = 4096;

// Hash sets have no order of their own, and the same calls are to have the same effects.
template <typename Id>
std::vector<Id> InOrder(const absl::flat_hash_set<Id>& ids) {
  std::vector<Id> sorted(ids.begin(), ids.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

std::vector<TierLimits> MemoryLimits(const CoreOptions& options) {
  std::vector<TierLimits> limits;
  for (const TenantLimits& tenant : options.tenants) limits.push_back(tenant.memory);
  return limits;
}

}  // namespace

Core::Core(const CoreOptions& options, BlockTable* blocks, MonotonicTime now, int64_t unix_ms)
    : options_(options),
      blocks_(blocks),
      unix_ms_at_zero_(unix_ms - now.nanoseconds / 1'000'000),
      allocator_(options.backed_bytes, options.granule_bytes),
      catalog_(options.hash_seed, options.order),
      shares_(options.data_bytes, MemoryLimits(options)),
      departures_(options.explain_records),
      latest_(now),
      disk_admission_(options.disk_admission),
      insight_(
          {.memory_bytes = options.data_bytes, .seed = options.hash_seed, .cost = options.cost}) {
  stats_.data_bytes = options.data_bytes;
  for (const TenantLimits& tenant : options.tenants) {
    group_of_tenant_[tenant.tenant] = catalog_.AddGroup();
  }
  pinned_bytes_.resize(catalog_.group_count());
  shortened_.resize(catalog_.group_count());
}

// --- sessions -----------------------------------------------------------------------------------

absl::StatusOr<SessionId> Core::OpenSession() {
  if (sessions_.size() >= options_.sessions_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat("all ", options_.sessions_max, " sessions (sessions_max) are in use"));
  }
  const SessionId session{next_handle_++};
  sessions_.try_emplace(session);
  return session;
}

void Core::CloseSession(SessionId session_id) {
  const auto found = sessions_.find(session_id);
  if (found == sessions_.end()) return;
  RevokeSession(session_id);
  for (ReservationId id : InOrder(std::exchange(found->second.reservations, {}))) {
    EndReservation(id);
  }
  sessions_.erase(found);
}

void Core::RevokeSession(SessionId session_id) {
  const auto found = sessions_.find(session_id);
  if (found == sessions_.end()) return;
  Session& session = found->second;
  session.revoked = true;
  for (LeaseId lease : InOrder(std::exchange(session.leases, {}))) EndLease(lease);
  for (ReservationId id : session.reservations) VoidReservation(id, reservations_.at(id));
}

absl::StatusOr<Core::Session*> Core::LiveSession(SessionId session) {
  const auto found = sessions_.find(session);
  if (found == sessions_.end() || found->second.revoked) {
    return absl::UnavailableError("the session is closed or was revoked");
  }
  return &found->second;
}

// --- spaces -------------------------------------------------------------------------------------

absl::StatusOr<SpaceHandle> Core::OpenSpace(const SpaceDescription& description) {
  RETURN_IF_ERROR(description.manifest.Validate());
  const SpaceId id =
      ComputeSpaceId(description.tenant, description.manifest.Id(), description.salt);
  if (const auto known = FindSpace(id)) return *known;
  if (spaces_.size() >= options_.spaces_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat("all ", options_.spaces_max, " spaces (spaces_max) are in use"));
  }
  auto space = std::make_unique<Space>();
  space->id = id;
  space->handle = static_cast<SpaceHandle>(spaces_.size());
  space->description = description;
  space->whole_payload_bytes = description.manifest.PayloadBytes(description.manifest.WholePart());
  space_by_id_[id] = space->handle;
  if (const auto group = group_of_tenant_.find(description.tenant);
      group != group_of_tenant_.end()) {
    catalog_.SetGroup(space->handle, group->second);
    if (disk_ != nullptr) disk_->SetGroup(space->handle, group->second);
  }
  insight_.AddSpace(space->handle, description.tenant);
  spaces_.push_back(std::move(space));
  return spaces_.back()->handle;
}

const Space* Core::FindSpace(SpaceHandle handle) const {
  return handle < spaces_.size() ? spaces_[handle].get() : nullptr;
}

std::optional<SpaceHandle> Core::FindSpace(const SpaceId& id) const {
  const auto found = space_by_id_.find(id);
  if (found == space_by_id_.end()) return std::nullopt;
  return found->second;
}

absl::StatusOr<Space*> Core::SpaceOf(SpaceHandle handle) {
  if (handle >= spaces_.size()) {
    return absl::NotFoundError(absl::StrCat("no space has the handle ", handle));
  }
  return spaces_[handle].get();
}

// --- reading ------------------------------------------------------------------------------------

absl::StatusOr<PrefixMatch> Core::Match(SpaceHandle handle, std::span<const KeyHash> keys,
                                        const LookupOptions& options, MonotonicTime now) {
  ASSIGN_OR_RETURN(Space * space, SpaceOf(handle));
  scratch_.clear();
  const uint64_t known =
      options.chunks_min == 0 ? 0 : CountEverywhere(handle, keys, options.local_only, now);
  const bool counts = known >= options.chunks_min;
  if (counts) catalog_.FindPrefix(handle, keys, now, &scratch_);
  const uint64_t tokens_per_chunk = space->description.manifest.tokens_per_chunk;
  const uint64_t in_memory = scratch_.size();
  uint64_t elsewhere = 0;
  uint64_t hits = in_memory;
  if (counts) hits += CountBeyondMemory(handle, keys.subspan(in_memory), options, now, &elsewhere);
  const uint64_t found = counts ? hits : known;
  if (options.may_wait && !options.local_only && elsewhere_ != nullptr && found < keys.size() &&
      elsewhere_->IsLocating(handle, keys[found])) {
    return PrefixMatch{.locating = true};
  }
  if (options.touch) {
    catalog_.TouchPrefix(scratch_, now);
    insight_.OnRequest({.space = handle,
                        .keys = keys,
                        .chunk_bytes = MeanChunkBytes(*space),
                        .tokens_per_chunk = space->description.manifest.tokens_per_chunk,
                        .found_in_memory = static_cast<uint32_t>(in_memory),
                        .found = static_cast<uint32_t>(hits)},
                       now);
  }
  const uint64_t misses = keys.size() - hits;
  SpaceStats& stats = space->stats;
  ++stats.lookups;
  stats.hit_chunks += hits;
  stats.peer_hit_chunks += elsewhere;
  stats.miss_chunks += misses;
  stats.hit_tokens += hits * tokens_per_chunk;
  stats.miss_tokens += misses * tokens_per_chunk;
  stats.hit_bytes += hits * space->whole_payload_bytes;
  stats.miss_bytes += misses * space->whole_payload_bytes;
  return PrefixMatch{.chunks = static_cast<uint32_t>(hits),
                     .memory_chunks = static_cast<uint32_t>(in_memory),
                     .peer_chunks = static_cast<uint32_t>(elsewhere),
                     .tokens = hits * tokens_per_chunk,
                     .bytes = hits * space->whole_payload_bytes};
}

absl::StatusOr<AcquireResult> Core::Acquire(SessionId session_id, SpaceHandle handle,
                                            std::span<const KeyHash> keys, const Part& wanted,
                                            MonotonicTime now) {
  ASSIGN_OR_RETURN(Session * session, LiveSession(session_id));
  ASSIGN_OR_RETURN(Space * space, SpaceOf(handle));
  RETURN_IF_ERROR(space->description.manifest.ValidatePart(wanted));
  if (session->leases.size() >= options_.leases_per_session_max) {
    return absl::ResourceExhaustedError(absl::StrCat("the session holds ", session->leases.size(),
                                                     " leases (leases_per_session_max)"));
  }
  scratch_.clear();
  catalog_.FindPrefix(handle, keys, now, &scratch_);
  AcquireResult result;
  if (scratch_.empty()) return result;
  if (session->leased_chunks + scratch_.size() > options_.leased_chunks_per_session_max) {
    return absl::ResourceExhaustedError(absl::StrCat("the session would hold leases on more than ",
                                                     options_.leased_chunks_per_session_max,
                                                     " chunks (leased_chunks_per_session_max)"));
  }
  session->leased_chunks += scratch_.size();
  result.lease = LeaseId{next_handle_++};
  for (ChunkIndex chunk : scratch_) catalog_.AddLease(chunk);
  catalog_.TouchPrefix(scratch_, now);
  result.chunks.reserve(scratch_.size());
  result.extents.reserve(scratch_.size());
  for (ChunkIndex chunk : scratch_) AppendExtents(chunk, wanted, &result);
  for (const BlockExtent& extent : result.extents) space->stats.fetched_bytes += extent.bytes;
  space->stats.fetched_chunks += scratch_.size();
  leases_.try_emplace(result.lease, Lease{.session = session_id, .chunks = scratch_});
  session->leases.insert(result.lease);
  return result;
}

void Core::AppendExtents(ChunkIndex chunk, const Part& wanted, AcquireResult* result) const {
  const auto first = static_cast<uint32_t>(result->extents.size());
  catalog_.ForEachBlock(chunk, [&](BlockIndex block) {
    const BlockRecord record = blocks_->Read(block);
    const Part part = PartOf(record);
    if (PartsOverlap(part, wanted)) result->extents.push_back({record.offset, record.bytes, part});
  });
  const auto count = static_cast<uint32_t>(result->extents.size()) - first;
  result->chunks.push_back({.first_extent = first, .extent_count = count});
}

absl::Status Core::Release(SessionId session_id, LeaseId lease) {
  ASSIGN_OR_RETURN(Session * session, LiveSession(session_id));
  if (session->leases.erase(lease) == 0) {
    return absl::NotFoundError(absl::StrCat("the session holds no lease ", lease.value));
  }
  EndLease(lease);
  return absl::OkStatus();
}

void Core::EndLease(LeaseId id) {
  const auto found = leases_.find(id);
  LARDER_CHECK(found != leases_.end());
  sessions_.at(found->second.session).leased_chunks -= found->second.chunks.size();
  for (ChunkIndex chunk : found->second.chunks) {
    if (catalog_.DropLease(chunk)) FreeChunk(chunk);
  }
  leases_.erase(found);
}

absl::StatusOr<uint32_t> Core::Touch(SpaceHandle handle, std::span<const KeyHash> keys,
                                     MonotonicTime now) {
  RETURN_IF_ERROR(SpaceOf(handle).status());
  uint32_t found = 0;
  for (size_t i = keys.size(); i-- > 0;) {
    const ChunkIndex chunk = catalog_.Find(handle, keys[i]);
    if (chunk == kNoChunk) continue;
    catalog_.Touch(chunk, now);
    ++found;
  }
  return found;
}

// --- writing ------------------------------------------------------------------------------------

absl::StatusOr<std::vector<ReserveOutcome>> Core::Reserve(SessionId session_id, SpaceHandle handle,
                                                          std::span<const ReserveItem> items,
                                                          const ReserveOptions& options,
                                                          MonotonicTime now) {
  ASSIGN_OR_RETURN(Session * session, LiveSession(session_id));
  ASSIGN_OR_RETURN(Space * space, SpaceOf(handle));
  if (draining_) return absl::UnavailableError("the daemon is draining and takes no new chunks");
  if (session->reservations.size() + items.size() > options_.reservations_per_session_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the session would hold more than ", options_.reservations_per_session_max,
                     " reservations (reservations_per_session_max)"));
  }
  if (options.deadline <= absl::ZeroDuration() || options.ttl <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("a reservation's deadline and time to live must be positive");
  }
  for (const ReserveItem& item : items) RETURN_IF_ERROR(CheckItem(*space, item));
  std::vector<ReserveOutcome> outcomes;
  outcomes.reserve(items.size());
  latest_ = now;
  std::vector<ChunkTraits> refused;
  KeyHash last_refused;
  for (const ReserveItem& item : items) {
    using Kind = ReserveOutcome::Kind;
    // Nobody would find what comes after a chunk that is not there.
    const bool behind_refused = !item.parent.IsZero() && item.parent == last_refused;
    ReserveOutcome outcome{.kind = Kind::kRefused, .id = {}, .offset = 0};
    if (!behind_refused) outcome = ReserveOne(session_id, *space, item, options, now);
    if (outcome.kind == Kind::kGranted) session->reservations.insert(outcome.id);
    if (outcome.kind == Kind::kNoSpace) ++stats_.reserve_no_space;
    if (outcome.kind == Kind::kQuota) ++stats_.reserve_over_quota;
    if (outcome.kind == Kind::kRefused) {
      ++stats_.reserve_refused;
      last_refused = item.key;
      RecordDeparture(handle, item.key, AbsenceReason::kRefused, {.time = ToTicks(now)});
      refused.push_back(
          TraitsOf(*space, item.key, item.depth, item.part, item.bytes, options.category));
    }
    outcomes.push_back(outcome);
  }
  for (size_t i = refused.size(); i-- > 0;) {
    catalog_.Refuse(catalog_.GroupOf(handle), refused[i], now);
  }
  PrepareEvictions(now);
  return outcomes;
}

absl::Status Core::CheckItem(const Space& space, const ReserveItem& item) const {
  if (item.key.IsZero()) return absl::InvalidArgumentError("a chunk's key hash is zero");
  const Manifest& manifest = space.description.manifest;
  RETURN_IF_ERROR(manifest.ValidatePart(item.part));
  if (AreaOf(item.part) * kPartsPerChunkMax < AreaOf(manifest.WholePart())) {
    return absl::InvalidArgumentError(absl::StrCat("part of ", ToString(item.part),
                                                   " is less than ", "1/", kPartsPerChunkMax,
                                                   " of its chunk"));
  }
  if (item.bytes == 0 || item.bytes < manifest.PayloadBytes(item.part) / 64) {
    // No codec is better than 64 to 1: such a length is a caller's mistake in its units.
    return absl::InvalidArgumentError(
        absl::StrCat("a container of ", item.bytes, " bytes is too short for its part"));
  }
  if (item.bytes > options_.data_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("a container of ", item.bytes,
                                                   " bytes exceeds the arena of ",
                                                   options_.data_bytes, " bytes"));
  }
  return absl::OkStatus();
}

ReserveOutcome::Kind Core::PartFate(ChunkIndex chunk, const Part& part) const {
  auto fate = ReserveOutcome::Kind::kGranted;
  catalog_.ForEachBlock(chunk, [&](BlockIndex block) {
    const Part stored = PartOf(blocks_->Read(block));
    if (stored == part) {
      fate = ReserveOutcome::Kind::kExists;
    } else if (PartsOverlap(stored, part)) {
      fate = ReserveOutcome::Kind::kOverlaps;
    }
  });
  return fate;
}

bool Core::IsBeingWritten(const ChunkName& name, const Part& part) const {
  const auto found = writers_.find(name);
  return found != writers_.end() &&
         std::any_of(found->second.begin(), found->second.end(), [&](ReservationId id) {
           return PartsOverlap(reservations_.at(id).part, part);
         });
}

void Core::ForgetWriter(ReservationId id, const Reservation& reservation) {
  const auto found = writers_.find({reservation.space, reservation.key});
  LARDER_CHECK(found != writers_.end());
  Writers& writers = found->second;
  writers.erase(std::remove(writers.begin(), writers.end(), id), writers.end());
  if (writers.empty()) writers_.erase(found);
}

ChunkIndex Core::FindUnexpired(SpaceHandle space, const KeyHash& key, MonotonicTime now) {
  const ChunkIndex chunk = catalog_.Find(space, key);
  if (chunk == kNoChunk) return kNoChunk;
  const MonotonicTime expiry = catalog_.chunk(chunk).expiry;
  if (expiry.nanoseconds == 0 || expiry > now) return chunk;
  RemoveChunk(chunk, RemovalCause::kExpired);
  (void)ForgetOnDisk(space, key);
  return kNoChunk;
}

ReserveOutcome Core::ReserveOne(SessionId session, Space& space, const ReserveItem& item,
                                const ReserveOptions& options, MonotonicTime now) {
  using Kind = ReserveOutcome::Kind;
  if (const ChunkIndex chunk = FindUnexpired(space.handle, item.key, now); chunk != kNoChunk) {
    const Kind fate = PartFate(chunk, item.part);
    if (fate != Kind::kGranted) return {.kind = fate, .id = {}, .offset = 0};
  }
  if (disk_ != nullptr && disk_->Find(space.handle, item.key, ToUnixMs(now)) != kNoDiskChunk) {
    return {.kind = Kind::kExists, .id = {}, .offset = 0};
  }
  const ChunkName name{space.handle, item.key};
  if (IsBeingWritten(name, item.part)) return {.kind = Kind::kBusy, .id = {}, .offset = 0};
  const ChunkTraits traits =
      TraitsOf(space, item.key, item.depth, item.part, item.bytes, options.category);
  // A further part of a chunk has to come in: without it the others are of no use.
  const bool is_new = catalog_.Find(space.handle, item.key) == kNoChunk && !writers_.contains(name);
  const Allocation extent =
      AllocateEvicting(space.handle, item.bytes, is_new ? &traits : nullptr, now);
  if (extent.kind != Kind::kGranted) return {.kind = extent.kind, .id = {}, .offset = 0};
  const std::optional<uint32_t> block = blocks_->AllocateRecord();
  if (!block) {
    FreeExtent(space.handle, extent.offset, item.bytes);
    return {.kind = Kind::kNoSpace, .id = {}, .offset = 0};
  }

  const ReservationId id{next_handle_++};
  Reservation reservation{
      .session = session,
      .space = space.handle,
      .key = item.key,
      .parent = item.parent,
      .depth = item.depth,
      .part = item.part,
      .offset = extent.offset,
      .bytes = item.bytes,
      .block = *block,
      .deadline = now + std::min(options.deadline, options_.reservation_ttl_max),
      .ttl = options.ttl > kTtlMax ? absl::InfiniteDuration() : options.ttl,
      .pin = options.pin,
      .category = options.category};
  BlockRecord record;
  record.space = space.id;
  record.key = item.key;
  record.parent = item.parent;
  record.offset = extent.offset;
  record.bytes = item.bytes;
  record.depth = item.depth;
  record.token_count = space.description.manifest.tokens_per_chunk;
  record.layer_begin = item.part.layer_begin;
  record.layer_end = item.part.layer_end;
  record.head_begin = item.part.head_begin;
  record.head_end = item.part.head_end;
  blocks_->WriteReserved(*block, record);
  writers_[name].push_back(id);
  reservation_deadlines_.insert({reservation.deadline, id});
  stats_.reserved_bytes += item.bytes;
  reservations_.try_emplace(id, reservation);
  return {.kind = Kind::kGranted, .id = id, .offset = extent.offset};
}

const Reservation* Core::FindReservation(SessionId session, ReservationId id) const {
  const auto found = reservations_.find(id);
  if (found == reservations_.end() || found->second.session != session) return nullptr;
  return &found->second;
}

std::vector<absl::Status> Core::Commit(SessionId session, std::span<const ReservationId> ids,
                                       MonotonicTime now) {
  std::vector<absl::Status> statuses;
  statuses.reserve(ids.size());
  std::vector<ChunkIndex> committed;
  committed.reserve(ids.size());
  for (ReservationId id : ids) {
    absl::StatusOr<ChunkIndex> chunk = CommitOne(session, id, now);
    if (chunk.ok()) committed.push_back(*chunk);
    statuses.push_back(std::move(chunk).status());
  }
  // Deepest first, so that a chunk is always newer than the ones that need it.
  for (size_t i = committed.size(); i-- > 0;) catalog_.Touch(committed[i], now);
  if (disk_ != nullptr && options_.disk_mode == DiskMode::kWriteThrough) {
    for (ChunkIndex chunk : committed) {
      if (unsaved_.size() < kUnsavedMax) {
        unsaved_.emplace_back(chunk, catalog_.chunk(chunk).generation);
      }
    }
    WriteThrough(now);
  }
  return statuses;
}

absl::StatusOr<ChunkIndex> Core::CommitOne(SessionId session, ReservationId id, MonotonicTime now) {
  const Reservation* found = FindReservation(session, id);
  if (found == nullptr) {
    return absl::NotFoundError(absl::StrCat("the session has no reservation ", id.value));
  }
  if (found->is_void || found->deadline <= now) {
    (void)Abort(session, id);
    return absl::DeadlineExceededError(
        absl::StrCat("reservation ", id.value, " was committed after its deadline"));
  }
  const Reservation reservation = *found;
  ForgetWriter(id, reservation);
  reservation_deadlines_.erase({reservation.deadline, id});
  stats_.reserved_bytes -= reservation.bytes;
  sessions_.at(session).reservations.erase(id);
  reservations_.erase(id);

  Space& space = *spaces_[reservation.space];
  const MonotonicTime expiry =
      reservation.ttl == absl::InfiniteDuration() ? MonotonicTime{} : now + reservation.ttl;
  // Before the commit: a kill in between must not leave a chunk that outlives its time.
  if (expiry.nanoseconds != 0) blocks_->SetExpiry(reservation.block, ToUnixMs(expiry));
  blocks_->Commit(reservation.block, ++sequence_);
  (void)FindUnexpired(reservation.space, reservation.key, now);  // New parts join no dead chunk.
  const ChunkIndex chunk = Attach(reservation.space, reservation.key, reservation.parent,
                                  reservation.depth, reservation.block, reservation.category, now);
  LimitExpiry(chunk, expiry);
  if (catalog_.chunk(chunk).state == Chunk::State::kVisible) ++space.stats.stored_chunks;
  space.stats.stored_bytes += reservation.bytes;
  // Stored all the same when the pin goes beyond the share of pinned bytes: a pin is a hint.
  if (reservation.pin) (void)SetPinned(reservation.space, std::span(&reservation.key, 1), true);
  return chunk;
}

ChunkIndex Core::Attach(SpaceHandle handle, const KeyHash& key, const KeyHash& parent,
                        uint32_t depth, BlockIndex block, uint8_t category, MonotonicTime now) {
  Space& space = *spaces_[handle];
  const BlockRecord record = blocks_->Read(block);
  ChunkIndex chunk = catalog_.Find(handle, key);
  if (chunk == kNoChunk) {
    const ChunkTraits traits = TraitsOf(space, key, depth, PartOf(record), record.bytes, category);
    chunk = catalog_.Insert(handle, key, parent, traits, now);
    ++space.stats.resident_chunks;
  } else {
    catalog_.LinkParent(chunk, parent);
  }
  catalog_.AddBlock(chunk, block);
  space.stats.resident_bytes += record.bytes;
  if (catalog_.chunk(chunk).pinned) {
    AddPinned(handle, record.bytes);
    blocks_->SetFlags(block, kBlockFlagPinned);
  }
  if (IsComplete(space, chunk)) {
    catalog_.SetVisible(chunk);
    NoteChange(handle, key);
  }
  return chunk;
}

bool Core::IsComplete(const Space& space, ChunkIndex chunk) const {
  // Stored parts never overlap, so they tile the manifest exactly when their areas add up.
  uint64_t area = 0;
  catalog_.ForEachBlock(chunk,
                        [&](BlockIndex block) { area += AreaOf(PartOf(blocks_->Read(block))); });
  return area == AreaOf(space.description.manifest.WholePart());
}

void Core::LimitExpiry(ChunkIndex chunk, MonotonicTime expiry) {
  const MonotonicTime current = catalog_.chunk(chunk).expiry;
  if (current.nanoseconds != 0 && (expiry.nanoseconds == 0 || current < expiry)) expiry = current;
  if (expiry.nanoseconds == 0) return;
  catalog_.SetExpiry(chunk, expiry);
  // Each part remembers it, so that no restart brings back some of them.
  catalog_.ForEachBlock(chunk,
                        [&](BlockIndex block) { blocks_->SetExpiry(block, ToUnixMs(expiry)); });
}

absl::Status Core::Abort(SessionId session, ReservationId id) {
  if (FindReservation(session, id) == nullptr) {
    return absl::NotFoundError(absl::StrCat("the session has no reservation ", id.value));
  }
  sessions_.at(session).reservations.erase(id);
  EndReservation(id);
  return absl::OkStatus();
}

void Core::VoidReservation(ReservationId id, Reservation& reservation) {
  if (reservation.is_void) return;
  reservation.is_void = true;
  ++stats_.void_reservations;
  ForgetWriter(id, reservation);
  reservation_deadlines_.erase({reservation.deadline, id});
}

void Core::EndReservation(ReservationId id) {
  const auto found = reservations_.find(id);
  LARDER_CHECK(found != reservations_.end());
  Reservation& reservation = found->second;
  VoidReservation(id, reservation);
  --stats_.void_reservations;
  stats_.reserved_bytes -= reservation.bytes;
  blocks_->Free(reservation.block);
  FreeExtent(reservation.space, reservation.offset, reservation.bytes);
  reservations_.erase(found);
}

// --- time ---------------------------------------------------------------------------------------

void Core::Tick(MonotonicTime now) {
  latest_ = now;
  catalog_.EndKeeps(now);
  if (disk_ != nullptr) {
    disk_->Step(now);
    TakeDiskDepartures();
    PrepareEvictions(now);
  }
  for (int i = 0; i < kExpiriesPerTickMax; ++i) {
    if (reservation_deadlines_.empty() || reservation_deadlines_.begin()->first > now) break;
    const ReservationId id = reservation_deadlines_.begin()->second;
    VoidReservation(id, reservations_.at(id));
    ++stats_.expired_reservations;
  }
  for (int i = 0; i < kExpiriesPerTickMax; ++i) {
    const ChunkIndex expired = catalog_.FirstExpired(now);
    if (expired == kNoChunk) break;
    (void)ForgetOnDisk(catalog_.chunk(expired).space, catalog_.chunk(expired).key);
    RemoveChunk(expired, RemovalCause::kExpired);
  }
  if (!orphans_.empty() && now >= orphans_end_) {
    for (const auto& [offset, bytes] : orphans_) allocator_.Free(offset, bytes);
    orphans_.clear();
  }
}

}  // namespace larder
