// A chunk's payload on its way through a stream, in the pieces in which it travels.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/status.h"
#include "daemon/core/core_types.h"
#include "kernels/format/coded_container.h"
#include "kernels/format/container.h"

namespace larder {

inline constexpr uint64_t kPieceBytesMax = uint64_t{1} << 20;

// The bytes that all streams together may hold. Thread-safe.
class PayloadBudget {
 public:
  explicit PayloadBudget(uint64_t bytes) : left_bytes_(bytes) {}

  // RESOURCE_EXHAUSTED when the streams hold too much already.
  absl::Status Take(uint64_t bytes);
  void Return(uint64_t bytes) { left_bytes_.fetch_add(bytes, std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> left_bytes_;
};

// Owns the pieces and their share of the budget, which outlives it. Not thread-safe.
class Payload {
 public:
  explicit Payload(PayloadBudget* budget) : budget_(budget) {}
  ~Payload() { budget_->Return(taken_bytes_); }
  Payload(const Payload&) = delete;
  Payload& operator=(const Payload&) = delete;

  absl::Status Append(std::string piece);
  // Makes room for `bytes`, in full pieces but for the last one.
  absl::Status Allocate(uint64_t bytes);

  uint64_t bytes() const { return bytes_; }
  // The fewest levels of a container that it was read from; 0: it was not.
  uint32_t levels() const { return levels_; }
  void LimitLevels(uint32_t levels) { levels_ = levels_ == 0 ? levels : std::min(levels_, levels); }
  std::vector<std::string>& pieces() { return pieces_; }
  std::vector<ConstSegment> segments() const;
  // Appends the memory of the bytes [offset, offset + bytes) of an allocated payload.
  void AppendSegments(uint64_t offset, uint64_t bytes, std::vector<Segment>* segments);

 private:
  PayloadBudget* const budget_;
  uint64_t taken_bytes_ = 0;
  uint64_t bytes_ = 0;
  uint32_t levels_ = 0;
  std::vector<std::string> pieces_;
};

// What is wanted of a chunk; the rest is as FetchRequest has it.
struct WantedChunk {
  std::span<const uint8_t> key;
  Part part;
  uint32_t levels = 0;
  bool local_only = false;
};

// Gathers the part in canonical order from the containers of one chunk, checking all that it
// touches. DATA_LOSS when a container is not what it should be, FAILED_PRECONDITION when `codecs`
// lack its profile. `identity` is the first container's.
absl::Status ReadPayload(std::span<const uint8_t> arena_data, const ContainerCodecs& codecs,
                         const SpaceDescription& space, const SpaceId& space_id,
                         const WantedChunk& wanted, std::span<const BlockExtent> extents,
                         Payload* payload, ChunkIdentity* identity);

}  // namespace larder
