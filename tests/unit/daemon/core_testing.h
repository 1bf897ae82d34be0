// A core on its own: block table in heap memory, a clock that stands until told, tiny chunks.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "daemon/core/core.h"

namespace larder {

inline constexpr uint64_t kTestGranuleBytes = 4096;
// The calendar when the test clock shows zero.
inline constexpr int64_t kTestUnixMs = 1'700'000'000'000;

inline KeyHash Key(uint64_t number) { return {number, ~number}; }

// Four layers and two heads to cut parts from; a whole payload is `4 * 2 * 2 * 16` bytes.
inline SpaceDescription TestSpace(const std::string& model = "test/model", uint32_t layers = 4) {
  SpaceDescription space;
  space.tenant = "tenant";
  space.manifest.model = model;
  space.manifest.element_type = ElementType::kInt8;
  space.manifest.kind = CacheKind::kKeyValue;
  space.manifest.layers = layers;
  space.manifest.heads = 2;
  space.manifest.head_dim = 4;
  space.manifest.tokens_per_chunk = 4;
  return space;
}

// Not thread-safe. `now` moves only when a test moves it.
class CoreHarness {
 public:
  explicit CoreHarness(uint64_t granules = 64, const CoreOptions& options = {})
      : CoreHarness(granules, options, MonotonicTime{1'000'000'000}) {
    table_.emplace(*BlockTable::Create(TableBytes(), {1, 2}, geometry_));
    MakeCore();
  }

  // What a new daemon finds after this one was killed just now.
  std::unique_ptr<CoreHarness> AfterKill(RecoveryReport* report = nullptr) const {
    std::unique_ptr<CoreHarness> next(new CoreHarness(granules_, options_, now));
    next->memory_ = memory_;
    next->table_.emplace(*BlockTable::Open(next->TableBytes(), geometry_));
    next->MakeCore();
    for (const auto& space : core_->spaces()) (void)next->core_->RestoreSpace(space->description);
    const RecoveryReport found = next->core_->RecoverBlocks(now);
    if (report != nullptr) *report = found;
    return next;
  }

  Core& core() { return *core_; }
  BlockTable& table() { return *table_; }
  uint64_t data_bytes() const { return options_.data_bytes; }

  SpaceHandle Open(const SpaceDescription& description = TestSpace()) {
    return *core_->OpenSpace(description);
  }
  SessionId OpenSession() { return *core_->OpenSession(); }

  Part Whole(SpaceHandle space) {
    return core_->FindSpace(space)->description.manifest.WholePart();
  }

  ReserveOutcome Reserve(SessionId session, SpaceHandle space, const ReserveItem& item,
                         const ReserveOptions& options = {}) {
    const auto outcomes = core_->Reserve(session, space, {&item, 1}, options, now);
    return outcomes.ok() ? outcomes->front() : ReserveOutcome{};
  }

  absl::Status Commit(SessionId session, ReservationId id) {
    return core_->Commit(session, {&id, 1}, now).front();
  }

  // Reserves and commits; true if that made a new part.
  bool Put(SessionId session, SpaceHandle space, const ReserveItem& item,
           const ReserveOptions& options = {}) {
    const ReserveOutcome outcome = Reserve(session, space, item, options);
    return outcome.kind == ReserveOutcome::Kind::kGranted && Commit(session, outcome.id).ok();
  }

  // A whole chunk of one granule.
  bool Put(SessionId session, SpaceHandle space, uint64_t key, uint64_t parent = 0,
           uint32_t depth = 0, const ReserveOptions& options = {}) {
    return Put(session, space,
               ReserveItem{.key = Key(key),
                           .parent = parent == 0 ? KeyHash{} : Key(parent),
                           .depth = depth,
                           .part = Whole(space),
                           .bytes = kTestGranuleBytes},
               options);
  }

  bool IsVisible(SpaceHandle space, uint64_t key) {
    const KeyHash hash = Key(key);
    return core_->Match(space, {&hash, 1}, {}, now)->chunks == 1;
  }

  // The lease on one chunk.
  LeaseId Lease(SessionId session, SpaceHandle space, uint64_t key) {
    const KeyHash hash = Key(key);
    return core_->Acquire(session, space, {&hash, 1}, Whole(space), now)->lease;
  }

  // No sessions, leases, reservations and chunks; every byte and record is free again.
  bool IsPristine() const {
    const CoreStats stats = core_->Stats();
    return stats.sessions == 0 && stats.leases == 0 && stats.reservations == 0 &&
           stats.void_reservations == 0 && stats.reserved_bytes == 0 && stats.pinned_bytes == 0 &&
           stats.chunks == 0 && stats.used_bytes == 0 &&
           stats.largest_free_bytes == stats.backed_bytes && table_->used_records() == 0;
  }

  void ClearAll() {
    uint64_t removed = 0;
    std::optional<ChunkIndex> cursor = 0;
    while (cursor) cursor = core_->ClearStep(std::nullopt, *cursor, &removed);
  }

  MonotonicTime now;

 private:
  CoreHarness(uint64_t granules, const CoreOptions& options, MonotonicTime start)
      : now(start), granules_(granules), options_(options) {
    options_.data_bytes = granules * kTestGranuleBytes;
    options_.granule_bytes = kTestGranuleBytes;
    if (options_.backed_bytes == 0) options_.backed_bytes = options_.data_bytes;
    geometry_ = {.capacity_records = 2 * granules,
                 .data_bytes = options_.data_bytes,
                 .granule_bytes = kTestGranuleBytes};
    memory_.resize(BlockTable::MemoryBytes(geometry_.capacity_records) / sizeof(uint64_t));
  }

  std::span<uint8_t> TableBytes() {
    return {reinterpret_cast<uint8_t*>(memory_.data()), memory_.size() * sizeof(uint64_t)};
  }

  void MakeCore() {
    core_ =
        std::make_unique<Core>(options_, &*table_, now, kTestUnixMs + now.nanoseconds / 1'000'000);
  }

  const uint64_t granules_;
  CoreOptions options_;
  BlockTableGeometry geometry_;
  std::vector<uint64_t> memory_;
  std::optional<BlockTable> table_;
  std::unique_ptr<Core> core_;
};

}  // namespace larder
