#include "storage/arena/arena_files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace larder {
namespace {

constexpr char kLockName[] = "lock";

// What the owner wrote into the lock file, for the error message only.
std::string OwnerOf(const FileDescriptor& lock) {
  char text[32];
  const ssize_t size = pread(lock.get(), text, sizeof text, 0);
  if (size <= 0) return "unknown";
  for (const char character : absl::string_view(text, size)) {
    if (!absl::ascii_isdigit(character) && character != '\n') return "unknown";
  }
  return std::string(absl::StripAsciiWhitespace(absl::string_view(text, size)));
}

}  // namespace

absl::StatusOr<FileDescriptor> OpenPrivateDirectory(const std::string& directory) {
  const std::filesystem::path path(directory);
  std::error_code error;
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path(), error);
  if (error) return ErrnoStatus(error.value(), "making the parent directory");
  if (mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, "making the directory");
  }
  FileDescriptor fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return ErrnoStatus(errno, "opening the directory");
  struct stat information;
  if (fstat(fd.get(), &information) != 0) return ErrnoStatus(errno, "examining the directory");
  if (information.st_uid != geteuid()) {
    return absl::PermissionDeniedError(absl::StrCat("the directory belongs to user ",
                                                    information.st_uid, ", this process runs as ",
                                                    geteuid()));
  }
  if ((information.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return absl::PermissionDeniedError("others may write to the directory; use mode 0700 or 0750");
  }
  return fd;
}

absl::StatusOr<FileDescriptor> LockPrivateDirectory(const FileDescriptor& directory) {
  FileDescriptor lock(
      openat(directory.get(), kLockName, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!lock) return ErrnoStatus(errno, "opening the lock file");
  if (flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoStatus(errno, "locking");
    return absl::UnavailableError(absl::StrCat("in use by process ", OwnerOf(lock)));
  }
  const std::string text = absl::StrCat(getpid(), "\n");
  if (ftruncate(lock.get(), 0) != 0 ||
      pwrite(lock.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return ErrnoStatus(errno, "writing the lock file");
  }
  return lock;
}

absl::StatusOr<FileDescriptor> OpenFileAt(const FileDescriptor& directory, const char* name) {
  FileDescriptor file(openat(directory.get(), name, O_RDWR | O_NOFOLLOW | O_CLOEXEC));
  if (!file) return ErrnoStatus(errno, absl::StrCat("opening ", name));
  return file;
}

absl::StatusOr<FileDescriptor> CreateFileAt(const FileDescriptor& directory, const char* name,
                                            uint64_t bytes) {
  RETURN_IF_ERROR(RemoveFileAt(directory, name));
  FileDescriptor file(
      openat(directory.get(), name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!file) return ErrnoStatus(errno, absl::StrCat("making ", name));
  if (ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) {
    return ErrnoStatus(errno, absl::StrCat("giving ", name, " ", bytes, " bytes"));
  }
  return file;
}

absl::Status RemoveFileAt(const FileDescriptor& directory, const char* name) {
  if (unlinkat(directory.get(), name, 0) == 0 || errno == ENOENT) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("removing ", name));
}

absl::Status SetFileAccess(const FileDescriptor& file, mode_t mode, std::optional<gid_t> group) {
  if (group && fchown(file.get(), static_cast<uid_t>(-1), *group) != 0) {
    return ErrnoStatus(errno, absl::StrCat("giving the data to group ", *group));
  }
  if (fchmod(file.get(), mode) != 0) return ErrnoStatus(errno, "setting the mode of the data");
  return absl::OkStatus();
}

absl::StatusOr<FileSpace> ReadFileSpace(const FileDescriptor& file) {
  struct stat information;
  if (fstat(file.get(), &information) != 0) return ErrnoStatus(errno, "examining a file");
  // st_blocks counts units of 512 bytes on every file system.
  return FileSpace{static_cast<uint64_t>(information.st_size),
                   static_cast<uint64_t>(information.st_blocks) * 512};
}

absl::Status CheckRoom(const FileDescriptor& file, uint64_t bytes) {
  struct statvfs information;
  if (fstatvfs(file.get(), &information) != 0) {
    return ErrnoStatus(errno, "asking the file system for its room");
  }
  // A tmpfs mounted without a limit reports no blocks at all.
  if (information.f_blocks == 0) return absl::OkStatus();
  const uint64_t room_bytes = uint64_t{information.f_bavail} * information.f_frsize;
  if (room_bytes >= bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat("needs ", bytes,
                                                   " more bytes, the file system "
                                                   "has room for ",
                                                   room_bytes, ": ", bytes - room_bytes,
                                                   " are missing"));
}

}  // namespace larder
