#include "storage/disk/segment_pool.h"

#include <algorithm>

#include "common/check.h"

namespace larder {
namespace {

// Reclaiming begins when fewer segments are free: one to stand by, one to move what is kept into.
constexpr uint32_t kFreeSegmentsWanted = 2;
// A segment with less than this share of live bytes is reclaimed before its turn.
constexpr uint64_t kNearlyDeadDivisor = 16;

}  // namespace

SegmentPool::SegmentPool(const DiskGeometry& geometry, std::span<const uint64_t> generations,
                         uint64_t highest_generation)
    : geometry_(geometry), segments_(geometry.segments), free_segments_(geometry.segments) {
  next_generation_ = std::max(next_generation_, highest_generation + 1);
  for (size_t i = 0; i < std::min(generations.size(), segments_.size()); ++i) {
    segments_[i].generation = generations[i];
    next_generation_ = std::max(next_generation_, generations[i] + 1);
  }
}

void SegmentPool::Occupy(uint32_t segment) {
  if (segments_[segment].state != State::kFree) return;
  segments_[segment].state = State::kFull;
  --free_segments_;
}

std::optional<SegmentPool::Place> SegmentPool::Allocate(uint64_t record_bytes,
                                                        LifetimeClass lifetime) {
  const uint64_t blocks = record_bytes / kDiskBlockBytes;
  const uint64_t segment_blocks = geometry_.segment_bytes / kDiskBlockBytes;
  if (!Fits(record_bytes)) return std::nullopt;
  uint32_t& open = open_[static_cast<size_t>(lifetime)];
  if (open != kNone && segments_[open].used_blocks + blocks > segment_blocks) {
    segments_[open].state = State::kFull;
    open = kNone;
  }
  if (open == kNone) {
    if (standby_ == kNone) return std::nullopt;
    open = standby_;
    standby_ = kNone;
    segments_[open].state = State::kOpen;
  }
  Segment& segment = segments_[open];
  const Place place = {
      .segment = open,
      .generation = segment.generation,
      .offset = geometry_.SegmentBegin(open) + segment.used_blocks * kDiskBlockBytes};
  segment.used_blocks += static_cast<uint32_t>(blocks);
  return place;
}

std::optional<SegmentPool::Opening> SegmentPool::NextOpening() {
  if (standby_ != kNone || opening_ != kNone || free_segments_ == 0) return std::nullopt;
  while (segments_[free_cursor_].state != State::kFree) {
    free_cursor_ = (free_cursor_ + 1) % geometry_.segments;
  }
  opening_ = free_cursor_;
  Segment& segment = segments_[opening_];
  segment.state = State::kOpening;
  segment.generation = next_generation_++;
  segment.used_blocks = 1;  // its header
  --free_segments_;
  return Opening{opening_, segment.generation};
}

void SegmentPool::Opened(uint32_t segment, bool ok) {
  LARDER_CHECK(segment == opening_);
  opening_ = kNone;
  if (ok) {
    standby_ = segment;
    segments_[segment].state = State::kStandby;
  } else {
    segments_[segment].state = State::kBroken;
    ++broken_segments_;
  }
}

void SegmentPool::AddLive(uint32_t segment, uint64_t bytes) {
  ++segments_[segment].live_records;
  segments_[segment].live_bytes += bytes;
  live_bytes_ += bytes;
}

void SegmentPool::RemoveLive(uint32_t segment, uint64_t bytes) {
  LARDER_CHECK(segments_[segment].live_records > 0);
  --segments_[segment].live_records;
  segments_[segment].live_bytes -= bytes;
  live_bytes_ -= bytes;
}

void SegmentPool::Unhold(uint32_t segment) {
  LARDER_CHECK(segments_[segment].holds > 0);
  --segments_[segment].holds;
}

std::optional<uint32_t> SegmentPool::NextReclaim() {
  if (reclaiming_ != kNone || free_segments_ >= kFreeSegmentsWanted) return std::nullopt;
  uint32_t oldest = kNone, emptiest = kNone;
  for (uint32_t i = 0; i < segments_.size(); ++i) {
    const Segment& segment = segments_[i];
    if (segment.state != State::kFull || segment.holds > 0) continue;
    if (oldest == kNone || segment.generation < segments_[oldest].generation) oldest = i;
    if (emptiest == kNone || segment.live_bytes < segments_[emptiest].live_bytes) emptiest = i;
  }
  if (oldest == kNone) return std::nullopt;
  const bool nearly_dead =
      segments_[emptiest].live_bytes <= geometry_.segment_bytes / kNearlyDeadDivisor;
  reclaiming_ = nearly_dead ? emptiest : oldest;
  segments_[reclaiming_].state = State::kReclaiming;
  return reclaiming_;
}

void SegmentPool::Freed(uint32_t segment) {
  LARDER_CHECK(segment == reclaiming_ && segments_[segment].live_records == 0 &&
               segments_[segment].holds == 0);
  reclaiming_ = kNone;
  segments_[segment].state = State::kFree;
  ++free_segments_;
}

}  // namespace larder
