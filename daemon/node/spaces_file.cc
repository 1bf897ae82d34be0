#include "daemon/node/spaces_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/byte_order.h"
#include "common/crc32c.h"
#include "common/file_descriptor.h"
#include "daemon/node/log.h"
#include "daemon/node/spaces_format.h"
#include "transport/local/message_codec.h"

namespace larder {
namespace {

// More than the core can hold (CoreOptions::spaces_max times the longest entry).
constexpr int64_t kSpacesFileBytesMax = int64_t{64} << 20;

absl::Status WriteAll(const FileDescriptor& file, std::span<const uint8_t> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(file.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(errno, "writing the spaces file");
    bytes = bytes.subspan(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status SyncDirectoryOf(const std::string& path) {
  const std::string directory = std::filesystem::path(path).parent_path();
  const FileDescriptor file(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!file || fsync(file.get()) != 0)
    return ErrnoStatus(errno, absl::StrCat("syncing ", directory));
  return absl::OkStatus();
}

absl::Status ReplaceFile(const std::string& path, std::span<const uint8_t> bytes, bool sync) {
  const std::string temporary = path + ".new";
  FileDescriptor file(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!file) return ErrnoStatus(errno, absl::StrCat("creating ", temporary));
  RETURN_IF_ERROR(WriteAll(file, bytes));
  if (sync && fsync(file.get()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("syncing ", temporary));
  }
  file.Reset();
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("renaming ", temporary));
  }
  return sync ? SyncDirectoryOf(path) : absl::OkStatus();
}

}  // namespace

std::vector<uint8_t> EncodeSpaces(std::span<const SpaceDescription> spaces) {
  MessageWriter writer;
  writer.Write(SpacesHeader{.magic = kSpacesMagic,
                            .version = kSpacesVersion,
                            .count = static_cast<uint32_t>(spaces.size())});
  for (const SpaceDescription& space : spaces) {
    const std::vector<uint8_t> manifest = space.manifest.Serialize();
    writer.Write(SpacesEntryHeader{.tenant_bytes = static_cast<uint32_t>(space.tenant.size()),
                                   .salt_bytes = static_cast<uint32_t>(space.salt.size()),
                                   .manifest_bytes = static_cast<uint32_t>(manifest.size())});
    writer.WriteText(space.tenant);
    writer.WriteText(space.salt);
    writer.WriteBytes(manifest);
  }
  writer.Write(Crc32c(writer.payload()));
  return {writer.payload().begin(), writer.payload().end()};
}

absl::StatusOr<std::vector<SpaceDescription>> DecodeSpaces(std::span<const uint8_t> bytes) {
  if (bytes.size() < sizeof(SpacesHeader) + sizeof(uint32_t)) {
    return absl::DataLossError(absl::StrCat("the spaces file has only ", bytes.size(), " bytes"));
  }
  const std::span<const uint8_t> summed = bytes.first(bytes.size() - sizeof(uint32_t));
  const auto crc = LoadLittleEndian<uint32_t>(bytes.data() + summed.size());
  if (Crc32c(summed) != crc) {
    return absl::DataLossError("the spaces file's checksum at its end is wrong");
  }
  MessageReader reader(summed);
  const auto header = reader.Read<SpacesHeader>();
  if (header.magic != kSpacesMagic || header.version != kSpacesVersion) {
    return absl::DataLossError(absl::StrCat("the spaces file has version ", header.version,
                                            " or a foreign magic number; this daemon reads ",
                                            kSpacesVersion));
  }
  std::vector<SpaceDescription> spaces;
  for (uint32_t i = 0; i < header.count; ++i) {
    const auto entry = reader.Read<SpacesEntryHeader>();
    SpaceDescription space;
    space.tenant = std::string(reader.ReadText(entry.tenant_bytes));
    space.salt = std::string(reader.ReadText(entry.salt_bytes));
    const absl::StatusOr<Manifest> manifest =
        Manifest::Parse(reader.ReadBytes(entry.manifest_bytes));
    if (!manifest.ok()) {
      return absl::DataLossError(
          absl::StrCat("entry ", i, " of the spaces file: ", manifest.status().message()));
    }
    space.manifest = *manifest;
    spaces.push_back(std::move(space));
  }
  if (const absl::Status finished = reader.Finish("the spaces file"); !finished.ok()) {
    return absl::DataLossError(finished.message());
  }
  return spaces;
}

absl::Status WriteSpacesFile(const std::string& path, std::span<const SpaceDescription> spaces) {
  return ReplaceFile(path, EncodeSpaces(spaces), /*sync=*/false);
}

absl::StatusOr<std::vector<SpaceDescription>> ReadSpacesFile(const std::string& path) {
  FileDescriptor file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file && errno == ENOENT) return std::vector<SpaceDescription>();
  if (!file) return ErrnoStatus(errno, absl::StrCat("opening ", path));
  struct stat status;
  if (fstat(file.get(), &status) != 0) return ErrnoStatus(errno, absl::StrCat("stat of ", path));
  if (status.st_size > kSpacesFileBytesMax) {
    return absl::DataLossError(
        absl::StrCat(path, " has ", status.st_size, " bytes, more than any spaces file"));
  }
  std::vector<uint8_t> bytes(static_cast<size_t>(status.st_size));
  size_t at = 0;
  while (at < bytes.size()) {
    const ssize_t got = read(file.get(), bytes.data() + at, bytes.size() - at);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoStatus(errno, absl::StrCat("reading ", path));
    if (got == 0) return absl::DataLossError(absl::StrCat(path, " shrank while it was read"));
    at += static_cast<size_t>(got);
  }
  absl::StatusOr<std::vector<SpaceDescription>> spaces = DecodeSpaces(bytes);
  if (!spaces.ok()) return Annotate(spaces.status(), path);
  return spaces;
}

SpacesFileKeeper::SpacesFileKeeper(std::string path)
    : path_(std::move(path)), thread_([this] { Run(); }) {}

SpacesFileKeeper::~SpacesFileKeeper() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void SpacesFileKeeper::Write(std::span<const SpaceDescription> spaces) {
  {
    std::lock_guard lock(mutex_);
    waiting_ = EncodeSpaces(spaces);
  }
  changed_.notify_one();
}

void SpacesFileKeeper::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait(lock, [this] { return stop_ || waiting_; });
    if (!waiting_) return;
    const std::vector<uint8_t> bytes = *std::exchange(waiting_, std::nullopt);
    lock.unlock();
    if (const absl::Status written = ReplaceFile(path_, bytes, /*sync=*/true); !written.ok()) {
      // Serving goes on: after a reboot a new space's chunks would merely not be found again.
      LogError("spaces file not written", {{"why", std::string(written.message())}});
    }
    lock.lock();
  }
}

}  // namespace larder
