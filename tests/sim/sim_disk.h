// A disk of the simulation: keeps records' bytes through crashes, takes its time, and may fail.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "common/random.h"
#include "storage/disk/disk_tier.h"
#include "tests/sim/event_queue.h"

namespace larder {

// What a device's files hold; it outlives its daemon. Not thread-safe.
class SimDisk {
 public:
  struct Faults {
    double fails = 0;    // this share of the operations
    double damages = 0;  // this share of the writes: found when they are read
    double slowness = 1;
  };

  SimDisk(EventQueue* queue, const DiskGeometry& geometry, uint64_t seed)
      : queue_(queue), geometry_(geometry), random_(seed), generations_(geometry.segments) {}

  const DiskGeometry& geometry() const { return geometry_; }
  // What a daemon finds that starts now.
  std::vector<DiskRecord> Records() const;
  const std::vector<uint64_t>& generations() const { return generations_; }
  uint64_t highest_generation() const { return highest_generation_; }
  // All of it is lost.
  void Wipe();

  // Carries out an order of the daemon that lives now; `arena` is read and written some time
  // between now and the result, which is `report`ed unless the daemon is dead by then.
  void Submit(const DiskOrder& order, std::span<uint8_t> arena, SimHost* host,
              std::function<void(DiskResult)> report);

  Faults faults;
  // Reads of a place that holds another record: the tier gave it away too early.
  uint64_t misplaced() const { return misplaced_; }

 private:
  struct Stored {
    DiskRecord record;
    std::vector<uint8_t> bytes;
    bool wanted = true;  // the index has it
  };

  DiskResult Run(const DiskOrder& order, std::span<uint8_t> arena);
  // The record that lies where `record` says, or null.
  Stored* FindStored(const DiskRecord& record);
  void Store(DiskRecord record, std::vector<uint8_t> bytes, DiskResult* result);

  EventQueue* const queue_;
  const DiskGeometry geometry_;
  SeededRandom random_;
  std::map<uint64_t, Stored> stored_;  // by offset
  std::vector<uint64_t> generations_;
  uint64_t highest_generation_ = 0;
  uint64_t misplaced_ = 0;
  MonotonicTime free_at_;
};

}  // namespace larder
