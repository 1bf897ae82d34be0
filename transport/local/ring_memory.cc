#include "transport/local/ring_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <cerrno>

#include "absl/strings/str_cat.h"

namespace larder {
namespace {

constexpr int kSizeSeals = F_SEAL_SHRINK | F_SEAL_GROW;

absl::Status CheckRingSize(absl::string_view which, uint32_t ring_bytes) {
  if (std::has_single_bit(ring_bytes) && ring_bytes >= kRingBytesMin &&
      ring_bytes <= kRingBytesMax) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(which, " ring of ", ring_bytes,
                                                 " bytes: must be a power of two from ",
                                                 kRingBytesMin, " to ", kRingBytesMax));
}

absl::Status CheckRingSizes(uint32_t request_ring_bytes, uint32_t reply_ring_bytes) {
  RETURN_IF_ERROR(CheckRingSize("request", request_ring_bytes));
  return CheckRingSize("reply", reply_ring_bytes);
}

size_t FileBytes(uint32_t request_ring_bytes, uint32_t reply_ring_bytes) {
  return size_t{kRingControlBytes} + request_ring_bytes + reply_ring_bytes;
}

absl::Status CheckFile(const FileDescriptor& file, size_t size) {
  const int seals = fcntl(file.get(), F_GET_SEALS);
  if (seals < 0) return ErrnoStatus(errno, "reading the seals of the ring file");
  if ((seals & kSizeSeals) != kSizeSeals) {
    return absl::FailedPreconditionError("the ring file's size is not sealed");
  }
  struct stat stat_buffer;
  if (fstat(file.get(), &stat_buffer) != 0)
    return ErrnoStatus(errno, "reading the ring file's size");
  if (static_cast<uint64_t>(stat_buffer.st_size) != size) {
    return absl::DataLossError(absl::StrCat("the ring file has ", stat_buffer.st_size,
                                            " bytes, the rings announced need ", size));
  }
  return absl::OkStatus();
}

absl::Status CheckControl(const RingControl& control, uint32_t request_ring_bytes,
                          uint32_t reply_ring_bytes) {
  if (control.magic != kRingMagic) {
    return absl::DataLossError(
        absl::StrCat("ring control magic is 0x", absl::Hex(control.magic, absl::kZeroPad8)));
  }
  if (control.version != kRingVersion) {
    return absl::DataLossError(absl::StrCat("ring control version is ", control.version, ", only ",
                                            kRingVersion, " is known"));
  }
  if (control.reserved != 0) {
    return absl::DataLossError("the ring control page's reserved bytes are not zero");
  }
  if (control.request_ring_bytes != request_ring_bytes ||
      control.reply_ring_bytes != reply_ring_bytes) {
    return absl::DataLossError(absl::StrCat("ring control page says rings of ",
                                            control.request_ring_bytes, " and ",
                                            control.reply_ring_bytes, " bytes, the handshake ",
                                            request_ring_bytes, " and ", reply_ring_bytes));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RingMemory> RingMemory::Create(uint32_t request_ring_bytes,
                                              uint32_t reply_ring_bytes) {
  RETURN_IF_ERROR(CheckRingSizes(request_ring_bytes, reply_ring_bytes));
  const size_t size = FileBytes(request_ring_bytes, reply_ring_bytes);
  FileDescriptor file(memfd_create("larder-rings", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!file) return ErrnoStatus(errno, "creating a ring file");
  if (ftruncate(file.get(), static_cast<off_t>(size)) != 0) {
    return ErrnoStatus(errno, "sizing a ring file");
  }
  if (fcntl(file.get(), F_ADD_SEALS, kSizeSeals | F_SEAL_SEAL) != 0) {
    return ErrnoStatus(errno, "sealing a ring file");
  }
  ASSIGN_OR_RETURN(MemoryMapping mapping, MemoryMapping::MapShared(file, size, /*writable=*/true));
  RingMemory memory(std::move(file), std::move(mapping), request_ring_bytes);
  RingControl* control = memory.control();
  control->magic = kRingMagic;
  control->version = kRingVersion;
  control->request_ring_bytes = request_ring_bytes;
  control->reply_ring_bytes = reply_ring_bytes;
  return memory;
}

absl::StatusOr<RingMemory> RingMemory::Open(FileDescriptor file, uint32_t request_ring_bytes,
                                            uint32_t reply_ring_bytes) {
  RETURN_IF_ERROR(CheckRingSizes(request_ring_bytes, reply_ring_bytes));
  const size_t size = FileBytes(request_ring_bytes, reply_ring_bytes);
  RETURN_IF_ERROR(CheckFile(file, size));
  ASSIGN_OR_RETURN(MemoryMapping mapping, MemoryMapping::MapShared(file, size, /*writable=*/true));
  RingMemory memory(FileDescriptor(), std::move(mapping), request_ring_bytes);
  RETURN_IF_ERROR(CheckControl(*memory.control(), request_ring_bytes, reply_ring_bytes));
  return memory;
}

}  // namespace larder
