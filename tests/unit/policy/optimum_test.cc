// The offline optimum against all that can be done, on small forests.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "common/clock.h"
#include "common/random.h"
#include "tools/sim/simulation.h"

namespace larder {
namespace {

class Requests final : public RequestSource {
 public:
  explicit Requests(std::vector<std::vector<uint64_t>> paths) : paths_(std::move(paths)) {}

  absl::StatusOr<std::optional<Request>> Next() override {
    if (next_ == paths_.size()) return std::nullopt;
    Request request;
    request.timestamp_ms = 1000.0 * static_cast<double>(next_);
    request.block_ids = paths_[next_++];
    request.input_tokens = static_cast<uint32_t>(request.block_ids.size());
    return request;
  }

 private:
  std::vector<std::vector<uint64_t>> paths_;
  size_t next_ = 0;
};

// The most hits of all ways to keep, after each request, up to `capacity` of what was kept before
// and what was requested. A kept block without all before it may be there; it gives no hit.
uint64_t BruteForce(const BlockTrace& trace, size_t capacity) {
  std::map<uint32_t, uint64_t> best = {{0, 0}};  // hits by the set of kept blocks, a bit each
  for (const TraceRequest& request : trace.requests) {
    std::map<uint32_t, uint64_t> next;
    uint32_t requested = 0;
    for (const uint32_t block : trace.blocks_of(request)) requested |= 1u << block;
    for (const auto& [kept, hits_before] : best) {
      uint64_t hits = hits_before;
      for (const uint32_t block : trace.blocks_of(request)) {
        if ((kept >> block & 1) == 0) break;
        ++hits;
      }
      const uint32_t available = kept | requested;
      for (uint32_t choice = available;; choice = (choice - 1) & available) {
        if (static_cast<size_t>(std::popcount(choice)) <= capacity) {
          uint64_t& known = next[choice];
          known = std::max(known, hits);
        }
        if (choice == 0) break;
      }
    }
    best = std::move(next);
  }
  uint64_t most = 0;
  for (const auto& [kept, hits] : best) most = std::max(most, hits);
  return most;
}

TEST(OptimumTest, NoOtherChoiceGivesMoreHits) {
  for (uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    SeededRandom random(seed);
    std::vector<std::vector<uint64_t>> paths;
    for (int i = 0; i < 9; ++i) {
      std::vector<uint64_t> path;
      for (uint64_t node = 1 + random.Below(8); node > 0; node /= 2) path.push_back(node);
      std::reverse(path.begin(), path.end());
      paths.push_back(path);
    }
    Requests source(paths);
    const absl::StatusOr<BlockTrace> trace = LoadBlockTrace(source, 1, 1000);
    ASSERT_TRUE(trace.ok()) << trace.status();
    for (size_t capacity = 1; capacity <= 5; ++capacity) {
      SimulationOptions options;
      options.policy = "min";
      options.capacity_blocks = capacity;
      const auto result = Simulate(*trace, options, SystemClock::Get());
      ASSERT_TRUE(result.ok()) << result.status();
      EXPECT_EQ(result->hit_blocks, BruteForce(*trace, capacity)) << "capacity " << capacity;
    }
  }
}

}  // namespace
}  // namespace larder
