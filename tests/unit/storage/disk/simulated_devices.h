// Devices of a disk tier that exist only as numbers: they carry out orders without any I/O.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "common/random.h"
#include "storage/disk/disk_tier.h"

namespace larder {

// Remembers what each place of each device holds, so that a read of a place that was given to
// another record meanwhile is noticed. Not thread-safe.
class SimulatedDevices {
 public:
  struct Failures {
    bool writes = false, reads = false, openings = false;
  };

  // Carries out every order of `tier` and returns the results, in a random order.
  std::vector<DiskResult> CarryOut(DiskTier& tier, Random& random) {
    for (const DiskOrder& order : tier.TakeOrders()) {
      if (order.command.kind == DiskCommand::Kind::kForget) {
        ++forgotten_;
      } else {
        pending_.push_back(order);
      }
    }
    std::vector<DiskResult> results;
    while (!pending_.empty()) {
      std::swap(pending_[random.Below(pending_.size())], pending_.back());
      results.push_back(Run(pending_.back()));
      pending_.pop_back();
    }
    return results;
  }

  Failures failures;
  // A read or a move met another record than it was ordered for, or a place of a segment that was
  // opened again: the tier gave a segment away too early.
  uint64_t misplaced() const { return misplaced_; }
  uint64_t forgotten() const { return forgotten_; }

 private:
  struct Stored {
    KeyHash key;
    uint64_t generation = 0;
    uint64_t sequence = 0;
  };
  using Place = std::pair<uint32_t, uint64_t>;  // device, offset

  DiskResult Run(const DiskOrder& order) {
    const DiskCommand& command = order.command;
    DiskResult result;
    result.token = command.token;
    switch (command.kind) {
      case DiskCommand::Kind::kOpenSegment:
        if (failures.openings) result.code = absl::StatusCode::kResourceExhausted;
        generations_[{order.device, command.record.segment}] = command.record.generation;
        break;
      case DiskCommand::Kind::kWrite:
        result.code = failures.writes ? absl::StatusCode::kUnavailable : absl::StatusCode::kOk;
        Store(order.device, command.record);
        break;
      case DiskCommand::Kind::kCopy:
        Check(order.device, command.source);
        Store(order.device, command.record);
        break;
      case DiskCommand::Kind::kRead:
        Check(order.device, command.record);
        if (failures.reads) result.code = absl::StatusCode::kDataLoss;
        break;
      case DiskCommand::Kind::kForget:
        break;
    }
    return result;
  }

  void Store(uint32_t device, const DiskRecord& record) {
    if (generations_[{device, record.segment}] != record.generation) ++misplaced_;
    stored_[{device, record.offset}] = {record.key, record.generation, record.sequence};
  }

  void Check(uint32_t device, const DiskRecord& record) {
    const auto found = stored_.find({device, record.offset});
    if (found == stored_.end() || found->second.key != record.key ||
        found->second.generation != record.generation ||
        generations_[{device, record.segment}] != record.generation) {
      ++misplaced_;
    }
  }

  std::vector<DiskOrder> pending_;
  std::map<Place, Stored> stored_;
  std::map<std::pair<uint32_t, uint32_t>, uint64_t> generations_;
  uint64_t misplaced_ = 0;
  uint64_t forgotten_ = 0;
};

}  // namespace larder
