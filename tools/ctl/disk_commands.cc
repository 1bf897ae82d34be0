#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/disk/disk_repair.h"
#include "storage/disk/disk_scan.h"
#include "tools/console/table.h"
#include "tools/console/units.h"
#include "tools/ctl/admin_client.h"
#include "tools/ctl/commands.h"
#include "tools/ctl/proto_json.h"
#include "tools/ctl/render.h"

namespace larder {
namespace {

using Fields = std::vector<std::pair<std::string, std::string>>;

absl::StatusOr<std::unique_ptr<OfflineDisk>> OpenDisk(const Invocation& invocation) {
  absl::StatusOr<std::unique_ptr<OfflineDisk>> disk =
      OfflineDisk::Open(invocation.disk.path, invocation.disk.metadata_directory);
  // Would be taken for a daemon that does not answer.
  if (absl::IsUnavailable(disk.status())) return absl::InternalError(disk.status().message());
  return disk;
}

PayloadCheck CheckOf(const Invocation& invocation) {
  return invocation.disk.headers_only ? PayloadCheck::kSkip : PayloadCheck::kSum;
}

Json ToJson(const DiskScanCounts& counts) {
  return {{"records", counts.records},
          {"payload_bytes", counts.payload_bytes},
          {"damaged_headers", counts.damaged_headers},
          {"damaged_payloads", counts.damaged_payloads},
          {"unreadable_blocks", counts.unreadable_blocks}};
}

std::string ToText(const DiskScanCounts& counts) {
  return absl::StrCat(FormatCount(counts.records), " records, ", FormatBytes(counts.payload_bytes),
                      "; damaged: ", FormatCount(counts.damaged_headers), " headers, ",
                      FormatCount(counts.damaged_payloads),
                      " payloads; unreadable blocks: ", FormatCount(counts.unreadable_blocks));
}

struct SegmentUse {
  uint64_t records = 0, payload_bytes = 0;
};

Json SegmentJson(const SegmentHeader& segment, const SegmentUse& use) {
  return {{"segment", segment.segment},
          {"generation", segment.generation},
          {"lifetime_class", segment.lifetime_class},
          {"records", use.records},
          {"payload_bytes", use.payload_bytes}};
}

Table SegmentsTable(const OfflineDisk& disk, const std::vector<SegmentUse>& uses) {
  Table table;
  for (const char* name : {"SEGMENT", "GENERATION", "CLASS", "RECORDS", "BYTES"}) {
    table.AddColumn(name, Align::kRight);
  }
  for (const SegmentHeader& segment : disk.segments()) {
    const SegmentUse& use = uses[segment.segment];
    table.AddRow({absl::StrCat(segment.segment), absl::StrCat(segment.generation),
                  absl::StrCat(segment.lifetime_class), FormatCount(use.records),
                  FormatBytes(use.payload_bytes)});
  }
  return table;
}

Fields DiskFields(const OfflineDisk& disk) {
  const DiskGeometry& geometry = disk.geometry();
  return {{"device", ToString(geometry.device)},
          {"node", disk.superblock().owner},
          {"size", FormatBytes(disk.bytes())},
          {"segments",
           absl::StrCat(FormatCount(geometry.segments), " of ", FormatBytes(geometry.segment_bytes),
                        "; opened ", FormatCount(disk.segments().size()), ", damaged ",
                        FormatCount(disk.damaged_segments()))}};
}

Json DiskJson(const OfflineDisk& disk) {
  const DiskGeometry& geometry = disk.geometry();
  return {{"device", ToString(geometry.device)},
          {"node", disk.superblock().owner},
          {"bytes", disk.bytes()},
          {"segment_bytes", geometry.segment_bytes},
          {"segment_count", geometry.segments},
          {"damaged_segments", disk.damaged_segments()}};
}

// Shows each record of the index that cannot be read back, as they are found.
class ProblemPrinter {
 public:
  explicit ProblemPrinter(bool as_json) {
    if (as_json) json_.emplace(stdout, "problems");
  }

  void Add(const DiskRecord& record, absl::string_view what) {
    const std::string reason(what);
    if (json_.has_value()) {
      json_->Add({{"space", ToString(record.space)},
                  {"key_hash", ToString(record.key)},
                  {"segment", record.segment},
                  {"generation", record.generation},
                  {"offset", record.offset},
                  {"payload_bytes", record.payload_bytes},
                  {"what", reason}});
    } else {
      std::printf("space %s, hash %s, segment %u, offset %llu: %s\n",
                  ToString(record.space).c_str(), ToString(record.key).c_str(), record.segment,
                  static_cast<unsigned long long>(record.offset), reason.c_str());
    }
  }

