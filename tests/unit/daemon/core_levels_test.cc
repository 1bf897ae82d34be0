// Chunks lose their finest levels before they leave: what is left is theirs, and nobody else's.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <map>
#include <vector>

#include "common/random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/daemon/core_testing.h"

namespace larder {
namespace {

constexpr uint64_t kGranule = kTestGranuleBytes;
constexpr uint64_t kCutsPerGranule = kGranule / kBlockCutUnitBytes;
// Four levels of a granule each, of which two stay.
constexpr uint64_t kLong = 4 * kGranule;
constexpr uint64_t kShort = 2 * kGranule;

// A core with bytes to look after: each block is filled with its key's number.
class LevelsHarness {
 public:
  explicit LevelsHarness(uint64_t granules, const CoreOptions& options = {},
                         DropLevels drop_levels = DropLevels::kFinestFirst)
      : core_(granules, With(options, drop_levels)), data_(granules * kGranule) {
    core_.core().SetMover([this](uint64_t from, uint64_t to, uint64_t bytes) {
      EXPECT_TRUE(from + bytes <= to || to + bytes <= from);
      std::memcpy(&data_[to], &data_[from], bytes);
    });
    space_ = core_.Open();
    session_ = core_.OpenSession();
  }

  static CoreOptions With(CoreOptions options, DropLevels drop_levels) {
    options.drop_levels = drop_levels;
    return options;
  }

  bool Put(uint64_t key, uint64_t bytes = kLong, uint64_t parent = 0, uint32_t depth = 0) {
    core_.now = core_.now + absl::Milliseconds(2);
    const ReserveOutcome outcome = core_.Reserve(session_, space_,
                                                 {.key = Key(key),
                                                  .parent = parent == 0 ? KeyHash{} : Key(parent),
                                                  .depth = depth,
                                                  .part = core_.Whole(space_),
                                                  .bytes = bytes});
    if (outcome.kind != ReserveOutcome::Kind::kGranted) return false;
    std::fill_n(data_.begin() + static_cast<ptrdiff_t>(outcome.offset), bytes,
                static_cast<uint8_t>(key));
    BlockCuts cuts = {};
    for (uint32_t level = 0; level < cuts.size() && (level + 1) * kGranule < bytes; ++level) {
      cuts[level] = static_cast<uint32_t>((level + 1) * kCutsPerGranule);
    }
    EXPECT_TRUE(core().SetCuts(session_, outcome.id, cuts).ok());
    return core_.Commit(session_, outcome.id).ok();
  }
  bool Use(uint64_t key) {
    core_.now = core_.now + absl::Milliseconds(2);
    const LeaseId lease = core_.Lease(session_, space_, key);
    return lease && core().Release(session_, lease).ok();
  }
  // 0: it is not there.
  uint64_t BytesOf(uint64_t key) {
    const auto info = core().Inspect(space_, Key(key));
    return info ? info->bytes : 0;
  }
  // Every chunk's bytes are its own, no two share any, and the sums are right.
  void Check() {
    std::vector<ChunkInfo> chunks;
    std::optional<ChunkIndex> cursor = 0;
    while (cursor) cursor = core().ListStep(space_, *cursor, 1 << 20, &chunks);
    std::map<uint64_t, uint64_t> extents;
    uint64_t bytes = 0, granules = 0;
    for (const ChunkInfo& chunk : chunks) {
      ASSERT_EQ(chunk.extents.size(), 1u);
      const BlockExtent& extent = chunk.extents[0];
      extents[extent.offset] = extent.bytes;
      bytes += extent.bytes;
      granules += (extent.bytes + kGranule - 1) / kGranule;
      EXPECT_TRUE(std::all_of(data_.begin() + static_cast<ptrdiff_t>(extent.offset),
                              data_.begin() + static_cast<ptrdiff_t>(extent.offset + extent.bytes),
                              [&](uint8_t b) { return b == static_cast<uint8_t>(chunk.key.low); }))
          << "chunk " << chunk.key.low;
    }
    uint64_t end = 0;
    for (const auto& [offset, length] : extents) {
      EXPECT_GE(offset, end);
      end = offset + length;
    }
    EXPECT_EQ(core().Stats().used_bytes, granules * kGranule);
    EXPECT_EQ(core().Stats().groups[0].memory_bytes, bytes);
    EXPECT_EQ(core().FindSpace(space_)->stats.resident_bytes, bytes);
    EXPECT_EQ(core_.table().used_records(), chunks.size());
  }

  Core& core() { return core_.core(); }
  CoreHarness& harness() { return core_; }
  SpaceHandle space() const { return space_; }
  SessionId session() const { return session_; }

