#include "tests/unit/daemon/core_model.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

#include "gtest/gtest.h"

namespace larder {
namespace {

using Kind = ReserveOutcome::Kind;

constexpr uint64_t kGranules = 24;  // so few that eviction never rests
constexpr double kPinnedFraction = 0.4;
constexpr uint32_t kSessions = 4;
constexpr int64_t kMillisecond = 1'000'000;
constexpr uint64_t kChains = 3, kChainLength = 6;

CoreOptions ModelOptions() {
  CoreOptions options;
  options.hash_seed = 42;
  options.pinned_fraction_max = kPinnedFraction;
  options.sessions_max = kSessions;
  options.reservation_ttl_max = absl::Milliseconds(200);
  options.orphan_grace = absl::Milliseconds(50);
  return options;
}

KeyHash ChainKey(uint64_t chain, uint64_t position) { return Key(1 + chain * 100 + position); }

bool Overlap(const Part& a, const Part& b) {
  return std::max(a.layer_begin, b.layer_begin) < std::min(a.layer_end, b.layer_end) &&
         std::max(a.head_begin, b.head_begin) < std::min(a.head_end, b.head_end);
}

template <typename Map>
auto RandomEntry(Random& random, Map& map) {
  return std::next(map.begin(), static_cast<std::ptrdiff_t>(random.Below(map.size())));
}

size_t Index(RemovalCause cause) { return static_cast<size_t>(cause); }

}  // namespace

CoreModel::CoreModel(uint64_t seed)
    : random_(seed), harness_(std::make_unique<CoreHarness>(kGranules, ModelOptions())) {
  spaces_.push_back(harness_->Open(TestSpace("model/a")));
  spaces_.push_back(harness_->Open(TestSpace("model/b", 8)));
}

void CoreModel::Step() {
  now().nanoseconds += static_cast<int64_t>(random_.Below(12)) * kMillisecond;
  switch (random_.Below(20)) {
    case 0:
      OpenSession();
      break;
    case 1:
      if (random_.Below(3) == 0) EndSession();
      break;
    case 2:
    case 3:
    case 4:
    case 5:
    case 6:
      Reserve();
      break;
    case 7:
    case 8:
    case 9:
    case 10:
      Commit();
      break;
    case 11:
      Abort();
      break;
    case 12:
    case 13:
      Acquire();
      break;
    case 14:
      Release();
      break;
    case 15:
      Match();
      break;
    case 16:
      Pin();
      break;
    case 17:
      Remove();
      break;
    case 18:
      Tick();
      break;
    case 19:
      if (random_.Below(20) == 0) Clear();
      break;
  }
  Check();
}

// --- requests -----------------------------------------------------------------------------------

std::optional<SessionId> CoreModel::AnySession() {
  if (sessions_.empty()) return std::nullopt;
  return RandomEntry(random_, sessions_)->first;
}

void CoreModel::OpenSession() {
  const auto session = core().OpenSession();
  ASSERT_EQ(session.ok(), sessions_.size() < kSessions);
  if (session.ok()) sessions_[*session] = false;
}

void CoreModel::EndSession() {
  if (sessions_.empty()) return;
  const auto found = RandomEntry(random_, sessions_);
  const SessionId session = found->first;
  std::vector<LeaseId> ended;
  for (const auto& [id, lease] : leases_) {
    if (lease.session == session) ended.push_back(id);
  }
  for (LeaseId id : ended) DropLease(id);
  if (random_.Below(2) == 0) {
    core().RevokeSession(session);
    found->second = true;
    for (auto& [id, reservation] : reservations_) {
      reservation.is_void |= reservation.session == session;
    }
  } else {
    core().CloseSession(session);
    std::erase_if(reservations_,
                  [session](const auto& entry) { return entry.second.session == session; });
    sessions_.erase(found);
  }
}

Part CoreModel::RandomPartOf(SpaceHandle space) {
  Part part = harness_->Whole(space);
  const auto half = static_cast<uint16_t>(part.layer_end / 2);
  switch (random_.Below(8)) {
    case 0:
    case 1:
      part.layer_end = half;
      break;
    case 2:
    case 3:
      part.layer_begin = half;
      break;
    case 4:  // halves by heads do not mix with halves by layers
      part.head_end = 1;
      break;
    case 5:
      part.layer_begin = static_cast<uint16_t>(random_.Below(part.layer_end));
      break;
    default:
      break;
  }
  return part;
}

void CoreModel::Reserve() {
  const auto session = AnySession();
  if (!session) return;
  const SpaceHandle space = spaces_[random_.Below(spaces_.size())];
  const uint64_t chain = random_.Below(kChains), position = random_.Below(kChainLength);
  ReserveItem item{.key = ChainKey(chain, position),
                   .parent = position == 0 ? KeyHash{} : ChainKey(chain, position - 1),
                   .depth = static_cast<uint32_t>(position),
                   .part = RandomPartOf(space),
                   .bytes = 1024 + random_.Below(3 * kTestGranuleBytes)};
  ReserveOptions options;
  if (random_.Below(4) == 0) options.deadline = absl::Milliseconds(1 + random_.Below(300));
  if (random_.Below(4) == 0) options.ttl = absl::Milliseconds(1 + random_.Below(400));
  options.pin = random_.Below(12) == 0;
  const auto outcomes = core().Reserve(*session, space, {&item, 1}, options, now());
  if (sessions_[*session]) {
    EXPECT_TRUE(absl::IsUnavailable(outcomes.status()));
    return;
  }
  ASSERT_TRUE(outcomes.ok()) << outcomes.status();
  const ReserveOutcome outcome = outcomes->front();
  const Name name{space, item.key};
  RemoveIfExpired(name);
  const Kind fate = ExpectedFate(name, item.part);
  LearnEvictions();
  if (fate != Kind::kGranted) {
    EXPECT_EQ(outcome.kind, fate);
  } else if (outcome.kind == Kind::kNoSpace) {
    for (const auto& [other, chunk] : chunks_) {
      const auto is_child = [incarnation = chunk.incarnation](const auto& entry) {
        return entry.second.parent == incarnation;
      };
      const bool has_children = std::any_of(chunks_.begin(), chunks_.end(), is_child);
      EXPECT_TRUE(chunk.pinned || has_children || LeasesOn(chunk.incarnation) > 0)
          << "no space, and yet " << ToString(other.second) << " could go";
    }
  } else {
    ASSERT_EQ(outcome.kind, Kind::kGranted);
    EXPECT_EQ(outcome.offset % kTestGranuleBytes, 0u);
    reservations_[outcome.id] = {
        .session = *session,
        .name = name,
        .item = item,
        .options = options,
        .extent = {item.part, outcome.offset, item.bytes},
        .deadline = now() + std::min(options.deadline, ModelOptions().reservation_ttl_max)};
  }
}

void CoreModel::Commit() {
  if (reservations_.empty()) return;
  const SessionId session = RandomEntry(random_, reservations_)->second.session;
  std::vector<ReservationId> ids;
  std::vector<absl::StatusCode> expected;
  for (auto at = reservations_.begin(); at != reservations_.end() && ids.size() < 4;) {
    const auto entry = at++;
    const ModelReservation reservation = entry->second;
    if (random_.Below(3) == 0) continue;
    ids.push_back(entry->first);
    if (reservation.session != session) {
      expected.push_back(absl::StatusCode::kNotFound);
      continue;
    }
    reservations_.erase(entry);
    const bool late = reservation.is_void || reservation.deadline <= now();
    expected.push_back(late ? absl::StatusCode::kDeadlineExceeded : absl::StatusCode::kOk);
    if (!late) CommitInModel(reservation);
  }
  const std::vector<absl::Status> statuses = core().Commit(session, ids, now());
  ASSERT_EQ(statuses.size(), expected.size());
  for (size_t i = 0; i < statuses.size(); ++i) EXPECT_EQ(statuses[i].code(), expected[i]);
}

void CoreModel::Abort() {
  if (reservations_.empty() || sessions_.empty()) return;
  const auto found = RandomEntry(random_, reservations_);
  const SessionId session = RandomEntry(random_, sessions_)->first;
  const absl::Status status = core().Abort(session, found->first);
  EXPECT_EQ(status.ok(), session == found->second.session) << status;
  if (status.ok()) reservations_.erase(found);
}

std::vector<KeyHash> CoreModel::RandomPrefix() {
  std::vector<KeyHash> keys;
  const uint64_t chain = random_.Below(kChains);
  for (uint64_t i = 0, count = 1 + random_.Below(kChainLength); i < count; ++i) {
    keys.push_back(ChainKey(chain, i));
  }
  return keys;
}

void CoreModel::Acquire() {
  const auto session = AnySession();
  if (!session) return;
  const SpaceHandle space = spaces_[random_.Below(spaces_.size())];
  const std::vector<KeyHash> keys = RandomPrefix();
  const Part wanted = RandomPartOf(space);
  const auto result = core().Acquire(*session, space, keys, wanted, now());
  ASSERT_EQ(result.ok(), !sessions_[*session]);
  if (!result.ok()) return;
  const size_t length = ReadablePrefix(space, keys);
  ASSERT_EQ(result->chunks.size(), length);
  ASSERT_EQ(static_cast<bool>(result->lease), length > 0);
  if (length == 0) return;
  ModelLease& lease = leases_[result->lease];
  lease.session = *session;
  for (size_t i = 0; i < length; ++i) {
    const ModelChunk& chunk = chunks_.at({space, keys[i]});
    lease.chunks.push_back(chunk.incarnation);
    std::set<Extent> expected, found;
    for (const Extent& extent : chunk.extents) {
      if (Overlap(extent.part, wanted)) expected.insert(extent);
    }
    for (uint32_t j = 0; j < result->chunks[i].extent_count; ++j) {
      const BlockExtent& extent = result->extents.at(result->chunks[i].first_extent + j);
      found.insert({extent.part, extent.offset, extent.bytes});
    }
    EXPECT_EQ(found, expected);
  }
}

void CoreModel::Release() {
  if (leases_.empty() || sessions_.empty()) return;
  const auto found = RandomEntry(random_, leases_);
  const SessionId session = RandomEntry(random_, sessions_)->first;
  const absl::Status status = core().Release(session, found->first);
  EXPECT_EQ(status.ok(), session == found->second.session) << status;
  if (status.ok()) DropLease(found->first);
}

void CoreModel::Match() {
  const SpaceHandle space = spaces_[random_.Below(spaces_.size())];
  const std::vector<KeyHash> keys = RandomPrefix();
  const auto result = core().Match(space, keys, {.touch = random_.Below(2) == 0}, now());
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->chunks, ReadablePrefix(space, keys));
}

