// One range of a device that is read or written to its end, however short each operation falls.
#pragma once

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <optional>
#include <span>

#include "common/clock.h"
#include "storage/disk/disk_record.h"
#include "storage/disk/io_engine.h"

namespace larder {

// Pure: says what to submit next and takes the completions. One operation at a time.
class Transfer {
 public:
  // Larger ranges go in pieces, so that an operation's time says something about the device.
  static constexpr uint64_t kPieceBytesMax = uint64_t{4} << 20;
  // Operations in a row that moved nothing, or were interrupted, before it is an error.
  static constexpr int kStallsMax = 4;

  Transfer() = default;
  Transfer(IoOperation::Kind kind, uint64_t offset, std::span<uint8_t> memory)
      : kind_(kind), offset_(offset), memory_(memory) {}

  bool done() const { return moved_ == memory_.size(); }
  bool failed() const { return error_ != 0; }
  int error() const { return error_; }
  bool in_flight() const { return in_flight_; }
  IoOperation::Kind kind() const { return kind_; }
  // When what is in flight reached the engine.
  std::optional<MonotonicTime> submitted() const { return submitted_; }

  // REQUIRES: not done, failed or in flight.
  IoOperation Next(uint64_t token) {
    in_flight_ = true;
    const uint64_t bytes = std::min<uint64_t>(memory_.size() - moved_, kPieceBytesMax);
    return {kind_, offset_ + moved_, memory_.subspan(moved_, bytes), token};
  }

  // The operation has reached the engine: its deadline counts from now on.
  void OnSubmitted(MonotonicTime now) { submitted_ = now; }

  // The operation was never submitted.
  void Withdraw() {
    in_flight_ = false;
    submitted_.reset();
  }

  void OnCompletion(const IoCompletion& completion) {
    Withdraw();
    const bool interrupted = completion.error == EAGAIN || completion.error == EINTR;
    if (completion.error != 0 && !interrupted) {
      error_ = completion.error;
      return;
    }
    // The rest has to begin at a block again.
    const uint64_t piece = std::min<uint64_t>(memory_.size() - moved_, kPieceBytesMax);
    const uint64_t moved =
        interrupted ? 0 : std::min(completion.bytes, piece) / kDiskBlockBytes * kDiskBlockBytes;
    moved_ += moved;
    stalls_ = moved > 0 ? 0 : stalls_ + 1;
    if (stalls_ >= kStallsMax) error_ = EIO;
  }

 private:
  IoOperation::Kind kind_ = IoOperation::Kind::kRead;
  uint64_t offset_ = 0;
  std::span<uint8_t> memory_;
  uint64_t moved_ = 0;
  int error_ = 0;
  int stalls_ = 0;
  bool in_flight_ = false;
  std::optional<MonotonicTime> submitted_;
};

}  // namespace larder
