#include "tools/sim/simulation.h"

#include <algorithm>
#include <limits>
#include <memory>
#include <vector>

#include "common/status.h"
#include "tools/sim/cache_model.h"
#include "tools/sim/disk_tier.h"
#include "tools/sim/router.h"

namespace larder {
namespace {

// One cache with what is behind it.
struct Store {
  std::unique_ptr<CacheModel> memory;
  std::unique_ptr<DiskTier> disk;

  bool Contains(uint32_t block) const {
    return memory->Contains(block) || (disk != nullptr && disk->Contains(block));
  }
  uint32_t Hits(std::span<const uint32_t> blocks) const {
    uint32_t hits = 0;
    while (hits < blocks.size() && Contains(blocks[hits])) ++hits;
    return hits;
  }
};

class Simulation {
 public:
  Simulation(const BlockTrace& trace, const SimulationOptions& options)
      : trace_(trace), options_(options) {}

  absl::Status Prepare() {
    const size_t stores = options_.pooled ? 1 : options_.nodes;
    ASSIGN_OR_RETURN(router_, MakeRouter(options_.router, static_cast<uint32_t>(stores)));
    if (options_.policy == "min") RETURN_IF_ERROR(LookAhead());
    ASSIGN_OR_RETURN(const DiskAdmission admission, ParseDiskAdmission(options_.disk_admission));
    for (size_t i = 0; i < stores; ++i) {
      CacheModelOptions model{
          .trace = &trace_,
          .capacity_blocks = std::max<size_t>(1, options_.capacity_blocks / stores),
          .block_bytes = options_.block_bytes,
          .cost = options_.cost,
          .next_use = &next_use_};
      Store store;
      ASSIGN_OR_RETURN(store.memory, MakeCacheModel(options_.policy, model));
      if (options_.disk_capacity_blocks > 0) {
        store.disk = std::make_unique<DiskTier>(
            trace_, std::max<size_t>(1, options_.disk_capacity_blocks / stores), admission);
      }
      stores_.push_back(std::move(store));
    }
    return absl::OkStatus();
  }

  SimulationResult Run() {
    for (const TraceRequest& request : trace_.requests) Serve(request);
    for (const Store& store : stores_) {
      result_.memory_blocks_written += store.memory->stored();
      if (store.disk != nullptr) result_.disk_blocks_written += store.disk->written();
    }
    return result_;
  }

 private:
  // The next use of each access in the same cache; so the router must not look at the caches.
  absl::Status LookAhead() {
    if (!router_->is_static()) {
      return absl::InvalidArgumentError(
          "policy min needs a router that does not look at the caches: round-robin or session");
    }
    if (options_.disk_capacity_blocks > 0) {
      return absl::InvalidArgumentError("policy min knows no disk");
    }
    std::vector<uint32_t> node_of;
    for (const TraceRequest& request : trace_.requests) {
      node_of.push_back(router_->Choose(trace_, request, [](uint32_t) { return uint32_t{0}; }));
    }
    router_->Reset();
    next_use_.resize(trace_.accesses.size());
    const size_t stores = options_.pooled ? 1 : options_.nodes;
    std::vector<std::vector<uint32_t>> next(stores);
    for (auto& of_store : next) of_store.assign(trace_.unique_blocks(), kNeverUsed);
    for (size_t i = trace_.requests.size(); i > 0; --i) {
      const TraceRequest& request = trace_.requests[i - 1];
      const auto blocks = trace_.blocks_of(request);
      std::vector<uint32_t>& of_store = next[node_of[i - 1]];
      for (size_t k = 0; k < blocks.size(); ++k) {
        next_use_[request.first_access + k] = of_store[blocks[k]];
        of_store[blocks[k]] = static_cast<uint32_t>(i - 1);
      }
    }
    return absl::OkStatus();
  }

  void Serve(const TraceRequest& request) {
    const auto blocks = trace_.blocks_of(request);
    const uint32_t node = router_->Choose(
        trace_, request, [&](uint32_t candidate) { return stores_[candidate].Hits(blocks); });
    Store& store = stores_[node];
    const uint32_t hits = store.Hits(blocks);
    Count(request, hits);
    if (store.disk != nullptr) {
      for (uint32_t i = 0; i < hits; ++i) {
        if (!store.memory->Contains(blocks[i])) ++result_.disk_hit_blocks;
      }
      store.disk->Use(request, [&](uint32_t block) { return !store.memory->Contains(block); });
    }
    store.memory->Serve(request);
    if (store.disk != nullptr) {
      for (const uint32_t block : store.memory->left()) store.disk->Offer(block);
    }
    store.memory->left().clear();
  }

  void Count(const TraceRequest& request, uint32_t hits) {
    const uint64_t hit_tokens =
        std::min<uint64_t>(uint64_t{hits} * trace_.tokens_per_block, request.tokens);
    result_.accesses += request.blocks;
    result_.hit_blocks += hits;
    result_.tokens += request.tokens;
    result_.hit_tokens += hit_tokens;
    result_.work += options_.cost.Prefix(request.tokens);
    result_.saved_work += options_.cost.Prefix(static_cast<double>(hit_tokens));
  }

  const BlockTrace& trace_;
  const SimulationOptions& options_;
  std::unique_ptr<Router> router_;
  std::vector<Store> stores_;
  std::vector<uint32_t> next_use_;
  SimulationResult result_;
};

}  // namespace

absl::StatusOr<SimulationResult> Simulate(const BlockTrace& trace, const SimulationOptions& options,
                                          const Clock& clock) {
  Simulation simulation(trace, options);
  RETURN_IF_ERROR(simulation.Prepare());
  const MonotonicTime start = clock.Now();
  SimulationResult result = simulation.Run();
  result.elapsed = clock.Now() - start;
  return result;
}

}  // namespace larder
