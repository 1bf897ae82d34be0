#include "tools/bench/disk.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/file_descriptor.h"
#include "common/random.h"
#include "common/status.h"
#include "tools/bench/bench_directory.h"
#include "tools/bench/disk_node.h"
#include "tools/bench/disk_runner.h"
#include "tools/bench/micro_parts.h"
#include "tools/bench/raw_disk.h"
#include "tools/console/units.h"

namespace larder {
namespace {

constexpr uint32_t kDepth = 16;
constexpr uint64_t kLargestBytes = uint64_t{4} << 20;
constexpr uint64_t kSegmentBytes = uint64_t{128} << 20;
// Of the device's capacity, beside the segments.
constexpr uint64_t kOverheadBytes = uint64_t{65} << 20;
constexpr uint64_t kQuickBytes = uint64_t{256} << 20;
constexpr int kRounds = 5;
constexpr int kQuickRounds = 2;
constexpr double kReadGoal = 0.90;
constexpr double kWriteGoal = 0.85;
constexpr uint64_t kSeed = 1;

// The type of the file system that `path` is on, as the list of mounts says.
std::string FileSystemOf(const std::string& path) {
  std::error_code ignored;
  const std::string real = std::filesystem::canonical(path, ignored);
  std::ifstream mounts("/proc/self/mounts");
  std::string device, mount_point, type, rest, best, found = "unknown";
  while (mounts >> device >> mount_point >> type && std::getline(mounts, rest)) {
    const std::string below = mount_point == "/" ? mount_point : mount_point + "/";
    if (!(real + "/").starts_with(below) || mount_point.size() < best.size()) continue;
    best = mount_point;
    found = absl::StrCat(type, " on ", device);
  }
  return found;
}

class DiskBenchmark {
 public:
  DiskBenchmark(const DiskBenchOptions& options, MicroReport* report)
      : options_(options),
        rounds_(options.quick ? kQuickRounds : kRounds),
        bytes_(options.quick ? kQuickBytes : options.gib << 30),
        random_(kSeed),
        report_(report) {}

  absl::Status Prepare(const std::string& directory) {
    ASSIGN_OR_RETURN(memory_, MemoryMapping::MapAnonymous(kDepth * kLargestBytes));
    for (uint8_t& byte : memory_.bytes()) byte = static_cast<uint8_t>(random_.Next());
    DiskDeviceOptions device;
    device.path = directory + "/device";
    device.capacity_bytes = bytes_ + kOverheadBytes;
    device.segment_bytes = std::min(kSegmentBytes, bytes_ / 4);
    device.owner = "larder-bench";
    device.depth = kDepth;
    device.memory = memory_.bytes();
    ASSIGN_OR_RETURN(runner_, DiskRunner::Open(device, kDepth));
    const uint64_t end = runner_->device().geometry().end();
    ASSIGN_OR_RETURN(RawDisk raw, RawDisk::Create(directory + "/raw", end, memory_.bytes()));
    raw_.emplace(std::move(raw));
    Describe(directory);
    // Space that was never written is slower; what is measured is a disk in use.
    Step("first writes");
    ASSIGN_OR_RETURN(std::vector<DiskRecord> records, runner_->LayOut(kLargestBytes));
    RETURN_IF_ERROR(runner_->Run(DiskCommand::Kind::kWrite, &records).status());
    std::vector<uint64_t> offsets;
    for (uint64_t at = 0; at + kLargestBytes <= end; at += kLargestBytes) offsets.push_back(at);
    return raw_->Run(RawDisk::Direction::kWrite, offsets, kLargestBytes, kDepth).status();
  }