void CoreModel::Pin() {
  const SpaceHandle space = spaces_[random_.Below(spaces_.size())];
  const std::vector<KeyHash> keys = RandomPrefix();
  const bool pinned = random_.Below(3) == 0;
  uint32_t expected = 0;
  bool exhausted = false;
  for (const KeyHash& key : keys) {
    const auto found = chunks_.find({space, key});
    if (found == chunks_.end() || exhausted) continue;
    ++expected;
    exhausted = !PinInModel(found->second, pinned);
  }
  const auto count = core().SetPinned(space, keys, pinned);
  if (exhausted) {
    EXPECT_TRUE(absl::IsResourceExhausted(count.status()));
  } else {
    ASSERT_TRUE(count.ok());
    EXPECT_EQ(*count, expected);
  }
}

void CoreModel::Remove() {
  const SpaceHandle space = spaces_[random_.Below(spaces_.size())];
  const KeyHash key = ChainKey(random_.Below(kChains), random_.Below(kChainLength));
  const RemovalCause cause =
      random_.Below(2) == 0 ? RemovalCause::kRemoved : RemovalCause::kCorrupt;
  const auto count = core().Remove(space, {&key, 1}, cause);
  ASSERT_TRUE(count.ok());
  EXPECT_EQ(*count, chunks_.count({space, key}));
  if (*count == 1) RemoveInModel({space, key}, cause);
}

