// A disk in memory that fails in the ways in which disks fail, behind the interfaces of real ones.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "common/random.h"
#include "storage/disk/io_engine.h"
#include "storage/disk/segment_space.h"

namespace larder {

// Chances of an operation, each in [0, 1].
struct FakeDiskFaults {
  double fail = 0;        // EIO, nothing is moved
  double fall_short = 0;  // some whole blocks are moved, possibly none
  double misdirect = 0;   // a write lands at another block, and is reported as done
  double lose = 0;        // a write is reported as done and is not
  double flip = 0;        // a read or a write has one wrong bit
  double delay = 0;       // the completion comes several waits later
  bool fail_sync = false;
  bool hang = false;  // nothing completes until this is false again
  bool full = false;  // it cannot be extended
};

// Thread-safe. Engines and spaces of it must not outlive it.
class FakeDisk {
 public:
  static constexpr uint64_t kSectorBytes = 512;  // what a power loss leaves whole

  FakeDisk(uint64_t bytes_max, uint64_t seed) : random_(seed), bytes_max_(bytes_max) {}

  std::unique_ptr<IoEngine> MakeEngine(uint32_t depth);
  std::unique_ptr<SegmentSpace> MakeSpace();

  void SetFaults(const FakeDiskFaults& faults);

  // From now on every operation fails. Of the writes since the last sync some are there, some are
  // not and some are torn at sectors, those in flight included.
  void CutPower();
  void RestorePower();

  // Inverts one bit, for good.
  void FlipBit(uint64_t offset, uint8_t bit);
  uint64_t syncs() const;

 private:
  friend class FakeEngine;
  friend class FakeSpace;
  struct Write {
    uint64_t offset = 0;
    std::vector<uint8_t> bytes;
  };

  // All with mutex_ held.
  bool Chance(double chance) { return chance > 0 && random_.Unit() < chance; }
  IoCompletion Perform(const IoOperation& operation);
  void PerformWrite(const IoOperation& operation, uint64_t bytes);
  void Apply(std::vector<uint8_t>* image, const Write& write, bool torn);
  void ApplyByChance(const Write& write);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  SeededRandom random_;
  const uint64_t bytes_max_;
  FakeDiskFaults faults_;
  bool powerless_ = false;
  uint64_t syncs_ = 0;
  std::vector<uint8_t> image_;    // what a read sees
  std::vector<uint8_t> durable_;  // what a power loss leaves for sure
  std::vector<Write> unsynced_;
};

}  // namespace larder
