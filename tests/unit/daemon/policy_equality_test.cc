// The daemon's core and the simulator take the same decisions on the same requests.
#include <gtest/gtest.h>

#include <limits>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "common/hash.h"
#include "common/random.h"
#include "tests/unit/daemon/core_testing.h"
#include "tools/sim/cache_model.h"

namespace larder {
namespace {

constexpr uint32_t kTokensPerBlock = 4;  // as TestSpace has
constexpr size_t kCapacity = 120;

// Sessions that go on, some longer and more often than others, with a few shared beginnings. All
// blocks are full.
class Sessions final : public RequestSource {
 public:
  explicit Sessions(uint64_t requests) : left_(requests) {}

  absl::StatusOr<std::optional<Request>> Next() override {
    if (left_ == 0) return std::nullopt;
    --left_;
    time_ms_ += static_cast<double>(random_.Below(4000));
    const uint64_t user = random_.Below(3) == 0 ? random_.Below(200) : random_.Below(12);
    std::vector<uint64_t>& blocks = sessions_[user];
    if (blocks.empty() || random_.Below(12) == 0) {
      blocks.clear();
      for (uint64_t i = 0; i <= random_.Below(4); ++i) blocks.push_back(1 + user % 3 * 10 + i);
    }
    for (uint64_t i = 0; i <= random_.Below(3); ++i) blocks.push_back(next_block_++);
    Request request;
    request.timestamp_ms = time_ms_;
    request.block_ids = blocks;
    request.input_tokens = static_cast<uint32_t>(kTokensPerBlock * blocks.size());
    return request;
  }

 private:
  SeededRandom random_{5};
  uint64_t left_;
  double time_ms_ = 0;
  uint64_t next_block_ = 1000;
  std::vector<std::vector<uint64_t>> sessions_ = std::vector<std::vector<uint64_t>>(200);
};

// What the simulator calls a block.
KeyHash KeyOfBlock(uint64_t block) {
  return {HashBytes({reinterpret_cast<const uint8_t*>(&block), sizeof(block)}).low, block + 1};
}

// A core that is asked for what an engine asks: lease the prefix that is there, put the rest.
class Daemon {
 public:
  explicit Daemon(MonotonicTime start) : harness_(kCapacity) { harness_.now = start; }

  // How many blocks were there.
  size_t Serve(const BlockTrace& trace, const TraceRequest& request) {
    Core& core = harness_.core();
    const auto blocks = trace.blocks_of(request);
    std::vector<KeyHash> keys;
    for (const uint32_t block : blocks) keys.push_back(KeyOfBlock(block));
    const auto held = core.Acquire(session_, space_, keys, harness_.Whole(space_), request.time);
    EXPECT_TRUE(held.ok()) << held.status();
    const size_t hits = held->chunks.size();
    std::vector<ReserveItem> items;
    for (size_t i = hits; i < blocks.size(); ++i) {
      items.push_back({.key = keys[i],
                       .parent = i == 0 ? KeyHash{} : keys[i - 1],
                       .depth = static_cast<uint32_t>(i),
                       .part = harness_.Whole(space_),
                       .bytes = kTestGranuleBytes});
    }
    const auto outcomes = core.Reserve(session_, space_, items, {}, request.time);
    EXPECT_TRUE(outcomes.ok()) << outcomes.status();
    std::vector<ReservationId> granted;
    for (const ReserveOutcome& outcome : *outcomes) {
      if (outcome.kind == ReserveOutcome::Kind::kGranted) granted.push_back(outcome.id);
    }
    for (const absl::Status& status : core.Commit(session_, granted, request.time)) {
      EXPECT_TRUE(status.ok()) << status;
    }
    if (held->lease) {
      EXPECT_TRUE(core.Release(session_, held->lease).ok());
    }
    return hits;
  }

  bool Contains(uint32_t block) {
    return harness_.core().Inspect(space_, KeyOfBlock(block)).has_value();
  }
  CoreStats Stats() { return harness_.core().Stats(); }

 private:
  CoreHarness harness_;
  SpaceHandle space_ = harness_.Open();
  SessionId session_ = harness_.OpenSession();
};

TEST(PolicyEqualityTest, DaemonAndSimulatorKeepTheSameChunks) {
  Sessions source(30'000);
  const auto trace = LoadBlockTrace(source, kTokensPerBlock, std::numeric_limits<uint64_t>::max());
  ASSERT_TRUE(trace.ok()) << trace.status();
  const auto model = MakeCacheModel(
      "larder", {.trace = &*trace, .capacity_blocks = kCapacity, .block_bytes = kTokensPerBlock});
  ASSERT_TRUE(model.ok()) << model.status();
  Daemon daemon(trace->requests[0].time);
  uint64_t hits = 0;
  for (const TraceRequest& request : trace->requests) {
    size_t expected = 0;
    const auto blocks = trace->blocks_of(request);
    while (expected < blocks.size() && (*model)->Contains(blocks[expected])) ++expected;
    (*model)->Serve(request);
    const size_t found = daemon.Serve(*trace, request);
    ASSERT_EQ(found, expected) << "request " << (&request - trace->requests.data());
    hits += found;
  }
  for (uint32_t block = 0; block < trace->unique_blocks(); ++block) {
    ASSERT_EQ(daemon.Contains(block), (*model)->Contains(block)) << "block " << block;
  }
  EXPECT_GT(hits, trace->accesses.size() / 20);
  const CoreStats stats = daemon.Stats();
  EXPECT_GT(stats.removed_chunks[static_cast<size_t>(RemovalCause::kCapacity)], 10'000u);
  EXPECT_GT(stats.reserve_refused, 100u) << "the learned order was in use";
}

}  // namespace
}  // namespace larder
