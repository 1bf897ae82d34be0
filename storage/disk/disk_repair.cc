#include "storage/disk/disk_repair.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "storage/disk/disk_metadata.h"

namespace larder {
namespace {

constexpr absl::Duration kFlushTimeout = absl::Minutes(10);

using Part = std::tuple<SpaceId, KeyHash, uint16_t, uint16_t, uint16_t, uint16_t>;
using RecordsByOffset = absl::flat_hash_map<uint64_t, DiskRecord>;
using RecordsByPart = absl::flat_hash_map<Part, DiskRecord>;

Part PartOf(const DiskRecord& record) {
  return {record.space,     record.key,        record.layer_begin,
          record.layer_end, record.head_begin, record.head_end};
}

std::vector<uint64_t> GenerationsOf(const OfflineDisk& disk) {
  std::vector<uint64_t> generations(disk.geometry().segments);
  for (const SegmentHeader& segment : disk.segments()) {
    generations[segment.segment] = segment.generation;
  }
  return generations;
}

// The index's records that the device should have; counts the others.
absl::StatusOr<RecordsByOffset> ReadIndex(
    const OfflineDisk& disk,
    absl::FunctionRef<void(const DiskRecord&, absl::string_view)> on_problem,
    DiskVerification* result) {
  const std::vector<uint64_t> generations = GenerationsOf(disk);
  RecordsByOffset expected;
  const auto visit = [&](const DiskRecord& record) {
    ++result->index_records;
    if (record.segment >= generations.size() || record.generation != generations[record.segment]) {
      ++result->outdated_entries;
    } else if (!expected.emplace(record.offset, record).second) {
      ++result->missing_records;
      on_problem(record, "another record has its place");
    }
  };
  RETURN_IF_ERROR(DiskMetadata::Read(disk.index_directory(), disk.geometry().device, visit,
                                     &result->index_damaged));
  return expected;
}

absl::Status WriteIndex(const std::string& directory, DiskDeviceId device,
                        const RecordsByPart& records) {
  ASSIGN_OR_RETURN(const std::unique_ptr<DiskMetadata> index,
                   DiskMetadata::Open(directory, {.device = device}));
  for (const auto& [part, record] : records) {
    const DiskMetadataChange change{.record = record};
    absl::Status status = index->Queue(change);
    if (absl::IsResourceExhausted(status)) {
      RETURN_IF_ERROR(index->Flush(/*sync=*/false, kFlushTimeout));
      status = index->Queue(change);
    }
    RETURN_IF_ERROR(status);
  }
  return index->Flush(/*sync=*/true, kFlushTimeout);
}

absl::Status RemoveAll(const std::string& directory) {
  std::error_code error;
  std::filesystem::remove_all(directory, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("removing ", directory));
  return absl::OkStatus();
}

absl::Status Rename(const std::string& from, const std::string& to, unsigned flags) {
  if (renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("renaming ", from, " to ", to));
}

// Afterwards `old_index`, if there was one, is under the name of the new one.
absl::Status ReplaceIndex(const std::string& new_index, const std::string& old_index) {
  std::error_code error;
  const bool exists = std::filesystem::exists(old_index, error);
  RETURN_IF_ERROR(Rename(new_index, old_index, exists ? RENAME_EXCHANGE : 0));
  const std::string parent = std::filesystem::path(old_index).parent_path();
  const FileDescriptor directory(open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!directory || fsync(directory.get()) != 0) return ErrnoStatus(errno, "syncing " + parent);
  return absl::OkStatus();
}

}  // namespace

DiskVerification VerifyDisk(
    OfflineDisk& disk, PayloadCheck check,
    absl::FunctionRef<void(const DiskRecord&, absl::string_view)> on_problem) {
  DiskVerification result;
  absl::StatusOr<RecordsByOffset> expected = ReadIndex(disk, on_problem, &result);
  if (!expected.ok()) {
    result.index_problem = std::string(expected.status().message());
    expected = RecordsByOffset();
  }
  const auto visit = [&](const DiskRecord& record, bool payload_ok) {
    const auto found = expected->find(record.offset);
    if (found == expected->end() || found->second != record) {
      ++result.unknown_records;
      return;
    }
    ++result.live_records;
    result.live_payload_bytes += record.payload_bytes;
    if (!payload_ok) {
      ++result.damaged_live_records;
      on_problem(record, "its payload is not what was written");
    }
    expected->erase(found);
  };
  disk.Scan(check, visit, &result.device);
  result.missing_records += expected->size();
  for (const auto& [offset, record] : *expected) on_problem(record, "it is not at its place");
  return result;
}

absl::StatusOr<DiskRebuild> RebuildDiskMetadata(OfflineDisk& disk, PayloadCheck check) {
  DiskRebuild result;
  RecordsByPart latest;
  const auto visit = [&](const DiskRecord& record, bool payload_ok) {
    if (!payload_ok) return;
    const auto [known, is_new] = latest.try_emplace(PartOf(record), record);
    if (is_new) return;
    ++result.replaced_records;
    if (known->second.sequence < record.sequence) known->second = record;
  };
  disk.Scan(check, visit, &result.device);
  result.index_records = latest.size();
  const std::string new_index = disk.index_directory() + ".new";
  RETURN_IF_ERROR(RemoveAll(new_index));  // of a rebuild that was cut short
  absl::Status status = WriteIndex(new_index, disk.geometry().device, latest);
  if (status.ok()) status = ReplaceIndex(new_index, disk.index_directory());
  // The old one now, or what was written of the new one.
  const absl::Status removed = RemoveAll(new_index);
  RETURN_IF_ERROR(status);
  RETURN_IF_ERROR(removed);
  return result;
}

}  // namespace larder
