#include "storage/disk/disk_scan.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/crc32c.h"
#include "storage/arena/arena_files.h"

namespace larder {
namespace {

constexpr char kSegmentsName[] = "segments";
constexpr char kIndexName[] = "metadata";
// Read at once where one block after another is looked at, and of a payload.
constexpr uint64_t kReadBytes = uint64_t{4} << 20;
// Records up to this size are read as they lie, with what is between their headers: a read of its
// own for each header would take longer.
constexpr uint64_t kSmallRecordBytes = uint64_t{64} << 10;

template <typename T>
T HeaderIn(std::span<const uint8_t> block) {
  T header;
  std::memcpy(&header, block.data(), sizeof header);
  return header;
}

// Looks like a record of the segment's generation that something has happened to. Blocks of
// payloads and records of past generations are everywhere and are nothing.
bool IsDamagedRecord(const DiskGeometry& geometry, const RecordHeaderV1& header,
                     uint64_t generation) {
  return std::memcmp(header.magic, kRecordMagic, sizeof kRecordMagic) == 0 &&
         header.device_low == geometry.device.low && header.device_high == geometry.device.high &&
         header.generation == generation;
}

}  // namespace

absl::StatusOr<std::unique_ptr<OfflineDisk>> OfflineDisk::Open(
    const std::string& path, const std::string& metadata_directory) {
  std::unique_ptr<OfflineDisk> disk(new OfflineDisk());
  const std::string state = metadata_directory.empty() ? path : metadata_directory;
  absl::Status status = disk->OpenFile(path, metadata_directory);
  // Before the lock, which leaves a file in the directory: not in a stranger's.
  if (status.ok()) status = disk->ReadSuperblock();
  if (status.ok()) status = disk->Lock(state);
  if (status.ok()) status = disk->ReadSegmentHeaders();
  RETURN_IF_ERROR(Annotate(status, path));
  return disk;
}

absl::Status OfflineDisk::OpenFile(const std::string& path, const std::string& metadata_directory) {
  struct stat information;
  if (stat(path.c_str(), &information) != 0) {
    if (errno == ENOENT) return absl::NotFoundError("there is no such device");
    return ErrnoStatus(errno, "examining it");
  }
  const bool is_directory = S_ISDIR(information.st_mode);
  if (!is_directory && !S_ISBLK(information.st_mode)) {
    return absl::FailedPreconditionError("it is neither a directory nor a block device");
  }
  if (is_directory != metadata_directory.empty()) {
    return absl::InvalidArgumentError(is_directory
                                          ? "a metadata directory is for a block device only"
                                          : "a block device needs a metadata directory");
  }
  const std::string file = is_directory ? absl::StrCat(path, "/", kSegmentsName) : path;
  // O_EXCL keeps mounts and other exclusive users out.
  const int flags = O_RDONLY | O_CLOEXEC | (is_directory ? 0 : O_EXCL);
  file_ = FileDescriptor(open(file.c_str(), flags | O_DIRECT));
  if (!file_ && errno == EINVAL) file_ = FileDescriptor(open(file.c_str(), flags));
  if (!file_ && errno == ENOENT) {
    return absl::NotFoundError(absl::StrCat("there is no device: no file ", kSegmentsName));
  }
  if (!file_ && errno == EBUSY) {
    return absl::FailedPreconditionError("mounted, or in use by another process");
  }
  if (!file_) return ErrnoStatus(errno, absl::StrCat("opening ", file));
  const off_t size = lseek(file_.get(), 0, SEEK_END);
  if (size < 0) return ErrnoStatus(errno, "asking for its size");
  bytes_ = static_cast<uint64_t>(size);
  ASSIGN_OR_RETURN(headers_, MemoryMapping::MapAnonymous(kReadBytes));
  ASSIGN_OR_RETURN(payload_, MemoryMapping::MapAnonymous(kReadBytes));
  return absl::OkStatus();
}

absl::Status OfflineDisk::ReadSuperblock() {
  const std::span<const uint8_t> block = BlockAt(0, kDiskBlockBytes);
  if (block.empty()) return absl::DataLossError("its superblock cannot be read");
  ASSIGN_OR_RETURN(superblock_, DecodeSuperblock(HeaderIn<SuperblockV1>(block)));
  geometry_.device = superblock_.device;
  geometry_.segment_bytes = superblock_.segment_bytes;
  const uint64_t rest = bytes_ - std::min(bytes_, kSegmentsBegin);
  const uint64_t segments = rest / geometry_.segment_bytes + (rest % geometry_.segment_bytes != 0);
  geometry_.segments =
      static_cast<uint32_t>(std::min<uint64_t>(segments, std::numeric_limits<uint32_t>::max() - 1));
  return absl::OkStatus();
}

absl::Status OfflineDisk::Lock(const std::string& directory) {
  ASSIGN_OR_RETURN(state_directory_, OpenPrivateDirectory(directory));
  absl::StatusOr<FileDescriptor> lock = LockPrivateDirectory(state_directory_);
  if (absl::IsUnavailable(lock.status())) {
    return absl::FailedPreconditionError(
        absl::StrCat(lock.status().message(), "; it can be looked at when that has ended"));
  }
  RETURN_IF_ERROR(lock.status());
  lock_ = *std::move(lock);
  index_directory_ = absl::StrCat(directory, "/", kIndexName);
  return absl::OkStatus();
}

absl::Status OfflineDisk::ReadSegmentHeaders() {
  for (uint32_t segment = 0; segment < geometry_.segments; ++segment) {
    const std::span<const uint8_t> block =
        BlockAt(geometry_.SegmentBegin(segment), kDiskBlockBytes);
    if (block.empty()) {
      ++damaged_segments_;
      continue;
    }
    const auto bytes = HeaderIn<SegmentHeaderV1>(block);
    const absl::StatusOr<SegmentHeader> header = DecodeSegmentHeader(geometry_, bytes, segment);
    if (header.ok()) {
      segments_.push_back(*header);
    } else if (std::memcmp(bytes.magic, kSegmentMagic, sizeof kSegmentMagic) == 0) {
      ++damaged_segments_;
    }
  }
  return absl::OkStatus();
}

void OfflineDisk::Scan(PayloadCheck check, absl::FunctionRef<void(const DiskRecord&, bool)> visit,
                       DiskScanCounts* counts) {
  for (const SegmentHeader& segment : segments_) ScanSegment(segment, check, visit, counts);
}

void OfflineDisk::ScanSegment(const SegmentHeader& segment, PayloadCheck check,
                              absl::FunctionRef<void(const DiskRecord&, bool)> visit,
                              DiskScanCounts* counts) {
  const uint64_t end = std::min(geometry_.SegmentBegin(segment.segment + 1),
                                bytes_ / kDiskBlockBytes * kDiskBlockBytes);
  uint64_t offset = geometry_.SegmentBegin(segment.segment) + kDiskBlockBytes;
  // A record tells where the next one begins. After a hole, each block may be the next one.
  uint64_t read_bytes = kDiskBlockBytes;
  while (offset < end) {
    const std::span<const uint8_t> block = BlockAt(offset, std::min(read_bytes, end - offset));
    read_bytes = kReadBytes;
    if (block.empty()) {
      ++counts->unreadable_blocks;
      offset += kDiskBlockBytes;
      continue;
    }
    const auto header = HeaderIn<RecordHeaderV1>(block);
    const absl::StatusOr<DiskRecord> record =
        DecodeRecordHeader(geometry_, header, offset, segment.generation);
    if (!record.ok()) {
      if (IsDamagedRecord(geometry_, header, segment.generation)) ++counts->damaged_headers;
      offset += kDiskBlockBytes;
      continue;
    }
    const bool payload_ok = check == PayloadCheck::kSkip || PayloadIsRight(*record);
    ++counts->records;
    counts->payload_bytes += record->payload_bytes;
    if (!payload_ok) ++counts->damaged_payloads;
    visit(*record, payload_ok);
    const uint64_t record_bytes = DiskRecordBytes(record->payload_bytes);
    offset += record_bytes;
    read_bytes = record_bytes <= kSmallRecordBytes ? kReadBytes : kDiskBlockBytes;
  }
}

// Empty when it cannot be read. Reads `read_bytes` from there on, unless the block was read before.
std::span<const uint8_t> OfflineDisk::BlockAt(uint64_t offset, uint64_t read_bytes) {
  const std::span<const uint8_t> known = ReadBefore(offset, kDiskBlockBytes);
  if (!known.empty()) return known;
  headers_begin_ = offset;
  headers_bytes_ = ReadAt(offset, headers_.bytes().first(read_bytes));
  // One bad block may have failed the read of all.
  if (headers_bytes_ < kDiskBlockBytes) {
    headers_bytes_ = ReadAt(offset, headers_.bytes().first(kDiskBlockBytes));
  }
  return ReadBefore(offset, kDiskBlockBytes);
}

// Empty unless all of it was.
std::span<const uint8_t> OfflineDisk::ReadBefore(uint64_t offset, uint64_t bytes) const {
  if (offset < headers_begin_ || offset + bytes > headers_begin_ + headers_bytes_) return {};
  return headers_.bytes().subspan(offset - headers_begin_, bytes);
}

bool OfflineDisk::PayloadIsRight(const DiskRecord& record) {
  uint64_t offset = record.offset + kDiskBlockBytes;
  const std::span<const uint8_t> known = ReadBefore(offset, record.payload_bytes);
  if (!known.empty()) return Crc32c(known) == record.payload_crc;
  uint64_t rest = record.payload_bytes;
  uint32_t crc = 0;
  while (rest > 0) {
    const std::span<uint8_t> memory =
        payload_.bytes().first(std::min(RoundUpToDiskBlocks(rest), kReadBytes));
    const uint64_t wanted = std::min<uint64_t>(rest, memory.size());
    if (ReadAt(offset, memory) < wanted) return false;
    crc = Crc32c(memory.first(wanted), crc);
    offset += wanted;
    rest -= wanted;
  }
  return crc == record.payload_crc;
}

// Bytes that were read: less than asked for at the end of the file and where the device fails.
uint64_t OfflineDisk::ReadAt(uint64_t offset, std::span<uint8_t> memory) {
  uint64_t done = 0;
  while (done < memory.size()) {
    const ssize_t bytes = pread(file_.get(), memory.data() + done, memory.size() - done,
                                static_cast<off_t>(offset + done));
    if (bytes < 0 && errno == EINTR) continue;
    if (bytes <= 0) break;
    done += static_cast<uint64_t>(bytes);
    // Unaligned, so at the end: O_DIRECT would refuse to go on.
    if (done % kDiskBlockBytes != 0) break;
  }
  return done;
}

}  // namespace larder