  // Rounds of raw and device by turns, so that what else the machine does hits both.
  // Returns what the plain loop read a second.
  absl::StatusOr<double> Measure(uint64_t payload_bytes, const std::string& size_name) {
    Step(absl::StrCat("records of ", FormatBytes(payload_bytes)));
    std::vector<double> raw_writes, writes, raw_reads, reads;
    for (int round = 0; round < rounds_; ++round) {
      ASSIGN_OR_RETURN(std::vector<DiskRecord> records, runner_->LayOut(payload_bytes));
      const double gigabytes = static_cast<double>(records.size() * payload_bytes) / 1e9;
      const auto raw = [&](RawDisk::Direction direction) {
        return raw_->Run(direction, PayloadOffsets(records), payload_bytes, kDepth);
      };
      ASSIGN_OR_RETURN(const double raw_write, raw(RawDisk::Direction::kWrite));
      ASSIGN_OR_RETURN(const double write, runner_->Run(DiskCommand::Kind::kWrite, &records));
      Shuffle(&records);
      ASSIGN_OR_RETURN(const double raw_read, raw(RawDisk::Direction::kRead));
      ASSIGN_OR_RETURN(const double read, runner_->Run(DiskCommand::Kind::kRead, &records));
      raw_writes.push_back(gigabytes / raw_write);
      writes.push_back(gigabytes / write);
      raw_reads.push_back(gigabytes / raw_read);
      reads.push_back(gigabytes / read);
    }
    Report("read_" + size_name, Median(reads), Median(raw_reads), kReadGoal);
    Report("write_" + size_name, Median(writes), Median(raw_writes), kWriteGoal);
    return Median(raw_reads);
  }

 private:
  void Step(absl::string_view what) const {
    if (options_.on_step) options_.on_step(what);
  }

  void Describe(const std::string& directory) {
    report_->AddSetting("file_system", FileSystemOf(directory));
    report_->AddSetting("engine", runner_->device().EngineDescription());
    report_->AddSetting("file_bytes", FormatBytes(runner_->device().geometry().end()));
    report_->AddSetting("segment_bytes", FormatBytes(runner_->device().geometry().segment_bytes));
    report_->AddSetting("queue_depth", absl::StrCat(kDepth));
    report_->AddSetting("rounds", absl::StrCat(rounds_));
  }

  void Report(const std::string& name, double device, double raw, double goal) {
    report_->AddAtLeast(name + "_ratio", device / raw, goal,
                        "the device; sums and one header each");
    report_->AddRaw(name + "_gb_per_s", device);
    report_->AddRaw(name + "_raw_gb_per_s", raw);
  }

  static std::vector<uint64_t> PayloadOffsets(const std::vector<DiskRecord>& records) {
    std::vector<uint64_t> offsets;
    offsets.reserve(records.size());
    for (const DiskRecord& record : records) offsets.push_back(record.offset + kDiskBlockBytes);
    return offsets;
  }

  void Shuffle(std::vector<DiskRecord>* records) {
    for (size_t i = records->size(); i > 1; --i) {
      std::swap((*records)[i - 1], (*records)[random_.Below(i)]);
    }
  }

  const DiskBenchOptions& options_;
  const int rounds_;
  const uint64_t bytes_;
  SeededRandom random_;
  MicroReport* const report_;
  MemoryMapping memory_;
  std::unique_ptr<DiskRunner> runner_;
  std::optional<RawDisk> raw_;
};

}  // namespace

absl::StatusOr<MicroReport> RunDiskBench(const DiskBenchOptions& options) {
  MicroReport report;
  double raw_gb_per_s = 0;
  {
    ASSIGN_OR_RETURN(const BenchDirectory directory, BenchDirectory::Create(options.path));
    DiskBenchmark benchmark(options, &report);
    RETURN_IF_ERROR(benchmark.Prepare(directory.path()));
    ASSIGN_OR_RETURN(raw_gb_per_s, benchmark.Measure(uint64_t{1} << 20, "1mib"));
    RETURN_IF_ERROR(benchmark.Measure(kLargestBytes, "4mib").status());
  }
  const auto run = [&](absl::string_view what, const auto& part) -> absl::Status {
    if (options.on_step) options.on_step(what);
    ASSIGN_OR_RETURN(const BenchDirectory directory, BenchDirectory::Create(options.path));
    return part(directory.path());
  };
  RETURN_IF_ERROR(run("a prefix on disk", [&](const std::string& directory) {
    return MeasureDiskPrefix(options, directory, raw_gb_per_s, &report);
  }));
  RETURN_IF_ERROR(run("the core's CPU time", [&](const std::string& directory) {
    return MeasureDiskCpu(options, directory, &report);
  }));
  RETURN_IF_ERROR(run("a restart", [&](const std::string& directory) {
    return MeasureDiskRestart(options, directory, &report);
  }));
  RETURN_IF_ERROR(run("write amplification", [&](const std::string& directory) {
    return MeasureWriteAmplification(options, directory, &report);
  }));
  return report;
}

}  // namespace larder
