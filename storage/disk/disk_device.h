// One directory or block device of the disk tier: moves records between memory and segments.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "common/status.h"
#include "storage/disk/disk_record.h"

namespace larder {

enum class DiskEngineKind : uint8_t {
  kAuto,  // io_uring, or threads where it is not permitted
  kIoUring,
  kThreads,
};

struct DiskDeviceOptions {
  // A directory (made when missing, mode 0700), which then holds `lock`, `segments` and `metadata`;
  // or a block device or partition, whose `lock` and `metadata` are in `metadata_directory`.
  std::string path;
  std::string metadata_directory;  // for a block device only
  // Cap on everything the device takes, metadata included, at all times. A smaller one than last
  // time gives up the segments beyond it.
  uint64_t capacity_bytes = 0;
  uint64_t segment_bytes = uint64_t{128} << 20;  // for a new device; an old one keeps its own
  // The node. Another node's device is refused.
  std::string owner;
  // Discards what is there.
  bool reset = false;
  DiskEngineKind engine = DiskEngineKind::kAuto;
  uint32_t depth = 64;
  // A device that has not answered for so long is out of service.
  absl::Duration io_timeout = absl::Seconds(10);
  // Data, then metadata, are made to survive a power loss so often, while anything was written.
  absl::Duration sync_interval = absl::Seconds(2);
  // Memory of reads and writes, here the arena's data. Must outlive the device.
  std::span<uint8_t> memory;
  // O_DIRECT where the file system has it; false is for comparison.
  bool direct = true;
};

struct DiskCommand {
  enum class Kind : uint8_t {
    kOpenSegment,  // gives record.segment the new record.generation; earlier records in it are gone
    kWrite,        // `memory` goes to the record's place
    kRead,         // the record's payload goes to `memory`, and is right when OK is reported
    kCopy,         // the record at `source` goes to the record's place, checked on the way
    kForget,       // the record is no longer wanted: only the metadata is told; has no result
  };
  Kind kind = Kind::kRead;
  uint64_t token = 0;
  // kOpenSegment: segment and generation; otherwise everything but, for kWrite, payload_crc.
  DiskRecord record;
  DiskRecord source;            // kCopy
  uint32_t lifetime_class = 0;  // kOpenSegment
  // RoundUpToDiskBlocks(payload_bytes) bytes, at a multiple of kDiskBlockBytes. In use until the
  // result is reported.
  std::span<uint8_t> memory;
};

// OK, or:
//   DATA_LOSS           the bytes are not what was written
//   RESOURCE_EXHAUSTED  the file system or the capacity has no room for the segment,
//                       or the metadata none for the record
//   UNAVAILABLE         reading or writing failed, or the device is out of service
//   INVALID_ARGUMENT    kOpenSegment: the generation does not rise; kWrite, kCopy: it is not the
//                       segment's
struct DiskResult {
  uint64_t token = 0;
  absl::StatusCode code = absl::StatusCode::kOk;
  std::string why;
  uint32_t payload_crc = 0;  // kWrite, kCopy
  absl::Duration time;       // from the command's start on the device to its end
};

// What was found at the start.
struct DiskContents {
  // Each lies in its segment's current generation and within it. Of one part of a chunk there may
  // be several: the one with the highest sequence counts.
  std::vector<DiskRecord> records;
  std::vector<uint64_t> generations;  // by segment; 0: never opened
  uint64_t dropped_records = 0;       // of other generations, out of bounds or damaged
  // The next segment to be opened gets a higher one. It may exceed all of `generations`: of an
  // opening whose header a power loss took, records may be left.
  uint64_t highest_generation = 0;
};

struct DiskDeviceStats {
  uint64_t reads = 0, writes = 0, copies = 0, failed = 0, corrupt = 0;
  uint64_t read_bytes = 0, written_bytes = 0;  // as the device saw them, headers included
  uint64_t metadata_bytes = 0;
  uint64_t in_flight = 0, queued = 0;
  bool out_of_service = false;
};

// Submit, TakeContents and stats are thread-safe. A thread of its own drives the I/O engine; a
// written record enters the metadata on that thread, once its bytes are written.
class DiskDevice {
 public:
  // Called on the device's thread with what has finished, and with no results when the device went
  // out of service. It may submit, and must not wait for long.
  using OnResults = std::function<void(std::vector<DiskResult> results, bool out_of_service)>;

  // Errors name the path:
  //   FAILED_PRECONDITION  it belongs to another node or has another format version
  //   UNAVAILABLE          another process has it open
  //   INVALID_ARGUMENT     impossible options: too small for one segment, no such kind of file
  //   DATA_LOSS            its superblock or metadata is damaged
  static absl::StatusOr<std::unique_ptr<DiskDevice>> Open(const DiskDeviceOptions& options,
                                                          OnResults on_results);
  // Drops what has not begun, finishes what has, within io_timeout, and syncs data and metadata. It
  // does not return before the kernel has given all memory back, however long that takes. Nothing
  // is reported after it.
  virtual ~DiskDevice() = default;

  virtual const DiskGeometry& geometry() const = 0;
  // Once.
  virtual DiskContents TakeContents() = 0;
  // RESOURCE_EXHAUSTED when too many commands wait; UNAVAILABLE when out of service;
  // INVALID_ARGUMENT when a record's place or its memory cannot be. Commands run side by side: what
  // must come after another is submitted after its result.
  virtual absl::Status Submit(DiskCommand command) = 0;
  virtual DiskDeviceStats stats() const = 0;
  // "io_uring" or "threads", and why not io_uring.
  virtual std::string EngineDescription() const = 0;
};

}  // namespace larder