  void Finish(const OfflineDisk& disk, const DiskVerification& found) {
    if (json_.has_value()) {
      Json rest = DiskJson(disk);
      rest["on_device"] = ToJson(found.device);
      rest["index_problem"] =
          found.index_problem.empty() ? Json(nullptr) : Json(found.index_problem);
      rest["index_records"] = found.index_records;
      rest["index_damaged"] = found.index_damaged;
      rest["live_records"] = found.live_records;
      rest["live_payload_bytes"] = found.live_payload_bytes;
      rest["damaged_live_records"] = found.damaged_live_records;
      rest["missing_records"] = found.missing_records;
      rest["unknown_records"] = found.unknown_records;
      rest["outdated_entries"] = found.outdated_entries;
      rest["ok"] = found.ok();
      json_->Finish(rest);
      return;
    }
    Fields fields = DiskFields(disk);
    fields.emplace_back("on device", ToText(found.device));
    fields.emplace_back("index",
                        found.index_problem.empty()
                            ? absl::StrCat(FormatCount(found.index_records), " records; outdated ",
                                           FormatCount(found.outdated_entries), ", damaged ",
                                           FormatCount(found.index_damaged))
                            : found.index_problem);
    fields.emplace_back("live", absl::StrCat(FormatCount(found.live_records), " records, ",
                                             FormatBytes(found.live_payload_bytes), "; damaged ",
                                             FormatCount(found.damaged_live_records)));
    fields.emplace_back("missing", FormatCount(found.missing_records));
    fields.emplace_back("unknown", FormatCount(found.unknown_records));
    fields.emplace_back("result", found.ok() ? "all is well" : "there are problems");
    std::fputs(FieldLines(fields).c_str(), stdout);
  }

 private:
  std::optional<JsonListWriter> json_;
};

}  // namespace

absl::StatusOr<ExitCode> RunDiskList(const Invocation& invocation) {
  ASSIGN_OR_RETURN(const std::unique_ptr<OfflineDisk> disk, OpenDisk(invocation));
  std::vector<SegmentUse> uses(disk->geometry().segments);
  DiskScanCounts counts;
  disk->Scan(
      PayloadCheck::kSkip,
      [&uses](const DiskRecord& record, bool) {
        ++uses[record.segment].records;
        uses[record.segment].payload_bytes += record.payload_bytes;
      },
      &counts);
  if (invocation.json) {
    JsonListWriter writer(stdout, "segments");
    for (const SegmentHeader& segment : disk->segments()) {
      writer.Add(SegmentJson(segment, uses[segment.segment]));
    }
    Json rest = DiskJson(*disk);
    rest["on_device"] = ToJson(counts);
    writer.Finish(rest);
    return ExitCode::kOk;
  }
  Fields fields = DiskFields(*disk);
  fields.emplace_back("on device", ToText(counts));
  std::fputs(FieldLines(fields).c_str(), stdout);
  if (disk->segments().empty()) return ExitCode::kOk;
  std::fputc('\n', stdout);
  SegmentsTable(*disk, uses).Print(stdout);
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> RunDiskVerify(const Invocation& invocation) {
  ASSIGN_OR_RETURN(const std::unique_ptr<OfflineDisk> disk, OpenDisk(invocation));
  ProblemPrinter printer(invocation.json);
  const DiskVerification found = VerifyDisk(
      *disk, CheckOf(invocation),
      [&printer](const DiskRecord& record, absl::string_view what) { printer.Add(record, what); });
  printer.Finish(*disk, found);
  return found.ok() ? ExitCode::kOk : ExitCode::kFailed;
}

absl::StatusOr<ExitCode> RunDiskRebuild(const Invocation& invocation) {
  ASSIGN_OR_RETURN(const std::unique_ptr<OfflineDisk> disk, OpenDisk(invocation));
  const absl::StatusOr<DiskRebuild> rebuild = RebuildDiskMetadata(*disk, CheckOf(invocation));
  if (!rebuild.ok()) return absl::InternalError(rebuild.status().message());
  if (invocation.json) {
    Json json = DiskJson(*disk);
    json["on_device"] = ToJson(rebuild->device);
    json["index_records"] = rebuild->index_records;
    json["replaced_records"] = rebuild->replaced_records;
    std::fputs(ToText(json).c_str(), stdout);
    return ExitCode::kOk;
  }
  Fields fields = DiskFields(*disk);
  fields.emplace_back("on device", ToText(rebuild->device));
  fields.emplace_back(
      "new index",
      absl::StrCat(FormatCount(rebuild->index_records), " records; left out ",
                   FormatCount(rebuild->replaced_records), " that were written again later"));
  std::fputs(FieldLines(fields).c_str(), stdout);
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> RunDiskRetire(const Invocation& invocation) {
  AdminClient admin(invocation.address, invocation.timeout);
  v1::RetireDiskRequest request;
  request.set_path(invocation.disk.path);
  RETURN_IF_ERROR(admin.Call(&v1::Admin::Stub::RetireDisk, request).status());
  std::fputs(invocation.json ? ToText({{"retired", invocation.disk.path}}).c_str()
                             : "nothing more is written to it; what is on it is read on\n",
             stdout);
  return ExitCode::kOk;
}

}  // namespace larder
