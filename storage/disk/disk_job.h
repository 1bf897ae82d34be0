// One command on its way through a device: which transfers it takes, and what came of it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "absl/status/status.h"
#include "common/clock.h"
#include "storage/disk/disk_device.h"
#include "storage/disk/transfer.h"

namespace larder {

// Pure: no I/O of its own. The worker submits what the transfers ask for and says when one is over;
// the job then sets up the next or is done. Memory of the job is not owned.
class DiskJob {
 public:
  enum Part : size_t { kPayload, kHeader };
  static constexpr size_t kParts = 2;

  // `block` holds one header. `bounce`, for kCopy only, is a multiple of kDiskBlockBytes.
  DiskJob(const DiskGeometry& geometry, DiskCommand command, MonotonicTime now,
          std::span<uint8_t> block, std::span<uint8_t> bounce);

  // Sets up the first transfers.
  void Begin();

  // kWrite, once: sums the payload, while it is being written, and sets up the header's transfer.
  bool wants_sum() const { return wants_sum_; }
  void SumPayload();

  // A transfer has ended, well or not.
  void OnTransferOver(Part part);

  // Ends it as soon as nothing is in flight. The first failure counts.
  void Fail(absl::StatusCode code, absl::string_view why);

  // Whether this transfer has an operation to submit now.
  bool Wants(Part part) const;
  bool in_flight() const;
  // Nothing is in flight and nothing is left to do.
  bool over() const;
  bool failed() const { return result_.code != absl::StatusCode::kOk; }
  // An operation failed on the device, rather than for want of room.
  bool device_failed() const { return device_failed_; }

  Transfer& transfer(Part part) { return transfers_[part]; }
  const DiskCommand& command() const { return command_; }
  absl::StatusCode code() const { return result_.code; }
  // Of what the engine has; none when it has nothing.
  std::optional<MonotonicTime> OldestSubmission() const;
  std::span<uint8_t> bounce() const { return bounce_; }
  DiskResult TakeResult(MonotonicTime now);

 private:
  void WriteHeader();
  void StartCopyPiece();
  void OnCopyPieceOver();
  void CheckRead();

  const DiskGeometry& geometry_;
  DiskCommand command_;
  const MonotonicTime started_;
  const std::span<uint8_t> block_;
  const std::span<uint8_t> bounce_;
  std::array<Transfer, kParts> transfers_;
  bool wants_sum_ = false;
  bool copy_writing_ = false;
  bool device_failed_ = false;
  uint64_t copied_bytes_ = 0;
  uint32_t crc_ = 0;
  DiskResult result_;
};

}  // namespace larder
