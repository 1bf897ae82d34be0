// Which chunks are worth a write to disk.
#pragma once

#include <cstdint>
#include <vector>

#include "common/ids.h"

namespace larder {

enum class DiskAdmissionKind : uint8_t {
  kAll,
  // Only what was used after it was stored, or wanted to be written once before: most chunks are
  // never asked for again, and their writes wear the disk for nothing.
  kSecondSight,
};

// Pure and not thread-safe. Memory: 4 bytes for each of the keys remembered, once the first one is.
class DiskAdmission {
 public:
  explicit DiskAdmission(DiskAdmissionKind kind) : kind_(kind) {}

  // Asked once when the chunk is about to leave memory. `uses` counts the storing as one.
  bool Admit(const KeyHash& key, uint32_t uses) {
    if (kind_ == DiskAdmissionKind::kAll || uses > 1) return true;
    if (seen_.empty()) seen_.resize(kRememberedKeys);
    // A key hash is random: some of its bits are as good a place, others as good a fingerprint.
    uint32_t& place = seen_[key.high % kRememberedKeys];
    const auto fingerprint = static_cast<uint32_t>(key.low) | 1;
    if (place == fingerprint) return true;
    place = fingerprint;
    return false;
  }

 private:
  static constexpr size_t kRememberedKeys = size_t{1} << 20;

  const DiskAdmissionKind kind_;
  std::vector<uint32_t> seen_;
};

}  // namespace larder
