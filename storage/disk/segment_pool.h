// The segments of one device: which are free, where the next record goes, which to reclaim.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "storage/disk/disk_record.h"

namespace larder {

// Records that are expected to die together share segments: then whole segments die, and reclaiming
// them moves little.
enum class LifetimeClass : uint8_t {
  kNew,   // written for the first time
  kKept,  // moved out of a reclaimed segment because it had been used
};
inline constexpr size_t kLifetimeClasses = 2;

// Pure and not thread-safe. A segment goes free -> opening -> standby -> open -> full -> reclaiming
// -> free; opening takes the device's time (its header is written), so one is always kept standing
// by.
class SegmentPool {
 public:
  struct Place {
    uint32_t segment = 0;
    uint64_t generation = 0;
    uint64_t offset = 0;  // on the device
  };
  struct Opening {
    uint32_t segment = 0;
    uint64_t generation = 0;
  };

  // `generations` is what the device's segment headers say, and all that are given out are higher
  // than `highest_generation` (DiskContents).
  SegmentPool(const DiskGeometry& geometry, std::span<const uint64_t> generations,
              uint64_t highest_generation);

  // At the start: the segment holds a record, so it is not free.
  void Occupy(uint32_t segment);

  // Whether a record of this size could ever be placed.
  bool Fits(uint64_t record_bytes) const {
    return broken_segments_ < geometry_.segments &&
           record_bytes + kDiskBlockBytes <= geometry_.segment_bytes;
  }
  // Room for a record, or nothing while no segment is open for it.
  std::optional<Place> Allocate(uint64_t record_bytes, LifetimeClass lifetime);

  // A free segment that is to be opened now, if one is needed. Tell Opened what came of it.
  std::optional<Opening> NextOpening();
  // A segment that cannot be opened is never used again.
  void Opened(uint32_t segment, bool ok);

  // Live records and their bytes, for the choice of what to reclaim.
  void AddLive(uint32_t segment, uint64_t bytes);
  void RemoveLive(uint32_t segment, uint64_t bytes);
  // Reads from and writes to the segment that are under way: it is not reclaimed meanwhile.
  void Hold(uint32_t segment) { ++segments_[segment].holds; }
  void Unhold(uint32_t segment);

  // The segment that should be emptied now: nothing while enough are free. The one with hardly any
  // live bytes, else the oldest. It is then kReclaiming until Freed.
  std::optional<uint32_t> NextReclaim();
  bool IsHeld(uint32_t segment) const { return segments_[segment].holds > 0; }
  // REQUIRES: reclaiming, and it has no live records and is not held.
  void Freed(uint32_t segment);

  const DiskGeometry& geometry() const { return geometry_; }
  uint64_t generation(uint32_t segment) const { return segments_[segment].generation; }
  uint64_t live_bytes() const { return live_bytes_; }
  uint32_t free_segments() const { return free_segments_; }
  uint32_t broken_segments() const { return broken_segments_; }

 private:
  enum class State : uint8_t { kFree, kOpening, kStandby, kOpen, kFull, kReclaiming, kBroken };
  struct Segment {
    uint64_t generation = 0;
    uint64_t live_bytes = 0;
    uint32_t used_blocks = 0;
    uint32_t live_records = 0;
    uint32_t holds = 0;
    State state = State::kFree;
  };
  static constexpr uint32_t kNone = 0xffffffffu;

  const DiskGeometry geometry_;
  std::vector<Segment> segments_;
  uint64_t next_generation_ = 1;
  uint32_t open_[kLifetimeClasses] = {kNone, kNone};
  uint32_t standby_ = kNone;
  uint32_t opening_ = kNone;
  uint32_t reclaiming_ = kNone;
  uint32_t free_segments_ = 0;
  uint32_t broken_segments_ = 0;
  uint32_t free_cursor_ = 0;  // where the search for a free segment goes on
  uint64_t live_bytes_ = 0;
};

}  // namespace larder
