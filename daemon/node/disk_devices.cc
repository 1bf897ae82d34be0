#include "daemon/node/disk_devices.h"

#include <unistd.h>

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "daemon/node/log.h"

namespace larder {
namespace {

constexpr absl::Duration kWarningInterval = absl::Seconds(1);

DiskEngineKind ParseEngine(absl::string_view engine) {
  if (engine == "io_uring") return DiskEngineKind::kIoUring;
  return engine == "threads" ? DiskEngineKind::kThreads : DiskEngineKind::kAuto;
}

std::string HostName() {
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 ? name : "localhost";
}

std::string SpacesPath(const std::string& directory) { return directory + "/spaces"; }

}  // namespace

DiskMode ParseDiskMode(absl::string_view mode) {
  if (mode == "write-through") return DiskMode::kWriteThrough;
  return mode == "read-only" ? DiskMode::kReadOnly : DiskMode::kWriteBack;
}

DiskAdmissionKind ParseDiskAdmission(absl::string_view admission) {
  if (admission == "score") return DiskAdmissionKind::kScore;
  return admission == "second-sight" ? DiskAdmissionKind::kSecondSight : DiskAdmissionKind::kAll;
}

absl::StatusOr<std::unique_ptr<DiskDevices>> DiskDevices::Open(const DiskOptions& options,
                                                               std::span<uint8_t> arena,
                                                               TaskQueue* tasks) {
  std::unique_ptr<DiskDevices> devices(new DiskDevices(options, arena, tasks));
  RETURN_IF_ERROR(devices->OpenAll());
  return devices;
}

absl::Status DiskDevices::OpenAll() {
  const std::vector<std::string> paths =
      absl::StrSplit(options_.paths, ',', absl::SkipWhitespace());
  devices_.reserve(paths.size());
  for (const std::string& path : paths) {
    DiskDeviceOptions device_options;
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(absl::StripAsciiWhitespace(path), absl::MaxSplits(':', 1));
    device_options.path = parts.first;
    device_options.metadata_directory = parts.second;
    device_options.capacity_bytes = options_.capacity_bytes;
    device_options.segment_bytes = options_.segment_bytes;
    device_options.owner = options_.owner.empty() ? HostName() : options_.owner;
    device_options.owner.resize(std::min(device_options.owner.size(), kDiskOwnerBytesMax));
    device_options.engine = ParseEngine(options_.engine);
    device_options.io_timeout = options_.io_timeout;
    device_options.memory = arena_;
    const auto number = static_cast<uint32_t>(devices_.size());
    ASSIGN_OR_RETURN(
        std::unique_ptr<DiskDevice> device,
        DiskDevice::Open(device_options,
                         [this, number](std::vector<DiskResult> results, bool out_of_service) {
                           Report(number, std::move(results), out_of_service);
                         }));
    Device opened;
    opened.path = device_options.path;
    opened.directory = parts.second.empty() ? parts.first : parts.second;
    opened.capacity_bytes = options_.capacity_bytes;
    opened.device = std::move(device);
    opened.spaces = std::make_unique<SpacesFileKeeper>(SpacesPath(opened.directory));
    devices_.push_back(std::move(opened));
  }
  return absl::OkStatus();
}

DiskDevices::~DiskDevices() {
  // Their threads report until they have ended.
  for (Device& device : devices_) device.device = nullptr;
}

void DiskDevices::AttachTo(Core& core, uint64_t hash_seed, MonotonicTime now) {
  DiskTierOptions tier_options;
  tier_options.hash_seed = hash_seed;
  tier_options.write_bytes_per_day = options_.write_bytes_per_day;
  tier_options.groups = core.DiskLimits();
  tier_options.capacity_bytes = options_.capacity_bytes * devices_.size();
  auto tier = std::make_unique<DiskTier>(tier_options, now);
  std::vector<DiskContents> contents;
  for (Device& device : devices_) {
    contents.push_back(device.device->TakeContents());
    tier->AddDevice(device.device->geometry(), contents.back().generations,
                    contents.back().highest_generation);
  }
  core.AttachDisk(std::move(tier));
  for (uint32_t i = 0; i < contents.size(); ++i) {
    for (const DiskRecord& record : contents[i].records) core.RestoreDiskRecord(i, record);
    LogInfo("disk open", {{"path", devices_[i].path},
                          {"engine", devices_[i].device->EngineDescription()},
                          {"records", absl::StrCat(contents[i].records.size())},
                          {"dropped_records", absl::StrCat(contents[i].dropped_records)}});
  }
}

std::vector<SpaceDescription> DiskDevices::ReadSpaces() const {
  std::vector<SpaceDescription> all;
  for (const Device& device : devices_) {
    const absl::StatusOr<std::vector<SpaceDescription>> spaces =
        ReadSpacesFile(SpacesPath(device.directory));
    if (spaces.ok()) {
      all.insert(all.end(), spaces->begin(), spaces->end());
    } else {
      LogError("spaces file not read", {{"why", std::string(spaces.status().message())}});
    }
  }
  return all;
}

void DiskDevices::WriteSpaces(std::span<const SpaceDescription> spaces) {
  if (ParseDiskMode(options_.mode) == DiskMode::kReadOnly) return;
  for (Device& device : devices_) device.spaces->Write(spaces);
}

void DiskDevices::Report(uint32_t device, std::vector<DiskResult> results, bool out_of_service) {
  {
    std::lock_guard lock(mutex_);
    for (DiskResult& result : results) reports_.results.emplace_back(device, std::move(result));
    if (out_of_service) reports_.out_of_service.push_back(device);
  }
  // One wake-up is enough for all that is reported until the loop looks.
  if (!reported_.exchange(true)) (void)tasks_->Post([] {});
}

bool DiskDevices::TakeReports(Core& core, MonotonicTime now) {
  if (!reported_.load(std::memory_order_acquire)) return false;
  // Before the reports are taken: what comes in between announces itself again.
  reported_.store(false);
  Reports reports;
  {
    std::lock_guard lock(mutex_);
    std::swap(reports, reports_);
  }
  for (const uint32_t device : reports.out_of_service) {
    LogError("disk out of service", {{"path", devices_[device].path}});
    core.OnDeviceOutOfService(device);
  }
  for (const auto& [device, result] : reports.results) {
    if (result.code != absl::StatusCode::kOk) Warn(devices_[device], result, now);
    core.OnDiskResult(result, now);
  }
  return true;
}

void DiskDevices::Warn(Device& device, const DiskResult& result, MonotonicTime now) {
  // A disk that fails does so many times a second.
  if (device.warned.nanoseconds != 0 && now - device.warned < kWarningInterval) {
    ++device.unsaid;
    return;
  }
  LogWarning("disk", {{"path", device.path},
                      {"why", result.why},
                      {"others_since_the_last", absl::StrCat(device.unsaid)}});
  device.warned = now;
  device.unsaid = 0;
}

bool DiskDevices::PassOrders(Core& core, MonotonicTime now) {
  for (DiskOrder& order : core.TakeDiskOrders()) {
    DiskCommand& command = order.command;
    if (command.kind == DiskCommand::Kind::kRead || command.kind == DiskCommand::Kind::kWrite) {
      command.memory =
          arena_.subspan(order.arena_offset, RoundUpToDiskBlocks(command.record.payload_bytes));
    }
    devices_[order.device].waiting.push_back(command);
  }
  bool refused = false;
  for (Device& device : devices_) {
    if (!device.waiting.empty() && SubmitWaiting(device, core, now)) refused = true;
  }
  return refused;
}

bool DiskDevices::SubmitWaiting(Device& device, Core& core, MonotonicTime now) {
  bool refused = false;
  while (!device.waiting.empty()) {
    const DiskCommand& command = device.waiting.front();
    const absl::Status submitted = device.device->Submit(command);
    if (absl::IsResourceExhausted(submitted)) break;  // Until some of its results are there.
    if (!submitted.ok() && command.token != 0) {
      refused = true;
      core.OnDiskResult({.token = command.token,
                         .code = absl::StatusCode::kUnavailable,
                         .why = std::string(submitted.message()),
                         .time = {}},
                        now);
    }
    device.waiting.pop_front();
  }
  return refused;
}

std::vector<DiskDeviceStatus> DiskDevices::Status() const {
  std::vector<DiskDeviceStatus> all;
  for (const Device& device : devices_) {
    all.push_back({.path = device.path,
                   .engine = device.device->EngineDescription(),
                   .capacity_bytes = device.capacity_bytes,
                   .stats = device.device->stats()});
  }
  return all;
}

std::optional<uint32_t> DiskDevices::Find(absl::string_view path) const {
  for (uint32_t i = 0; i < devices_.size(); ++i) {
    if (devices_[i].path == path) return i;
  }
  return std::nullopt;
}

}  // namespace larder