void CoreModel::Tick() {
  core().Tick(now());
  for (auto& [id, reservation] : reservations_) {
    reservation.is_void |= reservation.deadline <= now();
  }
  std::vector<Name> names;
  for (const auto& [name, chunk] : chunks_) names.push_back(name);
  for (const Name& name : names) RemoveIfExpired(name);
  if (now() >= orphans_end_) orphans_.clear();
}

void CoreModel::Clear() {
  const SpaceHandle space = spaces_[random_.Below(spaces_.size())];
  uint64_t removed = 0, expected = 0;
  for (std::optional<ChunkIndex> at = 0; at;) at = core().ClearStep(space, *at, &removed);
  for (auto at = chunks_.begin(); at != chunks_.end();) {
    const Name name = (at++)->first;
    if (name.first != space) continue;
    RemoveInModel(name, RemovalCause::kCleared);
    ++expected;
  }
  EXPECT_EQ(removed, expected);
}

void CoreModel::Restart() {
  RecoveryReport report;
  harness_ = harness_->AfterKill(&report);
  sessions_.clear();
  leases_.clear();
  const uint64_t unfinished = reservations_.size();
  orphans_.clear();
  for (const auto& [id, reservation] : reservations_) orphans_.push_back(reservation.extent);
  orphans_end_ = now() + ModelOptions().orphan_grace;
  reservations_.clear();
  removed_ = {};
  uint64_t discarded = unfinished, bytes = 0;
  for (const auto& [incarnation, gone] : doomed_) discarded += gone.second.size();
  doomed_.clear();
  for (auto at = chunks_.begin(); at != chunks_.end();) {
    const auto entry = at++;
    if (entry->second.expiry.nanoseconds != 0 && entry->second.expiry <= now()) {
      discarded += entry->second.extents.size();
      chunks_.erase(entry);
    } else {
      bytes += BytesOf(entry->second);
    }
  }
  for (auto& [name, chunk] : chunks_) {
    chunk.parent.reset();
    LinkInModel(name, chunk);
  }
  EXPECT_EQ(report.chunks, chunks_.size());
  EXPECT_EQ(report.bytes, bytes);
  EXPECT_EQ(report.discarded_blocks, discarded);
  Check();
}

