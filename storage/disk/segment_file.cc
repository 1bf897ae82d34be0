#include "storage/disk/segment_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "storage/arena/arena_files.h"
#include "storage/arena/memory_backer.h"
#include "storage/disk/segment_headers.h"

namespace larder {
namespace {

constexpr char kSegmentsName[] = "segments";
constexpr char kNewSegmentsName[] = "segments.new";
constexpr char kMetadataName[] = "metadata";

// O_DIRECT wants aligned memory; a mapping is.
absl::StatusOr<MemoryMapping> ReadFirstBlock(const FileDescriptor& file) {
  ASSIGN_OR_RETURN(MemoryMapping block, MemoryMapping::MapAnonymous(kDiskBlockBytes));
  const ssize_t bytes = pread(file.get(), block.data(), kDiskBlockBytes, 0);
  if (bytes < 0) return ErrnoStatus(errno, "reading the superblock");
  if (static_cast<uint64_t>(bytes) < kDiskBlockBytes) {
    return absl::DataLossError(absl::StrCat("it ends after ", bytes, " bytes, in its superblock"));
  }
  return block;
}

bool IsZero(std::span<const uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

// With O_DIRECT when wanted and when the file system has it.
FileDescriptor OpenAt(int directory, const char* name, int flags, bool want_direct, bool* direct) {
  *direct = false;
  if (want_direct) {
    FileDescriptor file(openat(directory, name, flags | O_DIRECT));
    *direct = static_cast<bool>(file);
    if (file || errno != EINVAL) return file;
  }
  return FileDescriptor(openat(directory, name, flags));
}

absl::Status SyncFile(const FileDescriptor& file, absl::string_view what) {
  return fsync(file.get()) == 0 ? absl::OkStatus() : ErrnoStatus(errno, what);
}

// Bytes that segments may take, the superblock's part included.
uint64_t SegmentShare(uint64_t capacity_bytes) {
  return capacity_bytes - std::min(capacity_bytes, SegmentFile::MetadataShareOf(capacity_bytes));
}

}  // namespace

absl::StatusOr<uint32_t> SegmentFile::SegmentsThatFit(const DiskDeviceOptions& options,
                                                      uint64_t segment_bytes) const {
  uint64_t share = SegmentShare(options.capacity_bytes);
  if (is_block_device_) share = std::min(share, size_bytes_);
  const uint64_t segments = share < kSegmentsBegin ? 0 : (share - kSegmentsBegin) / segment_bytes;
  if (segments > 0) {
    return static_cast<uint32_t>(
        std::min<uint64_t>(segments, std::numeric_limits<uint32_t>::max() - 1));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "no room for a segment: it takes ", segment_bytes, " bytes, and at least ",
      kSegmentsBegin + kMetadataBytesMin, " are for the superblock and the metadata; the ",
      "capacity is ", options.capacity_bytes,
      is_block_device_ ? absl::StrCat(", the device has ", size_bytes_) : ""));
}

absl::StatusOr<std::unique_ptr<SegmentFile>> SegmentFile::Open(const DiskDeviceOptions& options) {
  struct stat information;
  const bool exists = stat(options.path.c_str(), &information) == 0;
  if (!exists && errno != ENOENT) return ErrnoStatus(errno, "examining it");
  std::unique_ptr<SegmentFile> file(new SegmentFile());
  if (!exists || S_ISDIR(information.st_mode)) {
    RETURN_IF_ERROR(file->OpenDirectory(options));
  } else if (S_ISBLK(information.st_mode)) {
    RETURN_IF_ERROR(file->OpenBlockDevice(options));
  } else {
    return absl::InvalidArgumentError("it is neither a directory nor a block device");
  }
  RETURN_IF_ERROR(file->ReadSuperblock(options));
  RETURN_IF_ERROR(file->FitToCapacity(options));
  return file;
}

absl::Status SegmentFile::TakeState(const std::string& directory) {
  ASSIGN_OR_RETURN(state_, OpenPrivateDirectory(directory));
  ASSIGN_OR_RETURN(lock_, LockPrivateDirectory(state_));
  metadata_directory_ = std::filesystem::path(directory) / kMetadataName;
  return absl::OkStatus();
}

absl::Status SegmentFile::OpenDirectory(const DiskDeviceOptions& options) {
  if (!options.metadata_directory.empty()) {
    return absl::InvalidArgumentError("a metadata directory is for a block device only");
  }
  RETURN_IF_ERROR(TakeState(options.path));
  struct stat information;
  const bool exists = fstatat(state_.get(), kSegmentsName, &information, AT_SYMLINK_NOFOLLOW) == 0;
  if (!exists && errno != ENOENT) return ErrnoStatus(errno, "examining its segments");
  if (!exists || options.reset) RETURN_IF_ERROR(MakeFile(options));
  return OpenFile(options);
}

absl::Status SegmentFile::OpenFile(const DiskDeviceOptions& options) {
  file_ = OpenAt(state_.get(), kSegmentsName, O_RDWR | O_NOFOLLOW | O_CLOEXEC, options.direct,
                 &direct_);
  if (!file_) return ErrnoStatus(errno, "opening its segments");
  ASSIGN_OR_RETURN(const FileSpace space, ReadFileSpace(file_));
  size_bytes_ = space.size_bytes;
  return absl::OkStatus();
}

// The file gets its name when it is complete, so that a crash leaves either none or a whole one.
absl::Status SegmentFile::MakeFile(const DiskDeviceOptions& options) {
  RETURN_IF_ERROR(RemoveFileAt(state_, kSegmentsName));
  ASSIGN_OR_RETURN(const FileDescriptor file, CreateFileAt(state_, kNewSegmentsName, 0));
  RETURN_IF_ERROR(ReserveFileSpace(file.get(), 0, kSegmentsBegin));
  RETURN_IF_ERROR(MakeSuperblock(options, file));
  if (renameat(state_.get(), kNewSegmentsName, state_.get(), kSegmentsName) != 0) {
    return ErrnoStatus(errno, "renaming its segments");
  }
  return SyncFile(state_, "syncing the directory");
}

absl::Status SegmentFile::OpenBlockDevice(const DiskDeviceOptions& options) {
  if (options.metadata_directory.empty()) {
    return absl::InvalidArgumentError("a block device needs a metadata directory");
  }
  RETURN_IF_ERROR(TakeState(options.metadata_directory));
  is_block_device_ = true;
  // O_EXCL keeps mounts and other exclusive users out.
  file_ =
      OpenAt(AT_FDCWD, options.path.c_str(), O_RDWR | O_EXCL | O_CLOEXEC, options.direct, &direct_);
  if (!file_) {
    if (errno == EBUSY) return absl::UnavailableError("mounted, or in use by another process");
    return ErrnoStatus(errno, "opening it");
  }
  const off_t size = lseek(file_.get(), 0, SEEK_END);
  if (size < 0) return ErrnoStatus(errno, "asking for its size");
  size_bytes_ = static_cast<uint64_t>(size);
  if (size_bytes_ < kDiskBlockBytes) return absl::InvalidArgumentError("it is too small");
  ASSIGN_OR_RETURN(const MemoryMapping block, ReadFirstBlock(file_));
  if (options.reset || IsZero(block.bytes())) return MakeSuperblock(options, file_);
  return absl::OkStatus();
}

absl::Status SegmentFile::MakeSuperblock(const DiskDeviceOptions& options,
                                         const FileDescriptor& file) {
  SystemRandom random;
  const Superblock superblock = {
      {random.Next(), random.Next()}, options.segment_bytes, options.owner};
  RETURN_IF_ERROR(CheckSuperblock(superblock));
  RETURN_IF_ERROR(SegmentsThatFit(options, options.segment_bytes).status());
  // The index of what was here before.
  std::error_code error;
  std::filesystem::remove_all(metadata_directory_, error);
  if (error) return ErrnoStatus(error.value(), "removing the old metadata");
  const SuperblockV1 bytes = EncodeSuperblock(superblock);
  ASSIGN_OR_RETURN(const MemoryMapping block, MemoryMapping::MapAnonymous(kDiskBlockBytes));
  std::memcpy(block.data(), &bytes, sizeof bytes);
  if (pwrite(file.get(), block.data(), kDiskBlockBytes, 0) !=
      static_cast<ssize_t>(kDiskBlockBytes)) {
    return ErrnoStatus(errno, "writing the superblock");
  }
  return SyncFile(file, "syncing the superblock");
}

absl::Status SegmentFile::ReadSuperblock(const DiskDeviceOptions& options) {
  ASSIGN_OR_RETURN(const MemoryMapping block, ReadFirstBlock(file_));
  SuperblockV1 bytes;
  std::memcpy(&bytes, block.data(), sizeof bytes);
  ASSIGN_OR_RETURN(const Superblock superblock, DecodeSuperblock(bytes));
  if (superblock.owner != options.owner) {
    return absl::FailedPreconditionError(absl::StrCat("it belongs to node '", superblock.owner,
                                                      "', this is node '", options.owner, "'"));
  }
  geometry_.device = superblock.device;
  geometry_.segment_bytes = superblock.segment_bytes;
  return absl::OkStatus();
}

absl::Status SegmentFile::FitToCapacity(const DiskDeviceOptions& options) {
  ASSIGN_OR_RETURN(geometry_.segments, SegmentsThatFit(options, geometry_.segment_bytes));
  if (is_block_device_ || size_bytes_ <= geometry_.end()) return absl::OkStatus();
  if (ftruncate(file_.get(), static_cast<off_t>(geometry_.end())) != 0) {
    return ErrnoStatus(errno, "giving up the segments beyond the capacity");
  }
  size_bytes_ = geometry_.end();
  return SyncFile(file_, "syncing the shortened segments");
}

uint64_t SegmentFile::MetadataShareOf(uint64_t capacity_bytes) {
  return std::max(capacity_bytes / kMetadataShare, kMetadataBytesMin);
}

absl::Status SegmentFile::CheckFreeSpace(uint64_t bytes, uint64_t free_bytes) const {
  struct statvfs information;
  if (fstatvfs(file_.get(), &information) != 0) {
    return ErrnoStatus(errno, "asking for the file system's free space");
  }
  const uint64_t there = uint64_t{information.f_bavail} * information.f_frsize;
  if (there >= bytes && there - bytes >= free_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("no room for a segment: the file system is full: it has ", there,
                   " bytes left, ", free_bytes, " of them for the metadata"));
}

absl::Status SegmentFile::Extend(uint64_t bytes, uint64_t free_bytes) {
  if (bytes <= size_bytes_) return absl::OkStatus();
  if (bytes > geometry_.end()) {
    return absl::ResourceExhaustedError("segments beyond the capacity");
  }
  RETURN_IF_ERROR(CheckFreeSpace(bytes - size_bytes_, free_bytes));
  absl::Status reserved = ReserveFileSpace(file_.get(), size_bytes_, bytes - size_bytes_);
  if (reserved.ok()) {
    size_bytes_ = bytes;
    return absl::OkStatus();
  }
  // A part of it may have been given.
  if (ftruncate(file_.get(), static_cast<off_t>(size_bytes_)) != 0) {
    return ErrnoStatus(errno, "giving back a part of a segment");
  }
  return reserved;
}

}  // namespace larder
