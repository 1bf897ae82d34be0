// A client of the simulation: an engine on a node that reads prefixes, and puts what it had to
// compute.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/random.h"
#include "tests/sim/sim_node.h"

namespace larder {

struct SimClientStats {
  uint64_t requests = 0, chunks_wanted = 0, chunks_read = 0, chunks_put = 0, wishes = 0;
};

// Lives as long as the daemon that it is connected to. Every byte that it is given is checked, when
// it gets it and before it gives it back. Not thread-safe.
class SimClient {
 public:
  // How long it waits for chunks that are said to be coming.
  static constexpr absl::Duration kPatience = absl::Seconds(4);
  // The same for being told where chunks are.
  static constexpr absl::Duration kLookPatience = absl::Milliseconds(100);
  // Whoever says for longer that a chunk is coming is wrong.
  static constexpr absl::Duration kPromiseMax = absl::Seconds(12);

  SimClient(SimWorld* world, SimNode* node, uint64_t seed, SimClientStats* stats);

  // Begins to work; until `until` new requests are made.
  void Start(MonotonicTime until);

  bool idle() const { return idle_; }

 private:
  struct Read {
    std::vector<SimChunk> chunks;
    size_t done = 0;
    MonotonicTime deadline;
    MonotonicTime waits_since;
  };

  void Later(absl::Duration delay, EventQueue::Action action);
  void Think();
  void Request();
  void Look(Read read);
  void GoOn(Read read);
  void Use(Read read, const AcquireResult& acquired, size_t count);
  void Check(const Read& read, const AcquireResult& acquired, const char* when);
  void EndRead(const Read& read);
  void Put(std::vector<SimChunk> chunks, size_t from);
  void Fill(const SimChunk& chunk, const std::vector<Part>& parts,
            const std::vector<ReserveOutcome>& outcomes);
  // The engine dies, with whatever it holds; another one takes its place.
  void Die();
  void Meddle();

  std::vector<KeyHash> KeysFrom(const std::vector<SimChunk>& chunks, size_t from) const;
  Core& core() { return node_->core(); }
  MonotonicTime now() const { return node_->Now(); }

  SimWorld* const world_;
  SimNode* const node_;
  SeededRandom random_;
  SimClientStats* const stats_;
  uint64_t life_ = 0;
  SessionId session_;
  MonotonicTime until_;
  bool idle_ = true;
};

}  // namespace larder
