// A plain twin of the core's state, driven through the same random requests and compared after
// each.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "common/random.h"
#include "tests/unit/daemon/core_testing.h"

namespace larder {

// Everything but the choice of victims is predicted exactly. Victims are learned from the core and
// then checked: nothing pinned or leased, no parent before its child, and as many as are counted.
// Reports through GoogleTest. A run is a function of its seed.
class CoreModel {
 public:
  explicit CoreModel(uint64_t seed);

  // One random request or the passing of time, then all checks.
  void Step();
  // Kills the daemon and starts another one over the same block table.
  void Restart();
  // Ends every session, clears everything and expects nothing to be left.
  void Finish();

  uint64_t evictions() const { return removed_[0]; }
  uint64_t visible_commits() const { return visible_commits_; }

 private:
  using Name = std::pair<SpaceHandle, KeyHash>;
  struct Extent {
    Part part;
    uint64_t offset = 0, bytes = 0;
    friend auto operator<=>(const Extent&, const Extent&) = default;
  };
  struct ModelChunk {
    uint64_t incarnation = 0;
    std::optional<uint64_t> parent;  // incarnation
    KeyHash parent_key;
    uint32_t depth = 0;
    std::vector<Extent> extents;
    bool pinned = false;
    MonotonicTime expiry;
  };
  struct ModelReservation {
    SessionId session;
    Name name;
    ReserveItem item;
    ReserveOptions options;
    Extent extent;
    MonotonicTime deadline;
    bool is_void = false;
  };
  // Chunks by incarnation; of those that are gone meanwhile `doomed_` keeps the extents.
  struct ModelLease {
    SessionId session;
    std::vector<uint64_t> chunks;
  };

  void OpenSession();
  void EndSession();
  void Reserve();
  void Commit();
  void Abort();
  void Acquire();
  void Release();
  void Match();
  void Pin();
  void Remove();
  void Tick();
  void Clear();

  ReserveOutcome::Kind ExpectedFate(const Name& name, const Part& part) const;
  void LearnEvictions();
  void CommitInModel(const ModelReservation& reservation);
  void RemoveInModel(const Name& name, RemovalCause cause);
  void RemoveIfExpired(const Name& name);
  void LinkInModel(const Name& name, ModelChunk& chunk);
  bool PinInModel(ModelChunk& chunk, bool pinned);
  void DropLease(LeaseId id);

  void Check();
  void CheckChunks();
  void CheckExtentsAreDisjoint();
  void CheckStats();

  std::optional<SessionId> AnySession();
  std::vector<KeyHash> RandomPrefix();
  Part RandomPartOf(SpaceHandle space);
  bool IsVisible(const Name& name, const ModelChunk& chunk) const;
  bool IsReadable(const Name& name) const;
  size_t ReadablePrefix(SpaceHandle space, const std::vector<KeyHash>& keys) const;
  uint64_t LeasesOn(uint64_t incarnation) const;
  uint64_t PinnedBytes() const;
  static uint64_t BytesOf(const ModelChunk& chunk);
  Core& core() { return harness_->core(); }
  MonotonicTime& now() { return harness_->now; }

  SeededRandom random_;
  std::unique_ptr<CoreHarness> harness_;
  std::vector<SpaceHandle> spaces_;
  uint64_t next_incarnation_ = 1;
  uint64_t visible_commits_ = 0;
  std::array<uint64_t, kRemovalCauses> removed_{};

  std::map<SessionId, bool> sessions_;  // whether revoked
  std::map<Name, ModelChunk> chunks_;
  std::map<uint64_t, std::pair<SpaceHandle, std::vector<Extent>>> doomed_;  // by incarnation
  std::map<ReservationId, ModelReservation> reservations_;
  std::map<LeaseId, ModelLease> leases_;
  // What the killed daemon's clients may still be writing to.
  std::vector<Extent> orphans_;
  MonotonicTime orphans_end_;
};

}  // namespace larder