 private:
  CoreHarness core_;
  std::vector<uint8_t> data_;
  SpaceHandle space_ = 0;
  SessionId session_;
};

TEST(CoreLevelsTest, TwoThatLostLevelsFitInThePlaceOfOne) {
  LevelsHarness node(16);
  for (uint64_t key = 1; key <= 4; ++key) ASSERT_TRUE(node.Put(key));
  ASSERT_TRUE(node.Put(5));
  EXPECT_EQ(node.BytesOf(1), kShort);
  EXPECT_EQ(node.BytesOf(2), kShort);
  for (uint64_t key = 3; key <= 5; ++key) EXPECT_EQ(node.BytesOf(key), kLong) << key;
  const CoreStats stats = node.core().Stats();
  EXPECT_EQ(stats.shortened_chunks, 2u);
  EXPECT_EQ(stats.shortened_bytes, kLong);
  EXPECT_EQ(stats.moved_bytes, kShort);
  EXPECT_EQ(stats.removed_chunks[static_cast<size_t>(RemovalCause::kCapacity)], 0u);
  EXPECT_EQ(node.core().Inspect(node.space(), Key(1))->dropped_levels, 2u);
  node.Check();
}

TEST(CoreLevelsTest, NeverMeansWholeChunks) {
  LevelsHarness node(16, {}, DropLevels::kNever);
  for (uint64_t key = 1; key <= 5; ++key) ASSERT_TRUE(node.Put(key));
  EXPECT_EQ(node.BytesOf(1), 0u);
  for (uint64_t key = 2; key <= 5; ++key) EXPECT_EQ(node.BytesOf(key), kLong) << key;
  EXPECT_EQ(node.core().Stats().shortened_chunks, 0u);
  node.Check();
}

TEST(CoreLevelsTest, TheFloorIsASetting) {
  LevelsHarness node(16, {.levels_min = 3});
  for (uint64_t key = 1; key <= 8; ++key) ASSERT_TRUE(node.Put(key));
  for (uint64_t key = 1; key <= 8; ++key) {
    EXPECT_THAT(node.BytesOf(key), testing::AnyOf(0u, 3 * kGranule, kLong)) << key;
  }
  EXPECT_GT(node.core().Stats().shortened_chunks, 0u);
  node.Check();
}

TEST(CoreLevelsTest, AtTheFloorAChunkLeavesWhole) {
  LevelsHarness node(16, {.order = OrderKind::kLru});
  for (uint64_t key = 1; key <= 40; ++key) {
    ASSERT_TRUE(node.Put(key)) << key;
    node.Check();
  }
  // Half of the memory for those that lost levels, of which twice as many fit in.
  EXPECT_GE(node.core().Stats().chunks, 5u);
  EXPECT_EQ(node.BytesOf(1), 0u);
  EXPECT_EQ(node.BytesOf(40), kLong);
}

TEST(CoreLevelsTest, WhatIsInUseKeepsItsLevels) {
  LevelsHarness node(32, {.order = OrderKind::kLru});
  ASSERT_TRUE(node.Put(1));
  for (uint64_t key = 2; key <= 60; ++key) {
    ASSERT_TRUE(node.Put(key)) << key;
    ASSERT_TRUE(node.Use(1)) << key;
  }
  EXPECT_EQ(node.BytesOf(1), kLong);
}

TEST(CoreLevelsTest, AUseBringsAShortenedChunkBackIntoTheOrder) {
  LevelsHarness node(16, {.order = OrderKind::kLru});
  for (uint64_t key = 1; key <= 5; ++key) ASSERT_TRUE(node.Put(key));
  ASSERT_EQ(node.BytesOf(1), kShort);
  ASSERT_TRUE(node.Use(1));
  for (uint64_t key = 6; key <= 7; ++key) ASSERT_TRUE(node.Put(key));
  EXPECT_EQ(node.BytesOf(1), kShort);
  EXPECT_EQ(node.BytesOf(2), 0u);
  node.Check();
}

TEST(CoreLevelsTest, AWholeChunkLeavesBeforeAShortenedOneOnlyIfItIsOlder) {
  LevelsHarness node(16, {.order = OrderKind::kLru});
  for (uint64_t key = 1; key <= 2; ++key) ASSERT_TRUE(node.Put(key));
  ASSERT_TRUE(node.Put(11, kGranule));
  ASSERT_TRUE(node.Put(3));
  ASSERT_TRUE(node.Put(4));  // There was one granule left less than it needs.
  ASSERT_EQ(node.BytesOf(1), kShort);
  ASSERT_TRUE(node.Put(12, kGranule));
  ASSERT_TRUE(node.Put(5));
  EXPECT_EQ(node.BytesOf(1), 0u);
  EXPECT_EQ(node.BytesOf(2), 0u);
  EXPECT_EQ(node.BytesOf(11), kGranule);
  EXPECT_EQ(node.BytesOf(12), kGranule);
  node.Check();
}

TEST(CoreLevelsTest, ALeasedChunkKeepsItsBytes) {
  LevelsHarness node(16);
  for (uint64_t key = 1; key <= 4; ++key) ASSERT_TRUE(node.Put(key));
  const LeaseId lease = node.harness().Lease(node.session(), node.space(), 1);
  ASSERT_TRUE(lease);
  for (uint64_t key = 5; key <= 9; ++key) ASSERT_TRUE(node.Put(key));
  EXPECT_EQ(node.BytesOf(1), kLong);
  node.Check();
}

TEST(CoreLevelsTest, AWholePrefixLosesLevelsFromItsEnd) {
  LevelsHarness node(16, {.order = OrderKind::kLru});
  for (uint64_t key = 1; key <= 4; ++key) {
    ASSERT_TRUE(node.Put(key, kLong, key - 1, static_cast<uint32_t>(key - 1)));
  }
  ASSERT_TRUE(node.Put(9));
  EXPECT_EQ(node.BytesOf(1), kLong);
  EXPECT_EQ(node.BytesOf(2), kLong);
  EXPECT_EQ(node.BytesOf(3), kShort);
  EXPECT_EQ(node.BytesOf(4), kShort);
}

TEST(CoreLevelsTest, CutsOutsideTheBlockAreRefused) {
  LevelsHarness node(16);
  const ReserveOutcome outcome = node.harness().Reserve(node.session(), node.space(),
                                                        {.key = Key(1),
                                                         .parent = {},
                                                         .depth = 0,
                                                         .part = node.harness().Whole(node.space()),
                                                         .bytes = kLong});
  ASSERT_EQ(outcome.kind, ReserveOutcome::Kind::kGranted);
  const auto set = [&](const BlockCuts& cuts) {
    return node.core().SetCuts(node.session(), outcome.id, cuts).code();
  };
  EXPECT_EQ(set({kLong / kBlockCutUnitBytes, 0, 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(set({2, 1, 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(set({1, 1, 0}), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(set({1, 2, 3}), absl::StatusCode::kOk);
  EXPECT_EQ(node.core().SetCuts(node.session(), ReservationId{99}, {}).code(),
            absl::StatusCode::kNotFound);
}

// A kill between the commit of the short record and the end of the long one leaves both.
TEST(CoreLevelsTest, OfTwoRecordsOfAChunkARestartKeepsOne) {
  for (const bool moved : {false, true}) {
    LevelsHarness node(16);
    ASSERT_TRUE(node.Put(1));
    BlockRecord record = node.harness().table().Read(0);
    record.bytes = kShort;
    if (moved) record.offset += 8 * kGranule;
    const uint32_t other = *node.harness().table().AllocateRecord();
    node.harness().table().WriteReserved(other, record);
    node.harness().table().Commit(other, record.sequence);
    RecoveryReport report;
    const auto next = node.harness().AfterKill(&report);
    EXPECT_EQ(report.chunks, 1u);
    EXPECT_EQ(report.discarded_blocks, 1u);
    EXPECT_THAT(next->core().Stats().used_bytes, testing::AnyOf(kShort, kLong));
    EXPECT_EQ(next->table().used_records(), 1u);
    EXPECT_TRUE(next->IsVisible(node.space(), 1));
  }
}

TEST(CoreLevelsTest, ShortenedChunksSurviveAKill) {
  LevelsHarness node(16);
  for (uint64_t key = 1; key <= 5; ++key) ASSERT_TRUE(node.Put(key));
  RecoveryReport report;
  const auto next = node.harness().AfterKill(&report);
  EXPECT_EQ(report.chunks, 5u);
  EXPECT_EQ(report.discarded_blocks, 0u);
  EXPECT_EQ(next->core().Inspect(node.space(), Key(1))->bytes, kShort);
  EXPECT_EQ(next->core().Inspect(node.space(), Key(1))->dropped_levels, 2u);
}

TEST(CoreLevelsTest, RandomPressureKeepsEveryByteInItsPlace) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    CoreOptions options;
    options.levels_min = 1 + static_cast<uint32_t>(seed % 3);
    options.order = seed % 2 == 0 ? OrderKind::kLru : OrderKind::kLearned;
    LevelsHarness node(48, options);
    uint64_t last_key = 0;
    std::vector<LeaseId> leases;
    for (int step = 0; step < 600; ++step) {
      const uint64_t choice = random.Below(8);
      const uint64_t key = 1 + random.Below(last_key + 1);
      if (choice < 5) {
        const uint64_t parent = random.Below(2) == 0 && node.BytesOf(last_key) > 0 ? last_key : 0;
        const auto depth = static_cast<uint32_t>(parent == 0 ? 0 : last_key);
        ++last_key;
        (void)node.Put(last_key, (1 + random.Below(4)) * kGranule - random.Below(64), parent,
                       depth);
      } else if (choice < 7) {
        (void)node.Use(key);
      } else if (leases.size() < 3) {
        if (const LeaseId lease = node.harness().Lease(node.session(), node.space(), key)) {
          leases.push_back(lease);
        }
      } else {
        EXPECT_TRUE(node.core().Release(node.session(), leases.back()).ok());
        leases.pop_back();
      }
      if (step % 20 == 0) node.Check();
    }
    EXPECT_GT(node.core().Stats().shortened_chunks, 0u);
    for (const LeaseId lease : leases) EXPECT_TRUE(node.core().Release(node.session(), lease).ok());
    node.harness().ClearAll();
    node.core().CloseSession(node.session());
    EXPECT_TRUE(node.harness().IsPristine());
  }
}

}  // namespace
}  // namespace larder
