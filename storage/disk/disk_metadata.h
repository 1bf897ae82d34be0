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
  // another device or format version, UNAVAILABLE when another process has it open,
  // RESOURCE_EXHAUSTED when the file system is full, DATA_LOSS when RocksDB finds it damaged (a
  // rebuild by scan makes a new one).
  static absl::StatusOr<std::unique_ptr<DiskMetadata>> Open(const std::string& directory,
                                                            const Options& options);
  // Writes what is queued.
  ~DiskMetadata();

  // Visits every record of the index in `directory` and changes nothing there. NOT_FOUND when there
  // is none; otherwise as Open and ForEach. REQUIRES: nobody has it open, which the device's lock
  // sees to.
  static absl::Status Read(const std::string& directory, DiskDeviceId device,
                           absl::FunctionRef<void(const DiskRecord&)> visit, uint64_t* damaged);

  // Visits every record, in no order; damaged entries are counted and dropped. Before any Queue.
  absl::Status ForEach(absl::FunctionRef<void(const DiskRecord&)> visit, uint64_t* damaged);

  // RESOURCE_EXHAUSTED when too many changes wait; UNAVAILABLE once writing has failed.
  absl::Status Queue(const DiskMetadataChange& change);

  // Waits until everything queued so far is written, and with `sync` also on the device.
  // DEADLINE_EXCEEDED after `timeout`; it is then still going to happen, so that a caller who does
  // not want to wait gives zero. UNAVAILABLE once writing has failed.
  absl::Status Flush(bool sync, absl::Duration timeout);

  // Bytes that its files take on the file system now.
  uint64_t DiskBytes() const;

 private:
  class Database;
  DiskMetadata(const Options& options, std::string directory, std::unique_ptr<Database> database);
  void WriteUntilStopped();
  void WriteBatches(const std::vector<DiskMetadataChange>& changes);
  void Fail(const absl::Status& status);

  const size_t queued_changes_max_;
  const std::string directory_;
  const std::unique_ptr<Database> database_;

  mutable std::mutex mutex_;
  std::condition_variable wanted_;    // something to write or to sync, or stopping
  std::condition_variable progress_;  // of written_, synced_ or failure_
  std::vector<DiskMetadataChange> queue_;
  // Changes since the start: queued, written, to be synced and synced.
  uint64_t queued_ = 0, written_ = 0, sync_wanted_ = 0, synced_ = 0;
  bool stopping_ = false;
  std::string failure_;  // of the first write that failed; "" for none
  std::thread writer_;
};

}  // namespace larder
