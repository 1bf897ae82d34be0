#include "tools/bench/disk_metadata.h"

#include <fcntl.h>

#include <cerrno>
#include <filesystem>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/file_descriptor.h"
#include "common/random.h"
#include "common/status.h"
#include "storage/disk/disk_metadata.h"
#include "tools/bench/bench_directory.h"

namespace larder {
namespace {

constexpr DiskDeviceId kDevice{.low = 1, .high = 2};
constexpr uint64_t kSeed = 1;
constexpr uint64_t kPayloadBytes = uint64_t{1} << 20;
constexpr uint64_t kSegmentRecords = 127;
constexpr double kRestartGoalSeconds = 2;
constexpr absl::Duration kFlushTimeout = absl::Minutes(5);

// The chunks of prefixes, written one after another.
DiskRecord BenchRecord(Random& random, uint64_t number) {
  DiskRecord record;
  record.space = {3, 4};
  record.key = {random.Next(), random.Next()};
  record.parent = {random.Next(), random.Next()};
  record.depth = static_cast<uint32_t>(number % 64);
  record.token_count = 256;
  record.layer_end = 32;
  record.head_end = 8;
  record.segment = static_cast<uint32_t>(number / kSegmentRecords);
  record.generation = 1 + number / kSegmentRecords;
  record.offset = number * DiskRecordBytes(kPayloadBytes);
  record.payload_bytes = kPayloadBytes;
  record.payload_crc = static_cast<uint32_t>(random.Next());
  record.sequence = number;
  record.written_unix_ms = static_cast<int64_t>(number);
  return record;
}

absl::Status WriteRecords(DiskMetadata& metadata, uint64_t records) {
  SeededRandom random(kSeed);
  for (uint64_t number = 0; number < records; ++number) {
    const DiskMetadataChange change{.record = BenchRecord(random, number)};
    absl::Status status = metadata.Queue(change);
    while (absl::IsResourceExhausted(status)) {
      RETURN_IF_ERROR(metadata.Flush(/*sync=*/false, kFlushTimeout));
      status = metadata.Queue(change);
    }
    RETURN_IF_ERROR(status);
  }
  return metadata.Flush(/*sync=*/true, kFlushTimeout);
}

// So that the next opening reads from the device.
absl::Status DropFromPageCache(const std::string& directory) {
  std::error_code error_code;
  std::filesystem::directory_iterator entry(directory, error_code);
  for (; !error_code && entry != std::filesystem::directory_iterator();
       entry.increment(error_code)) {
    const FileDescriptor file(open(entry->path().c_str(), O_RDONLY | O_CLOEXEC));
    if (!file) return ErrnoStatus(errno, absl::StrCat("opening ", entry->path().string()));
    if (fdatasync(file.get()) != 0) return ErrnoStatus(errno, "syncing");
    const int error = posix_fadvise(file.get(), 0, 0, POSIX_FADV_DONTNEED);
    if (error != 0) return ErrnoStatus(error, "dropping from the page cache");
  }
  if (error_code) return ErrnoStatus(error_code.value(), "listing the index");
  return absl::OkStatus();
}

double SecondsSince(MonotonicTime begin) {
  return absl::ToDoubleSeconds(SystemClock::Get().Now() - begin);
}

absl::Status MeasureRestart(const std::string& directory, uint64_t records, MicroReport* report) {
  RETURN_IF_ERROR(DropFromPageCache(directory));
  const MonotonicTime begin = SystemClock::Get().Now();
  ASSIGN_OR_RETURN(const std::unique_ptr<DiskMetadata> metadata,
                   DiskMetadata::Open(directory, {.device = kDevice}));
  report->AddRaw("open_s", SecondsSince(begin));
  uint64_t found = 0, damaged = 0;
  RETURN_IF_ERROR(metadata->ForEach([&found](const DiskRecord&) { ++found; }, &damaged));
  report->AddAtMost("open_and_read_s", SecondsSince(begin), kRestartGoalSeconds,
                    "reading the index's files once");
  if (found == records && damaged == 0) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(found, " of ", records, " records came back, ", damaged, " damaged"));
}

}  // namespace

absl::StatusOr<MicroReport> RunDiskMetadataBench(const DiskMetadataBenchOptions& options) {
  ASSIGN_OR_RETURN(const BenchDirectory directory, BenchDirectory::Create(options.directory));
  MicroReport report;
  report.AddRaw("records", static_cast<double>(options.records));
  ASSIGN_OR_RETURN(std::unique_ptr<DiskMetadata> metadata,
                   DiskMetadata::Open(directory.path(), {.device = kDevice}));
  const MonotonicTime begin = SystemClock::Get().Now();
  RETURN_IF_ERROR(WriteRecords(*metadata, options.records));
  report.AddRaw("write_us_per_record",
                SecondsSince(begin) * 1e6 / static_cast<double>(options.records));
  report.AddRaw("bytes_per_record",
                static_cast<double>(metadata->DiskBytes()) / static_cast<double>(options.records));
  metadata.reset();
  RETURN_IF_ERROR(MeasureRestart(directory.path(), options.records, &report));
  return report;
}

}  // namespace larder
