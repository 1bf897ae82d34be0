#include "storage/disk/disk_device.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/disk/disk_device_parts.h"
#include "storage/disk/disk_metadata.h"
#include "storage/disk/disk_start.h"
#include "storage/disk/disk_worker.h"
#include "storage/disk/segment_file.h"

namespace larder {
namespace {

constexpr uint32_t kDepthMax = 1024;
constexpr uint32_t kEngineThreadsMax = 16;

absl::Status CheckMemory(std::span<uint8_t> memory, uint64_t payload_bytes) {
  if (memory.size() == RoundUpToDiskBlocks(payload_bytes) &&
      reinterpret_cast<uintptr_t>(memory.data()) % kDiskBlockBytes == 0) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "memory of ", memory.size(), " bytes for a payload of ", payload_bytes,
      "; it has to have whole blocks of ", kDiskBlockBytes, " and to begin at a multiple of that"));
}

absl::Status CheckCommand(const DiskGeometry& geometry, const DiskCommand& command) {
  const DiskRecord& record = command.record;
  switch (command.kind) {
    case DiskCommand::Kind::kOpenSegment:
      if (record.segment < geometry.segments && record.generation != 0) return absl::OkStatus();
      return absl::InvalidArgumentError(absl::StrCat("segment ", record.segment, " of ",
                                                     geometry.segments, ", generation ",
                                                     record.generation));
    case DiskCommand::Kind::kForget:
      return absl::OkStatus();
    case DiskCommand::Kind::kWrite:
    case DiskCommand::Kind::kRead:
      RETURN_IF_ERROR(CheckDiskRecord(geometry, record));
      return CheckMemory(command.memory, record.payload_bytes);
    case DiskCommand::Kind::kCopy:
      RETURN_IF_ERROR(CheckDiskRecord(geometry, record));
      RETURN_IF_ERROR(CheckDiskRecord(geometry, command.source));
      if (command.source.payload_bytes == record.payload_bytes) return absl::OkStatus();
      return absl::InvalidArgumentError("a copy of another size than its source");
  }
  return absl::InvalidArgumentError("no such kind of command");
}

class WorkingDevice final : public DiskDevice {
 public:
  WorkingDevice(DiskDeviceParts parts, OnResults on_results)
      : worker_(std::move(parts), std::move(on_results)) {}

  absl::Status Start() {
    ASSIGN_OR_RETURN(std::vector<uint64_t> generations, worker_.WaitForStart());
    ASSIGN_OR_RETURN(
        contents_, SortOutRecords(worker_.geometry(), std::move(generations), worker_.metadata()));
    return absl::OkStatus();
  }

  const DiskGeometry& geometry() const override { return worker_.geometry(); }
  DiskContents TakeContents() override {
    std::lock_guard lock(mutex_);
    return std::exchange(contents_, {});
  }
  absl::Status Submit(DiskCommand command) override {
    RETURN_IF_ERROR(CheckCommand(worker_.geometry(), command));
    return worker_.Submit(command);
  }
  DiskDeviceStats stats() const override { return worker_.stats(); }
  std::string EngineDescription() const override { return worker_.engine_description(); }

 private:
  std::mutex mutex_;
  DiskContents contents_;  // guarded by mutex_
  DiskWorker worker_;
};

// The engine, and in `description` its name and why it is not a better one.
absl::StatusOr<std::unique_ptr<IoEngine>> MakeEngine(const DiskDeviceOptions& options, int file,
                                                     std::span<uint8_t> work_memory,
                                                     std::string* description) {
  IoEngineOptions engine_options;
  engine_options.depth = DiskEngineDepth(options.depth);
  engine_options.registered_memory.push_back(work_memory);
  if (!options.memory.empty()) engine_options.registered_memory.push_back(options.memory);
  *description = "threads";
  if (options.engine != DiskEngineKind::kThreads) {
    absl::StatusOr<std::unique_ptr<IoEngine>> engine = MakeIoUringEngine(file, engine_options);
    if (engine.ok()) *description = "io_uring";
    if (engine.ok() || options.engine == DiskEngineKind::kIoUring) return engine;
    *description = absl::StrCat("threads (", engine.status().message(), ")");
  }
  return MakeThreadedEngine(file, engine_options, std::min(options.depth, kEngineThreadsMax));
}

absl::Status CheckOptions(const DiskDeviceOptions& options) {
  if (options.depth == 0 || options.depth > kDepthMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("depth ", options.depth, ", possible are 1 to ", kDepthMax));
  }
  if (options.io_timeout <= absl::ZeroDuration() || options.sync_interval <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("timeout and sync interval have to be positive");
  }
  return absl::OkStatus();
}

absl::StatusOr<DiskDeviceParts> OpenParts(const DiskDeviceOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  DiskDeviceParts parts;
  ASSIGN_OR_RETURN(std::unique_ptr<SegmentFile> file, SegmentFile::Open(options));
  parts.geometry = file->geometry();
  DiskMetadata::Options metadata_options;
  metadata_options.device = parts.geometry.device;
  ASSIGN_OR_RETURN(parts.metadata,
                   DiskMetadata::Open(file->metadata_directory(), metadata_options));
  ASSIGN_OR_RETURN(parts.work_memory, MemoryMapping::MapAnonymous(DiskWorkBytes(options.depth)));
  ASSIGN_OR_RETURN(parts.engine, MakeEngine(options, file->descriptor(), parts.work_memory.bytes(),
                                            &parts.engine_description));
  if (!file->direct()) {
    absl::StrAppend(&parts.engine_description, ", through the page cache: ",
                    options.direct ? "the file system has no O_DIRECT" : "as asked for");
  }
  parts.space = std::move(file);
  parts.capacity_bytes = options.capacity_bytes;
  parts.depth = options.depth;
  parts.io_timeout = options.io_timeout;
  parts.sync_interval = options.sync_interval;
  return parts;
}

}  // namespace

absl::StatusOr<std::unique_ptr<DiskDevice>> StartDiskDevice(DiskDeviceParts parts,
                                                            DiskDevice::OnResults on_results) {
  auto device = std::make_unique<WorkingDevice>(std::move(parts), std::move(on_results));
  RETURN_IF_ERROR(device->Start());
  return device;
}

absl::StatusOr<std::unique_ptr<DiskDevice>> DiskDevice::Open(const DiskDeviceOptions& options,
                                                             OnResults on_results) {
  absl::StatusOr<DiskDeviceParts> parts = OpenParts(options);
  if (!parts.ok()) return Annotate(parts.status(), options.path);
  absl::StatusOr<std::unique_ptr<DiskDevice>> device =
      StartDiskDevice(*std::move(parts), std::move(on_results));
  if (!device.ok()) return Annotate(device.status(), options.path);
  return device;
}

}  // namespace larder
