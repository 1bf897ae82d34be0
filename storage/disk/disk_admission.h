// Which chunks are worth a write to disk.
#pragma once

#include <cstdint>
#include <vector>

#include "common/ids.h"
#include "storage/policy/disk_yield.h"

namespace larder {

enum class DiskAdmissionKind : uint8_t {
  kAll,
  // Only what was used after it was stored, or wanted to be written once before: most chunks are
  // never asked for again, and their writes wear the disk for nothing.
  kSecondSight,
  // Only kinds of chunks that gave enough hits for what was written of them (disk_yield.h).
  kScore,
};

// What is known of a chunk that is about to leave memory.
struct DiskCandidate {
  KeyHash key;
  uint32_t uses = 1;  // the storing counts as one
  uint32_t depth = 0;
};

// Pure and not thread-safe. Memory: 4 bytes for each of the keys remembered, once the first one is.
class DiskAdmission {
 public:
  explicit DiskAdmission(DiskAdmissionKind kind) : kind_(kind) {}

  // Asked once when the chunk is about to leave memory. `budget_left` as in DiskYield::Admits.
  bool Admit(const DiskCandidate& chunk, double budget_left) {
    switch (kind_) {
      case DiskAdmissionKind::kAll:
        return true;
      case DiskAdmissionKind::kSecondSight:
        return chunk.uses > 1 || WasSeen(chunk.key);
      case DiskAdmissionKind::kScore:
        break;
    }
    return yield_.Admits(KindOf(chunk), chunk.key.high, budget_left);
  }

  // Keep the kind with what is written, and say it when that is asked for the first time.
  static DiskYield::Kind KindOf(const DiskCandidate& chunk) {
    return DiskYield::KindOf(chunk.uses, chunk.depth, /*category=*/0);
  }
  void Wrote(DiskYield::Kind kind) { yield_.Wrote(kind); }
  void ReadBack(DiskYield::Kind kind) { yield_.ReadBack(kind); }

 private:
  bool WasSeen(const KeyHash& key) {
    if (seen_.empty()) seen_.resize(kRememberedKeys);
    // A key hash is random: some of its bits are as good a place, others as good a fingerprint.
    uint32_t& place = seen_[key.high % kRememberedKeys];
    const auto fingerprint = static_cast<uint32_t>(key.low) | 1;
    if (place == fingerprint) return true;
    place = fingerprint;
    return false;
  }

  static constexpr size_t kRememberedKeys = size_t{1} << 20;

  const DiskAdmissionKind kind_;
  std::vector<uint32_t> seen_;
  DiskYield yield_;
};

}  // namespace larder
