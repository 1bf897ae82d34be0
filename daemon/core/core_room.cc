// Making room: what a chunk is worth, who has to give way, what need not come in.
#include "daemon/core/core.h"

namespace larder {
namespace {

// Bound on the work of one reservation: how many chunks may be evicted for it.
constexpr uint32_t kEvictionsPerReservationMax = 1024;
// And how many bytes may be moved within the arena, which takes about a millisecond.
constexpr uint64_t kMovedBytesPerReservationMax = uint64_t{8} << 20;

}  // namespace

ChunkTraits Core::TraitsOf(const Space& space, const KeyHash& key, uint32_t depth, const Part& part,
                           uint64_t bytes, uint8_t category) const {
  const Manifest& manifest = space.description.manifest;
  const uint64_t chunk_bytes = bytes * AreaOf(manifest.WholePart()) / AreaOf(part);
  const double tokens = manifest.tokens_per_chunk;
  // Within a model, computing a token takes in proportion to the bytes that are kept of it, but for
  // attention.
  const double tokens_worth = options_.cost.Range(depth * tokens, depth * tokens + tokens) / tokens;
  return {.key = Catalog::PolicyKey(space.handle, key),
          .depth = depth,
          .bytes = chunk_bytes,
          .recompute_cost = tokens_worth * static_cast<double>(chunk_bytes),
          .category = category};
}

Core::Allocation Core::AllocateEvicting(SpaceHandle space, uint64_t bytes,
                                        const ChunkTraits* newcomer, MonotonicTime now) {
  using Kind = ReserveOutcome::Kind;
  // Evicting everything would not make room for more than there is.
  if (bytes > allocator_.capacity_bytes()) return {.kind = Kind::kNoSpace, .offset = 0};
  const GroupIndex group = catalog_.GroupOf(space);
  // What goes to disk afterwards has to come through memory.
  bool admitted = newcomer == nullptr || WritesToDisk();
  uint64_t move_budget = kMovedBytesPerReservationMax;
  for (uint32_t evictions = 0; evictions <= kEvictionsPerReservationMax; ++evictions) {
    const bool below_ceiling = shares_.Fits(group, bytes);
    if (below_ceiling) {
      if (const std::optional<uint64_t> offset = allocator_.Allocate(bytes)) {
        shares_.Add(group, bytes);
        return {.kind = Kind::kGranted, .offset = *offset};
      }
    }
    const ChunkIndex victim = below_ceiling ? VictimFor(group, now) : VictimIn(group, now);
    if (victim == kNoChunk)
      return {.kind = below_ceiling ? Kind::kNoSpace : Kind::kQuota, .offset = 0};
    // Between tenants it is their shares that decide.
    const bool own = catalog_.GroupOf(catalog_.chunk(victim).space) == group;
    if (!admitted && own && !catalog_.Admits(group, *newcomer, victim, now)) {
      return {.kind = Kind::kRefused, .offset = 0};
    }
    admitted = true;
    if (Shorten(victim, &move_budget)) continue;
    Evict(victim, below_ceiling ? RemovalCause::kCapacity : RemovalCause::kQuota);
  }
  return {.kind = Kind::kNoSpace, .offset = 0};
}

void Core::FreeExtent(SpaceHandle space, uint64_t offset, uint64_t bytes) {
  allocator_.Free(offset, bytes);
  shares_.Subtract(catalog_.GroupOf(space), bytes);
}

ChunkIndex Core::VictimFor(GroupIndex group, MonotonicTime now) {
  const ChunkIndex ready = TakeReady();
  return ready != kNoChunk ? ready : NextToLeave(group, now);
}

ChunkIndex Core::NextToLeave(GroupIndex group, MonotonicTime now) {
  for (const size_t donor : shares_.Donors(group)) {
    const ChunkIndex victim = VictimIn(static_cast<GroupIndex>(donor), now);
    if (victim != kNoChunk) return victim;
  }
  return kNoChunk;
}

void Core::Evict(ChunkIndex victim, RemovalCause cause) {
  const bool saved = IsOnDisk(victim);
  if (disk_ != nullptr && !saved) ++stats_.dropped_before_demotion;
  RemoveChunk(victim, saved ? RemovalCause::kDemoted : cause);
}

}  // namespace larder
