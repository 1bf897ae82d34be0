// Compares a disk device with its index, and makes the index anew from the device.
#pragma once

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "common/status.h"
#include "storage/disk/disk_scan.h"

namespace larder {

struct DiskVerification {
  DiskScanCounts device;
  uint64_t index_records = 0;
  uint64_t index_damaged = 0;
  // Why there is no index to compare with; "" when there is one.
  std::string index_problem;

  uint64_t live_records = 0;  // on the device as the index says
  uint64_t live_payload_bytes = 0;
  uint64_t damaged_live_records = 0;  // of them, with a payload that is not what was written
  // On the device but not in the index: forgotten, written again elsewhere, or written just before
  // a kill. Normal.
  uint64_t unknown_records = 0;
  // In the index, but of a segment that was opened anew or given up since. Normal.
  uint64_t outdated_entries = 0;
  // In the index and of its segment's generation, but not found there. After a power loss a few are
  // normal, as are damaged ones: the index may be ahead of the device.
  uint64_t missing_records = 0;

  bool ok() const {
    return index_problem.empty() && index_damaged == 0 && missing_records == 0 &&
           damaged_live_records == 0;
  }
};

// `on_problem` is told each record of the index that cannot be read back. Takes memory for every
// record of the index.
DiskVerification VerifyDisk(
    OfflineDisk& disk, PayloadCheck check,
    absl::FunctionRef<void(const DiskRecord& record, absl::string_view what)> on_problem);

struct DiskRebuild {
  DiskScanCounts device;
  uint64_t index_records = 0;
  uint64_t replaced_records = 0;  // on the device with a later one of the same part
};

// Writes a new index of what the device holds, of each part the record with the highest sequence,
// and puts it in the place of the old one, if there is one, in one step. With kSum, records whose
// payload is damaged are left out. What was removed comes back as long as its segment was not
// opened anew. Takes memory for every record.
absl::StatusOr<DiskRebuild> RebuildDiskMetadata(OfflineDisk& disk, PayloadCheck check);

}  // namespace larder
