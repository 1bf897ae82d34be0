#include "storage/arena/arena.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/arena/arena_files.h"
#include "storage/arena/huge_pages.h"

namespace larder {
namespace {

constexpr char kDataName[] = "data";
constexpr char kBlocksName[] = "blocks";
constexpr char kNewBlocksName[] = "blocks.new";
constexpr uint64_t kTablePageBytes = 4096;  // the smallest there is
// Reserved before OpenOrCreate returns, so that a full file system shows at once and the first puts
// need not wait for the background thread. Takes about 2 ms.
constexpr uint64_t kBackedAtOpenBytes = 16ull << 20;
// The room that the table may need besides the data: a record of 128 bytes for each 128 KiB.
constexpr uint64_t kDataBytesPerTableByte = 1024;

std::string HugeDataName(ArenaUuid uuid) {
  return absl::StrCat("larder-", ToString(uuid), ".data");
}

absl::StatusOr<BlockTableGeometry> GeometryOf(const ArenaOptions& options) {
  if (options.data_mode != 0600 && options.data_mode != 0660) {
    return absl::InvalidArgumentError("the mode of the data must be 0600 or 0660");
  }
  BlockTableGeometry geometry;
  geometry.data_bytes = options.data_bytes;
  geometry.granule_bytes = options.granule_bytes;
  geometry.capacity_records = options.blocks_max;
  if (options.blocks_max == 0 && options.granule_bytes != 0) {
    geometry.capacity_records =
        std::min(kBlockRecordsMax, options.data_bytes / options.granule_bytes);
  }
  RETURN_IF_ERROR(BlockTable::CheckGeometry(geometry));
  return geometry;
}

absl::StatusOr<FileDescriptor> OpenMount(const std::string& directory) {
  FileDescriptor mount(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!mount) return ErrnoStatus(errno, absl::StrCat("opening ", directory));
  return mount;
}

// The data of an existing arena: in its directory, or on one of the hugetlbfs mounts.
absl::StatusOr<FileDescriptor> FindData(const FileDescriptor& directory, ArenaUuid uuid) {
  absl::StatusOr<FileDescriptor> data = OpenFileAt(directory, kDataName);
  if (data.ok() || !absl::IsNotFound(data.status())) return data;
  for (const HugePageMount& mount : FindHugePageMounts()) {
    ASSIGN_OR_RETURN(const FileDescriptor mount_fd, OpenMount(mount.directory));
    data = OpenFileAt(mount_fd, HugeDataName(uuid).c_str());
    if (data.ok() || !absl::IsNotFound(data.status())) return data;
  }
  return absl::DataLossError("the block table is there, its data is gone");
}

absl::StatusOr<BlockTableHeaderV1> ReadHeader(const FileDescriptor& blocks) {
  BlockTableHeaderV1 header;
  if (pread(blocks.get(), &header, sizeof header, 0) != static_cast<ssize_t>(sizeof header)) {
    return absl::DataLossError("the block table is shorter than its header");
  }
  return header;
}

absl::Status CheckSize(const FileDescriptor& file, absl::string_view name, uint64_t bytes) {
  ASSIGN_OR_RETURN(const FileSpace space, ReadFileSpace(file));
  if (space.size_bytes == bytes) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(name, " has ", space.size_bytes, " bytes, expected ", bytes));
}

BlockTable::BackMemory BackTable(const FileDescriptor& blocks) {
  return [fd = blocks.get(), backed_bytes = uint64_t{0}](uint64_t bytes) mutable {
    RETURN_IF_ERROR(ReserveFileSpace(fd, backed_bytes, bytes - backed_bytes));
    // Not before success; and always whole pages, of which only the last may be incomplete.
    backed_bytes = bytes / kTablePageBytes * kTablePageBytes;
    return absl::OkStatus();
  };
}

// Drops the files of the arena that is there; whoever maps them keeps the old bytes.
absl::Status RemoveFiles(const FileDescriptor& directory) {
  const absl::StatusOr<FileDescriptor> blocks = OpenFileAt(directory, kBlocksName);
  if (blocks.ok()) {
    const absl::StatusOr<BlockTableHeaderV1> header = ReadHeader(*blocks);
    if (header.ok()) {
      const std::string name = HugeDataName({header->uuid_low, header->uuid_high});
      for (const HugePageMount& mount : FindHugePageMounts()) {
        ASSIGN_OR_RETURN(const FileDescriptor mount_fd, OpenMount(mount.directory));
        RETURN_IF_ERROR(RemoveFileAt(mount_fd, name.c_str()));
      }
    }
  }
  // The table goes before the data: a table without data would be damage, the reverse is nothing.
  RETURN_IF_ERROR(RemoveFileAt(directory, kBlocksName));
  return RemoveFileAt(directory, kDataName);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Arena>> Arena::OpenOrCreate(const ArenaOptions& options,
                                                           Random& random) {
  auto arena = std::make_unique<Arena>(Private());
  if (absl::Status status = arena->Start(options, random); !status.ok()) {
    return Annotate(status, absl::StrCat("arena ", options.directory));
  }
  return arena;
}

absl::Status Arena::Start(const ArenaOptions& options, Random& random) {
  ASSIGN_OR_RETURN(const BlockTableGeometry geometry, GeometryOf(options));
  ASSIGN_OR_RETURN(directory_fd_, OpenPrivateDirectory(options.directory));
  ASSIGN_OR_RETURN(lock_fd_, LockPrivateDirectory(directory_fd_));
  if (options.reset) RETURN_IF_ERROR(RemoveFiles(directory_fd_));
  absl::StatusOr<FileDescriptor> blocks_fd = OpenFileAt(directory_fd_, kBlocksName);
  if (blocks_fd.ok()) {
    blocks_fd_ = *std::move(blocks_fd);
    absl::Status status = OpenExisting(options, geometry);
    if (absl::IsFailedPrecondition(status) || absl::IsDataLoss(status)) {
      status = absl::Status(status.code(),
                            absl::StrCat(status.message(),
                                         "; restore the old settings, or start with reset (or "
                                         "delete the directory) to begin empty"));
    }
    RETURN_IF_ERROR(status);
  } else if (absl::IsNotFound(blocks_fd.status())) {
    RETURN_IF_ERROR(Create(options, geometry, random));
  } else {
    return blocks_fd.status();
  }
  return StartBacking(options);
}

absl::Status Arena::OpenExisting(const ArenaOptions& options, const BlockTableGeometry& geometry) {
  ASSIGN_OR_RETURN(const BlockTableHeaderV1 header, ReadHeader(blocks_fd_));
  RETURN_IF_ERROR(BlockTable::CheckHeader(
      {reinterpret_cast<const uint8_t*>(&header), sizeof header}, geometry));
  const uint64_t table_bytes = BlockTable::MemoryBytes(geometry.capacity_records);
  RETURN_IF_ERROR(CheckSize(blocks_fd_, kBlocksName, table_bytes));
  ASSIGN_OR_RETURN(data_fd_, FindData(directory_fd_, {header.uuid_low, header.uuid_high}));
  RETURN_IF_ERROR(CheckSize(data_fd_, kDataName, geometry.data_bytes));
  RETURN_IF_ERROR(SetFileAccess(data_fd_, options.data_mode, options.data_group));
  ASSIGN_OR_RETURN(blocks_memory_, MemoryMapping::MapShared(blocks_fd_, table_bytes, true));
  ASSIGN_OR_RETURN(BlockTable table,
                   BlockTable::Open(blocks_memory_.bytes(), geometry, BackTable(blocks_fd_)));
  blocks_.emplace(std::move(table));
  recovered_ = true;
  return MapData(options);
}

absl::Status Arena::Create(const ArenaOptions& options, const BlockTableGeometry& geometry,
                           Random& random) {
  const ArenaUuid uuid{random.Next(), random.Next()};
  RETURN_IF_ERROR(CreateData(options, uuid));
  RETURN_IF_ERROR(SetFileAccess(data_fd_, options.data_mode, options.data_group));
  RETURN_IF_ERROR(MapData(options));
  const uint64_t table_bytes = BlockTable::MemoryBytes(geometry.capacity_records);
  ASSIGN_OR_RETURN(blocks_fd_, CreateFileAt(directory_fd_, kNewBlocksName, table_bytes));
  ASSIGN_OR_RETURN(blocks_memory_, MemoryMapping::MapShared(blocks_fd_, table_bytes, true));
  ASSIGN_OR_RETURN(BlockTable table, BlockTable::Create(blocks_memory_.bytes(), uuid, geometry,
                                                        BackTable(blocks_fd_)));
  blocks_.emplace(std::move(table));
  // The name appears when all is written: an arena is there in full or not at all.
  if (renameat(directory_fd_.get(), kNewBlocksName, directory_fd_.get(), kBlocksName) != 0) {
    return ErrnoStatus(errno, "naming the block table");
  }
  return absl::OkStatus();
}

absl::Status Arena::CreateData(const ArenaOptions& options, ArenaUuid uuid) {
  if (options.huge_pages != HugePages::kNever) {
    ASSIGN_OR_RETURN(const bool done, CreateDataOnHugePages(options, uuid));
    if (done) return absl::OkStatus();
    if (options.huge_pages == HugePages::kRequire) {
      return absl::ResourceExhaustedError(
          absl::StrCat("no hugetlbfs mount of this process has ", options.data_bytes,
                       " free bytes of huge pages that divide this size"));
    }
  }
  RETURN_IF_ERROR(
      CheckRoom(directory_fd_, options.data_bytes + options.data_bytes / kDataBytesPerTableByte));
  ASSIGN_OR_RETURN(data_fd_, CreateFileAt(directory_fd_, kDataName, options.data_bytes));
  return absl::OkStatus();
}

absl::StatusOr<bool> Arena::CreateDataOnHugePages(const ArenaOptions& options, ArenaUuid uuid) {
  for (const HugePageMount& mount : FindHugePageMounts()) {
    if (mount.free_bytes < options.data_bytes || options.data_bytes % mount.page_bytes != 0) {
      continue;
    }
    ASSIGN_OR_RETURN(const FileDescriptor mount_fd, OpenMount(mount.directory));
    ASSIGN_OR_RETURN(data_fd_,
                     CreateFileAt(mount_fd, HugeDataName(uuid).c_str(), options.data_bytes));
    return true;
  }
  return false;
}

absl::Status Arena::MapData(const ArenaOptions& options) {
  ASSIGN_OR_RETURN(data_, MemoryMapping::MapShared(data_fd_, options.data_bytes, true));
  struct statfs information;
  if (fstatfs(data_fd_.get(), &information) != 0) {
    return ErrnoStatus(errno, "examining the file system of the data");
  }
  on_huge_pages_ = information.f_type == HUGETLBFS_MAGIC;
  page_bytes_ = static_cast<uint64_t>(information.f_bsize);
  // A hint; tmpfs gives huge pages when it is mounted with huge=within_size or huge=always.
  if (!on_huge_pages_) madvise(data_.data(), data_.size(), MADV_HUGEPAGE);
  return absl::OkStatus();
}

absl::Status Arena::StartBacking(const ArenaOptions& options) {
  ASSIGN_OR_RETURN(const FileSpace space, ReadFileSpace(data_fd_));
  uint64_t backed_bytes = blocks_->backed_bytes();
  // The file system is the better witness: it cannot hold less than we believe to have.
  if (backed_bytes > space.allocated_bytes) {
    backed_bytes = 0;
    blocks_->SetBackedBytes(0);
  }
  if (recovered_ && backed_bytes < options.data_bytes) {
    const uint64_t missing_bytes =
        options.data_bytes - std::min(options.data_bytes, space.allocated_bytes);
    if (!on_huge_pages_) RETURN_IF_ERROR(CheckRoom(data_fd_, missing_bytes));
  }
  const uint64_t at_open_bytes =
      std::min(options.data_bytes, std::max(kBackedAtOpenBytes, page_bytes_));
  if (backed_bytes < at_open_bytes) {
    RETURN_IF_ERROR(ReserveFileSpace(data_fd_.get(), backed_bytes, at_open_bytes - backed_bytes));
    backed_bytes = at_open_bytes;
    blocks_->SetBackedBytes(backed_bytes);
  }
  MemoryBacker::Options backing;
  backing.backed_bytes = backed_bytes;
  backing.page_bytes = page_bytes_;
  backing.prefault = options.prefault;
  backing.on_backed = [this](uint64_t bytes) { blocks_->SetBackedBytes(bytes); };
  backer_ = std::make_unique<MemoryBacker>(data_fd_.get(), data_.bytes(), std::move(backing));
  return absl::OkStatus();
}

}  // namespace larder