void CoreModel::Finish() {
  while (!sessions_.empty()) {
    core().CloseSession(sessions_.begin()->first);
    sessions_.erase(sessions_.begin());
  }
  harness_->ClearAll();
  now() = std::max(now(), orphans_end_);
  core().Tick(now());
  EXPECT_TRUE(harness_->IsPristine());
  for (const auto& space : core().spaces()) {
    EXPECT_EQ(space->stats.resident_chunks, 0u);
    EXPECT_EQ(space->stats.resident_bytes, 0u);
  }
}

// --- what they should do ------------------------------------------------------------------------

Kind CoreModel::ExpectedFate(const Name& name, const Part& part) const {
  if (const auto found = chunks_.find(name); found != chunks_.end()) {
    for (const Extent& extent : found->second.extents) {
      if (extent.part == part) return Kind::kExists;
      if (Overlap(extent.part, part)) return Kind::kOverlaps;
    }
  }
  for (const auto& [id, reservation] : reservations_) {
    if (!reservation.is_void && reservation.name == name &&
        Overlap(reservation.extent.part, part)) {
      return Kind::kBusy;
    }
  }
  return Kind::kGranted;
}

void CoreModel::LearnEvictions() {
  std::set<uint64_t> evicted;
  for (auto at = chunks_.begin(); at != chunks_.end();) {
    const auto entry = at++;
    if (core().Inspect(entry->first.first, entry->first.second)) continue;
    EXPECT_FALSE(entry->second.pinned) << "a pinned chunk was evicted";
    EXPECT_EQ(LeasesOn(entry->second.incarnation), 0u) << "a leased chunk was evicted";
    evicted.insert(entry->second.incarnation);
    chunks_.erase(entry);
    ++removed_[Index(RemovalCause::kCapacity)];
  }
  for (const auto& [name, chunk] : chunks_) {
    EXPECT_FALSE(chunk.parent && evicted.contains(*chunk.parent))
        << "a parent left before its child " << ToString(name.second);
  }
}

void CoreModel::CommitInModel(const ModelReservation& reservation) {
  RemoveIfExpired(reservation.name);
  const auto [found, is_new] = chunks_.try_emplace(reservation.name);
  ModelChunk& chunk = found->second;
  if (is_new) {
    chunk.incarnation = next_incarnation_++;
    chunk.depth = reservation.item.depth;
    chunk.parent_key = reservation.item.parent;
  }
  LinkInModel(reservation.name, chunk);
  chunk.extents.push_back(reservation.extent);
  if (reservation.options.ttl != absl::InfiniteDuration()) {
    const MonotonicTime expiry = now() + reservation.options.ttl;
    if (chunk.expiry.nanoseconds == 0 || expiry < chunk.expiry) chunk.expiry = expiry;
  }
  if (reservation.options.pin) PinInModel(chunk, true);
  visible_commits_ += IsVisible(reservation.name, chunk);
}

void CoreModel::LinkInModel(const Name& name, ModelChunk& chunk) {
  const auto parent = chunks_.find({name.first, chunk.parent_key});
  if (!chunk.parent && parent != chunks_.end() && parent->second.depth < chunk.depth) {
    chunk.parent = parent->second.incarnation;
  }
}

bool CoreModel::PinInModel(ModelChunk& chunk, bool pinned) {
  if (pinned && !chunk.pinned &&
      static_cast<double>(PinnedBytes() + BytesOf(chunk)) >
          std::floor(kPinnedFraction * kGranules * kTestGranuleBytes)) {
    return false;
  }
  chunk.pinned = pinned;
  return true;
}

void CoreModel::RemoveInModel(const Name& name, RemovalCause cause) {
  const auto found = chunks_.find(name);
  const ModelChunk& chunk = found->second;
  ++removed_[Index(cause)];
  if (LeasesOn(chunk.incarnation) > 0) doomed_[chunk.incarnation] = {name.first, chunk.extents};
  chunks_.erase(found);
}

void CoreModel::RemoveIfExpired(const Name& name) {
  const auto found = chunks_.find(name);
  if (found == chunks_.end()) return;
  const MonotonicTime expiry = found->second.expiry;
  if (expiry.nanoseconds != 0 && expiry <= now()) RemoveInModel(name, RemovalCause::kExpired);
}

void CoreModel::DropLease(LeaseId id) {
  leases_.erase(id);
  std::erase_if(doomed_, [this](const auto& entry) { return LeasesOn(entry.first) == 0; });
}

}  // namespace larder
