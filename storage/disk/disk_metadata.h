// The index of a disk device across restarts: its records, in RocksDB.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "common/status.h"
#include "storage/disk/disk_record.h"

namespace larder {

// What one record of the index is: a change, applied in the order in which changes were queued.
struct DiskMetadataChange {
  enum class Kind : uint8_t { kPut, kRemove };
  Kind kind = Kind::kPut;
  // kPut replaces what was known of this part of the chunk. kRemove does nothing when the index
  // knows it at another place by now (segment, generation, offset).
  DiskRecord record;
};

// A hint that survives: a lost tail of changes costs misses or dead entries, never wrong bytes,
// since each record's generation, place and checksums are checked against the device.
//
// Thread-safe. Queue never waits for the disk: a thread of its own writes what was queued, in
// batches.
class DiskMetadata {
 public:
  struct Options {
    // Changes that may wait. Queue refuses more.
    size_t queued_changes_max = 1 << 16;
    // The index is made for this device; another one's is refused.
    DiskDeviceId device;
  };

  // Opens the index in `directory`, or makes an empty one. FAILED_PRECONDITION when it belongs to
  // another device or format version, UNAVAILABLE when another process has it open, DATA_LOSS when
  // RocksDB finds it damaged (a rebuild by scan makes a new one).
  static absl::StatusOr<std::unique_ptr<DiskMetadata>> Open(const std::string& directory,
                                                            const Options& options);
  // Writes what is queued.
  ~DiskMetadata();

  // Visits every record, in no order; damaged entries are counted and dropped. Before any Queue.
  absl::Status ForEach(absl::FunctionRef<void(const DiskRecord&)> visit, uint64_t* damaged);

  // RESOURCE_EXHAUSTED when too many changes wait; UNAVAILABLE once writing has failed.
  absl::Status Queue(const DiskMetadataChange& change);

  // Waits until everything queued so far is written, and with `sync` also on the device.
  absl::Status Flush(bool sync, absl::Duration timeout);

  // Bytes of its files now.
  uint64_t DiskBytes() const;

 private:
  class Database;
  DiskMetadata();
};

}  // namespace larder
