#include "tools/ctl/payload_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace larder {
namespace {

constexpr size_t kTextFileBytesMax = 1 << 20;

absl::StatusOr<FileDescriptor> OpenToRead(const std::string& path) {
  FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return ErrnoStatus(errno, path);
  struct stat info;
  if (fstat(file.get(), &info) != 0) return ErrnoStatus(errno, path);
  if (S_ISDIR(info.st_mode)) return ErrnoStatus(EISDIR, path);
  return file;
}

// How many bytes came: fewer than asked for at the end of the file.
absl::StatusOr<size_t> ReadUpTo(const FileDescriptor& file, std::span<uint8_t> bytes) {
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t count = read(file.get(), bytes.data() + done, bytes.size() - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoStatus(errno, "reading");
    if (count == 0) break;
    done += static_cast<size_t>(count);
  }
  return done;
}

absl::Status WriteAll(int fd, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(fd, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return ErrnoStatus(errno, "writing");
    bytes = bytes.subspan(static_cast<size_t>(count));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PayloadReader> PayloadReader::Open(const std::string& path, uint64_t chunk_bytes,
                                                  size_t chunks) {
  PayloadReader reader;
  reader.path_ = path;
  ASSIGN_OR_RETURN(reader.file_, OpenToRead(path));
  struct stat info;
  if (fstat(reader.file_.get(), &info) != 0) return ErrnoStatus(errno, path);
  const uint64_t expected = chunk_bytes * chunks;
  if (S_ISREG(info.st_mode) && static_cast<uint64_t>(info.st_size) != expected) {
    return absl::InvalidArgumentError(absl::StrCat(path, " has ", info.st_size, " bytes; ", chunks,
                                                   chunks == 1 ? " key of " : " keys of ",
                                                   chunk_bytes, " bytes a chunk need ", expected));
  }
  return reader;
}

absl::Status PayloadReader::Read(std::span<uint8_t> payload) {
  const absl::StatusOr<size_t> count = ReadUpTo(file_, payload);
  RETURN_IF_ERROR(Annotate(count.status(), path_));
  if (*count == payload.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(path_, " ends after ", *count, " of ", payload.size(), " bytes of a chunk"));
}

absl::Status PayloadReader::CheckEnd() {
  uint8_t more = 0;
  const absl::StatusOr<size_t> count = ReadUpTo(file_, {&more, 1});
  RETURN_IF_ERROR(Annotate(count.status(), path_));
  if (*count == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(path_, " has more bytes than the chunks of the keys"));
}

absl::Status WritePayload(const std::string& path, std::span<const uint8_t> payload) {
  if (path == "-") return Annotate(WriteAll(STDOUT_FILENO, payload), "standard output");
  FileDescriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (!file) return ErrnoStatus(errno, path);
  absl::Status status = WriteAll(file.get(), payload);
  struct stat info;
  const bool plain = fstat(file.get(), &info) == 0 && S_ISREG(info.st_mode);
  if (close(file.Release()) != 0 && status.ok()) status = ErrnoStatus(errno, "closing");
  // Half a chunk must not pass for one.
  if (!status.ok() && plain) unlink(path.c_str());
  return Annotate(status, path);
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path) {
  ASSIGN_OR_RETURN(const FileDescriptor file, OpenToRead(path));
  std::string text(kTextFileBytesMax + 1, '\0');
  const absl::StatusOr<size_t> count =
      ReadUpTo(file, {reinterpret_cast<uint8_t*>(text.data()), text.size()});
  RETURN_IF_ERROR(Annotate(count.status(), path));
  if (*count > kTextFileBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " has more than ", kTextFileBytesMax, " bytes"));
  }
  text.resize(*count);
  return text;
}

}  // namespace larder
