// The checks of the model, and what it derives from its plain state.
#include <algorithm>
#include <set>

#include "gtest/gtest.h"
#include "tests/unit/daemon/core_model.h"

namespace larder {
namespace {

uint64_t RoundUp(uint64_t bytes) {
  return (bytes + kTestGranuleBytes - 1) / kTestGranuleBytes * kTestGranuleBytes;
}

}  // namespace

// --- checks -------------------------------------------------------------------------------------

void CoreModel::Check() {
  CheckChunks();
  CheckExtentsAreDisjoint();
  CheckStats();
}

void CoreModel::CheckChunks() {
  std::vector<ChunkInfo> listed;
  for (std::optional<ChunkIndex> at = 0; at;)
    at = core().ListStep(std::nullopt, *at, 1000, &listed);
  EXPECT_EQ(listed.size(), chunks_.size());
  for (const ChunkInfo& info : listed) {
    const Name name{info.space, info.key};
    SCOPED_TRACE(testing::Message() << "space " << name.first << " key " << name.second.low);
    const auto found = chunks_.find(name);
    ASSERT_NE(found, chunks_.end()) << "a chunk that should be gone";
    const ModelChunk& chunk = found->second;
    std::set<Extent> extents;
    for (const BlockExtent& extent : info.extents) {
      extents.insert({extent.part, extent.offset, extent.bytes});
    }
    EXPECT_EQ(extents, std::set<Extent>(chunk.extents.begin(), chunk.extents.end()));
    EXPECT_EQ(info.visible, IsVisible(name, chunk));
    EXPECT_EQ(info.pinned, chunk.pinned);
    EXPECT_EQ(info.leases, LeasesOn(chunk.incarnation));
    EXPECT_EQ(info.depth, chunk.depth);
    EXPECT_EQ(info.expiry.value_or(MonotonicTime{}), chunk.expiry);
    EXPECT_EQ(info.children, std::count_if(chunks_.begin(), chunks_.end(), [&](const auto& entry) {
                return entry.second.parent == chunk.incarnation;
              }));
  }
}

void CoreModel::CheckExtentsAreDisjoint() {
  std::vector<Extent> all;
  for (const auto& [name, chunk] : chunks_) {
    all.insert(all.end(), chunk.extents.begin(), chunk.extents.end());
  }
  for (const auto& [incarnation, gone] : doomed_) {
    all.insert(all.end(), gone.second.begin(), gone.second.end());
  }
  for (const auto& [id, reservation] : reservations_) all.push_back(reservation.extent);
  EXPECT_EQ(harness_->table().used_records(), all.size());
  all.insert(all.end(), orphans_.begin(), orphans_.end());
  std::sort(all.begin(), all.end(),
            [](const Extent& a, const Extent& b) { return a.offset < b.offset; });
  uint64_t used_bytes = 0;
  for (size_t i = 0; i < all.size(); ++i) {
    const uint64_t end = all[i].offset + RoundUp(all[i].bytes);
    EXPECT_LE(end, i + 1 < all.size() ? all[i + 1].offset : harness_->data_bytes());
    used_bytes += RoundUp(all[i].bytes);
  }
  EXPECT_EQ(core().Stats().used_bytes, used_bytes);
}

void CoreModel::CheckStats() {
  const CoreStats stats = core().Stats();
  uint64_t reserved_bytes = 0, void_reservations = 0;
  for (const auto& [id, reservation] : reservations_) {
    reserved_bytes += reservation.item.bytes;
    void_reservations += reservation.is_void;
  }
  EXPECT_EQ(stats.reserved_bytes, reserved_bytes);
  EXPECT_EQ(stats.void_reservations, void_reservations);
  EXPECT_EQ(stats.reservations, reservations_.size());
  EXPECT_EQ(stats.leases, leases_.size());
  EXPECT_EQ(stats.sessions, sessions_.size());
  EXPECT_EQ(stats.chunks, chunks_.size());
  EXPECT_EQ(stats.pinned_bytes, PinnedBytes());
  EXPECT_EQ(stats.removed_chunks, removed_);
  for (SpaceHandle space : spaces_) {
    uint64_t chunks = 0, bytes = 0;
    for (const auto& [name, chunk] : chunks_) {
      if (name.first != space) continue;
      ++chunks;
      bytes += BytesOf(chunk);
    }
    for (const auto& [incarnation, gone] : doomed_) {
      if (gone.first != space) continue;
      ++chunks;
      for (const Extent& extent : gone.second) bytes += extent.bytes;
    }
    EXPECT_EQ(core().FindSpace(space)->stats.resident_chunks, chunks);
    EXPECT_EQ(core().FindSpace(space)->stats.resident_bytes, bytes);
  }
}

// --- helpers ------------------------------------------------------------------------------------

bool CoreModel::IsVisible(const Name& name, const ModelChunk& chunk) const {
  // Cell by cell, unlike the core, which trusts that areas add up.
  const Part whole = harness_->Whole(name.first);
  for (uint16_t layer = 0; layer < whole.layer_end; ++layer) {
    for (uint16_t head = 0; head < whole.head_end; ++head) {
      const auto holds = [&](const Extent& e) {
        return e.part.layer_begin <= layer && layer < e.part.layer_end &&
               e.part.head_begin <= head && head < e.part.head_end;
      };
      if (std::none_of(chunk.extents.begin(), chunk.extents.end(), holds)) return false;
    }
  }
  return true;
}

bool CoreModel::IsReadable(const Name& name) const {
  const auto found = chunks_.find(name);
  if (found == chunks_.end() || !IsVisible(name, found->second)) return false;
  return found->second.expiry.nanoseconds == 0 || found->second.expiry > harness_->now;
}

size_t CoreModel::ReadablePrefix(SpaceHandle space, const std::vector<KeyHash>& keys) const {
  const auto end = std::find_if_not(keys.begin(), keys.end(), [&](const KeyHash& key) {
    return IsReadable({space, key});
  });
  return static_cast<size_t>(end - keys.begin());
}

uint64_t CoreModel::LeasesOn(uint64_t incarnation) const {
  uint64_t leases = 0;
  for (const auto& [id, lease] : leases_) {
    leases +=
        static_cast<uint64_t>(std::count(lease.chunks.begin(), lease.chunks.end(), incarnation));
  }
  return leases;
}

uint64_t CoreModel::PinnedBytes() const {
  uint64_t bytes = 0;
  for (const auto& [name, chunk] : chunks_) bytes += chunk.pinned ? BytesOf(chunk) : 0;
  return bytes;
}

uint64_t CoreModel::BytesOf(const ModelChunk& chunk) {
  uint64_t bytes = 0;
  for (const Extent& extent : chunk.extents) bytes += extent.bytes;
  return bytes;
}

}  // namespace larder
