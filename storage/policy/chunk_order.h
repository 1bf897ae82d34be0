// What an order in which chunks leave the memory tier has to offer.
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "common/clock.h"

namespace larder {

// What an order wants to know of a chunk.
struct ChunkTraits {
  uint64_t key = 0;           // the same whenever the chunk comes back, evenly spread over 64 bits
  uint32_t depth = 0;         // how many chunks are before it in its prefix
  uint64_t bytes = 1;         // more than 0
  double recompute_cost = 1;  // what computing it again takes, in any unit (recompute_cost.h)
  uint8_t category = 0;       // below kChunkCategories: kinds that the caller tells apart
};
inline constexpr uint32_t kChunkCategories = 4;

// By which rule an item stands where it does in its order.
enum class StandingRule : uint8_t {
  kLeastRecent,  // when it was last used
  kLearned,      // what is expected of it
  kGoesFirst,    // a hint
};
struct Standing {
  StandingRule rule = StandingRule::kLeastRecent;
  float worth = 0;  // kLearned: expected hits per second, weighted by cost per byte
};

// Items are small integers that the caller chooses and may reuse. Which of them may go is the
// caller's business: an order asks when it needs to know. It drops an item that may not go, and the
// caller says when it may again. So leaves leave before their parents without any search, and
// reading a chunk costs the order next to nothing.
//
// Pure: time comes in as an argument and never goes back; equal calls give equal decisions. Not
// thread-safe. Each call does a bounded amount of work.
class ChunkOrder {
 public:
  static constexpr uint32_t kNone = 0xffffffffu;

  virtual ~ChunkOrder() = default;

  // A new item that is in no order before it is touched.
  virtual void Insert(uint32_t item, const ChunkTraits& traits, MonotonicTime now) = 0;
  // The item was used. The first call after Insert counts as the use that missed. Touch a prefix
  // deepest chunk first, so that it leaves last. `may_go`: it could be a victim now.
  virtual void Touch(uint32_t item, bool may_go, MonotonicTime now) = 0;
  // Forgets the item, but not that it was there.
  virtual void Remove(uint32_t item) = 0;
  // The item may be a victim again. No effect before its first Touch.
  virtual void Reconsider(uint32_t item) = 0;
  // Takes the item out of the order until it is touched or reconsidered.
  virtual void SetAside(uint32_t item) = 0;
  // The item, which may go, does so before all of which that was not said, until it is used.
  virtual void LetGoFirst(uint32_t item) = 0;
  // Makes a Touch that follows soon cheaper.
  virtual void Prefetch(uint32_t item) const = 0;

  virtual Standing StandingOf(uint32_t item) const = 0;

  // The item that should go first, or kNone: there is none, or the first `looks_max` that were
  // looked at may not go (then a further call looks at others). Does not remove it.
  virtual uint32_t Victim(MonotonicTime now, uint32_t looks_max,
                          absl::FunctionRef<bool(uint32_t)> may_go) = 0;

  // Whether a chunk that is not stored is worth at least as much as `victim`. If it is not stored
  // then, say so with Refuse.
  virtual bool Admits(const ChunkTraits& traits, uint32_t victim, MonotonicTime now) = 0;
  virtual void Refuse(const ChunkTraits& traits, MonotonicTime now) = 0;
};

}  // namespace larder
