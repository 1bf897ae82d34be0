// What the event loop counts about the frames of local clients.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "transport/local/message_format.h"

namespace larder {

// Durations in buckets of doubling width. A plain value, not thread-safe; adding costs a few
// nanoseconds and no allocation.
struct LatencyHistogram {
  static constexpr int64_t kFirstBoundNs = 256;
  static constexpr size_t kBounds = 18;  // the last one is 33.6 ms; one more bucket has the rest

  // The longest duration that still counts in `bucket`.
  static constexpr int64_t BoundNs(size_t bucket) { return kFirstBoundNs << bucket; }

  void Add(absl::Duration duration) {
    const auto ns = static_cast<uint64_t>(std::max<int64_t>(1, absl::ToInt64Nanoseconds(duration)));
    const auto bucket = static_cast<size_t>(std::bit_width((ns - 1) / kFirstBoundNs));
    ++counts[std::min(bucket, kBounds)];
    sum_ns += ns;
  }

  std::array<uint64_t, kBounds + 1> counts{};  // not cumulative
  uint64_t sum_ns = 0;
};

// By operation, in the order of the opcodes; what no opcode names comes last.
struct RequestStats {
  static constexpr size_t kOperations =
      static_cast<size_t>(Opcode::kReplicate) - kFirstOperationOpcode + 2;
  // One frame in so many is timed, since reading the clock costs more than counting. A prime, so
  // that no round of a few operations hides one of them.
  static constexpr uint64_t kTimedFrames = 61;

  struct Operation {
    uint64_t frames = 0;
    LatencyHistogram handling;  // of the timed frames: from parsed to answered
  };

  Operation& Of(uint16_t opcode) {
    const size_t index = static_cast<size_t>(opcode) - kFirstOperationOpcode;
    return operations[std::min(index, kOperations - 1)];
  }

  std::array<Operation, kOperations> operations;
};

inline constexpr std::array<absl::string_view, RequestStats::kOperations> kOperationNames = {
    "open_space",     "match", "acquire",   "release", "reserve", "commit",
    "abort",          "touch", "pin",       "unpin",   "remove",  "stats",
    "report_corrupt", "hint",  "replicate", "unknown"};

}  // namespace larder
