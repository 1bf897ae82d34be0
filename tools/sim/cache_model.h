// The one interface of all simulated caches.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/policy/recompute_cost.h"
#include "tools/sim/block_trace.h"

namespace larder {

// A cache of blocks of equal size. Not thread-safe.
class CacheModel {
 public:
  virtual ~CacheModel() = default;

  virtual bool Contains(uint32_t block) const = 0;

  // Serves a request whose first `hits` blocks were present, here or in a lower tier: all its
  // blocks are used now, and what is missing may be stored.
  virtual void Serve(const TraceRequest& request) = 0;

  // How many blocks were stored so far.
  uint64_t stored() const { return stored_; }
  // The blocks that were evicted, or used and not stored, since the list was last cleared: what a
  // lower tier may take.
  std::vector<uint32_t>& left() { return left_; }

 protected:
  uint64_t stored_ = 0;
  std::vector<uint32_t> left_;
};

struct CacheModelOptions {
  const BlockTrace* trace = nullptr;
  size_t capacity_blocks = 1;
  uint64_t block_bytes = 1;
  CostModel cost = {};
  // For the offline optimum: for each access the position of the request that uses the block next
  // in the same cache, or kNeverUsed.
  const std::vector<uint32_t>* next_use = nullptr;
};
inline constexpr uint32_t kNeverUsed = 0xffffffffu;

// The names, for help texts.
inline constexpr absl::string_view kPolicyNames =
    "larder, fifo, lru, leaf-lru, lfu, gdsf, pgdsf, s3fifo, sieve, arc, wtinylfu, min";

// INVALID_ARGUMENT names an unknown policy. What `options` point to must outlive the model.
absl::StatusOr<std::unique_ptr<CacheModel>> MakeCacheModel(absl::string_view policy,
                                                           const CacheModelOptions& options);

// The makers behind it, by the file that has them.
std::unique_ptr<CacheModel> MakeRecencyModel(absl::string_view policy,
                                             const CacheModelOptions& options);
std::unique_ptr<CacheModel> MakeQueueModel(absl::string_view policy,
                                           const CacheModelOptions& options);
std::unique_ptr<CacheModel> MakePriorityModel(absl::string_view policy,
                                              const CacheModelOptions& options);
std::unique_ptr<CacheModel> MakeLarderModel(const CacheModelOptions& options);
std::unique_ptr<CacheModel> MakeOptimumModel(const CacheModelOptions& options);

}  // namespace larder
