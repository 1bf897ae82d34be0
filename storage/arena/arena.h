// The DRAM tier's memory: one directory of files that outlive the daemon.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "common/file_descriptor.h"
#include "common/random.h"
#include "common/status.h"
#include "storage/arena/block_table.h"
#include "storage/arena/memory_backer.h"

namespace larder {

enum class HugePages {
  kNever,
  kAuto,     // on a hugetlbfs mount that has room for all of the data, else in the directory
  kRequire,  // an error when there is no such mount
};

struct ArenaOptions {
  // Holds `lock`, `blocks` and, without huge pages, `data`. Made when missing (mode 0700); must
  // belong to this user, and only this user may write to it. On a memory file system: what it
  // promises after a kill, it does not promise after a power loss.
  std::string directory;
  // Size of the data; a multiple of the granule, and of the page where huge pages are used.
  uint64_t data_bytes = 0;
  // Blocks begin at multiples of it; a power of two, at least 4096.
  uint64_t granule_bytes = 4096;
  // Most blocks there can be. 0: one a granule, at most kBlockRecordsMax. A record costs memory
  // only once it is used.
  uint64_t blocks_max = 0;
  HugePages huge_pages = HugePages::kNever;
  // Discards what is there and begins empty, with these settings.
  bool reset = false;
  // Maps the data in the background too, after reserving it; see MemoryBacker.
  bool prefault = true;
  // Who may open the data by its name; local clients get a descriptor instead. 0600 or 0660.
  mode_t data_mode = 0600;
  std::optional<gid_t> data_group;
};

// Owns the files, their mappings and a background thread that gives the data its memory. Clients
// map the data and write into it, so nothing in it is trusted; the block table next to it is mapped
// by this process alone.
//
// OpenOrCreate takes a lock that dies with the process, so one arena has one owner. `backed_bytes`
// and `prefaulted_bytes` are thread-safe, `blocks` is as BlockTable says.
class Arena {
  struct Private {
    explicit Private() = default;
  };

 public:
  explicit Arena(Private) {}  // for OpenOrCreate

  // Reuses the arena in the directory when its geometry is that of the options, else makes an empty
  // one where there is none. Fails, naming directory and cause:
  //   UNAVAILABLE          another process owns it (its pid is named)
  //   FAILED_PRECONDITION  it exists with another geometry or version; nothing is lost
  //   DATA_LOSS            it exists and is damaged
  //   RESOURCE_EXHAUSTED   the file system has too little room (how much is missing is named)
  //   INVALID_ARGUMENT     impossible options
  //   PERMISSION_DENIED    the directory belongs to somebody else
  static absl::StatusOr<std::unique_ptr<Arena>> OpenOrCreate(const ArenaOptions& options,
                                                             Random& random);

  std::span<uint8_t> data() const { return data_.bytes(); }
  const FileDescriptor& data_fd() const { return data_fd_; }
  // After a recovery (`recovered`), BlockTable::Recover must come first.
  BlockTable& blocks() { return *blocks_; }
  ArenaUuid uuid() const { return blocks_->uuid(); }
  // An arena that was there already was opened.
  bool recovered() const { return recovered_; }
  bool on_huge_pages() const { return on_huge_pages_; }

  // Only data below this may be written or handed out: above, a store may be a SIGBUS. Rises to
  // data().size() in the background, at about 10 GB/s.
  uint64_t backed_bytes() const { return backer_->backed_bytes(); }
  uint64_t prefaulted_bytes() const { return backer_->prefaulted_bytes(); }
  // Backing and prefaulting go on no longer; why, when it was an error.
  bool backing_finished() const { return backer_->finished(); }
  absl::Status backing_status() const { return backer_->status(); }

 private:
  absl::Status Start(const ArenaOptions& options, Random& random);
  absl::Status OpenExisting(const ArenaOptions& options, const BlockTableGeometry& geometry);
  absl::Status Create(const ArenaOptions& options, const BlockTableGeometry& geometry,
                      Random& random);
  absl::Status CreateData(const ArenaOptions& options, ArenaUuid uuid);
  // Whether there was a mount with enough room.
  absl::StatusOr<bool> CreateDataOnHugePages(const ArenaOptions& options, ArenaUuid uuid);
  absl::Status MapData(const ArenaOptions& options);
  absl::Status StartBacking(const ArenaOptions& options);

  // In the order of their making; what is made last goes first.
  FileDescriptor directory_fd_;
  FileDescriptor lock_fd_;
  FileDescriptor data_fd_;
  FileDescriptor blocks_fd_;
  MemoryMapping data_;
  MemoryMapping blocks_memory_;
  std::optional<BlockTable> blocks_;
  bool recovered_ = false;
  bool on_huge_pages_ = false;
  uint64_t page_bytes_ = 0;  // of the data's file system
  std::unique_ptr<MemoryBacker> backer_;
};

}  // namespace larder
