#include "storage/disk/disk_record.h"

#include <cstddef>
#include <cstring>
#include <limits>
#include <span>

#include "absl/strings/str_cat.h"
#include "common/crc32c.h"

namespace larder {
namespace {

constexpr uint64_t kUnixMsMax = std::numeric_limits<int64_t>::max();

uint32_t HeaderCrc(const RecordHeaderV1& header) {
  return Crc32c({reinterpret_cast<const uint8_t*>(&header), offsetof(RecordHeaderV1, crc)});
}

absl::Status Damaged(uint64_t offset, absl::string_view why) {
  return absl::DataLossError(absl::StrCat("record at ", offset, ": ", why));
}

absl::Status CheckPreamble(const RecordHeaderV1& header, uint64_t offset) {
  if (std::memcmp(header.magic, kRecordMagic, sizeof kRecordMagic) != 0) {
    return Damaged(offset, "no record begins here");
  }
  if (header.crc != HeaderCrc(header)) return Damaged(offset, "wrong header checksum");
  if (header.version != kDiskFormatVersion) {
    return Damaged(offset, absl::StrCat("version ", header.version, ", this program reads ",
                                        kDiskFormatVersion));
  }
  if (header.reserved != 0) return Damaged(offset, "reserved bytes are not zero");
  return absl::OkStatus();
}

absl::Status CheckTimes(const RecordHeaderV1& header, uint64_t offset) {
  if (header.expiry_unix_ms > kUnixMsMax || header.written_unix_ms > kUnixMsMax) {
    return Damaged(offset, "a time that cannot be");
  }
  return absl::OkStatus();
}

absl::Status CheckRanges(const DiskRecord& record) {
  if (record.layer_begin >= record.layer_end) {
    return absl::InvalidArgumentError(
        absl::StrCat("layers [", record.layer_begin, ", ", record.layer_end, ")"));
  }
  if (record.head_begin >= record.head_end) {
    return absl::InvalidArgumentError(
        absl::StrCat("heads [", record.head_begin, ", ", record.head_end, ")"));
  }
  if (record.expiry_unix_ms < 0 || record.written_unix_ms < 0) {
    return absl::InvalidArgumentError("a time before 1970");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckDiskRecord(const DiskGeometry& geometry, const DiskRecord& record) {
  if (record.segment >= geometry.segments) {
    return absl::InvalidArgumentError(
        absl::StrCat("segment ", record.segment, " of ", geometry.segments));
  }
  if (record.generation == 0) return absl::InvalidArgumentError("generation 0");
  // Its first block is the segment's header.
  const uint64_t begin = geometry.SegmentBegin(record.segment) + kDiskBlockBytes;
  const uint64_t end = geometry.SegmentBegin(record.segment + 1);
  if (record.offset < begin || record.offset >= end || record.offset % kDiskBlockBytes != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("offset ", record.offset, " in segment ", record.segment));
  }
  // Compared so that no sum can overflow.
  if (record.payload_bytes == 0 || record.payload_bytes > geometry.segment_bytes ||
      DiskRecordBytes(record.payload_bytes) > end - record.offset) {
    return absl::InvalidArgumentError(
        absl::StrCat("payload of ", record.payload_bytes, " bytes at ", record.offset));
  }
  return CheckRanges(record);
}

RecordHeaderV1 EncodeRecordHeader(const DiskGeometry& geometry, const DiskRecord& record) {
  RecordHeaderV1 header = {};
  std::memcpy(header.magic, kRecordMagic, sizeof kRecordMagic);
  header.version = kDiskFormatVersion;
  header.segment = record.segment;
  header.device_low = geometry.device.low;
  header.device_high = geometry.device.high;
  header.generation = record.generation;
  header.offset = record.offset;
  header.space_low = record.space.low;
  header.space_high = record.space.high;
  header.key_low = record.key.low;
  header.key_high = record.key.high;
  header.parent_low = record.parent.low;
  header.parent_high = record.parent.high;
  header.payload_bytes = record.payload_bytes;
  header.sequence = record.sequence;
  header.expiry_unix_ms = static_cast<uint64_t>(record.expiry_unix_ms);
  header.written_unix_ms = static_cast<uint64_t>(record.written_unix_ms);
  header.depth = record.depth;
  header.token_count = record.token_count;
  header.layer_begin = record.layer_begin;
  header.layer_end = record.layer_end;
  header.head_begin = record.head_begin;
  header.head_end = record.head_end;
  header.flags = record.flags;
  header.payload_crc = record.payload_crc;
  header.crc = HeaderCrc(header);
  return header;
}

absl::StatusOr<DiskRecord> DecodeRecordHeader(const DiskGeometry& geometry,
                                              const RecordHeaderV1& header, uint64_t offset,
                                              uint64_t generation) {
  RETURN_IF_ERROR(CheckPreamble(header, offset));
  if (header.device_low != geometry.device.low || header.device_high != geometry.device.high) {
    return Damaged(offset, "it belongs to another device");
  }
  if (header.offset != offset) {
    return Damaged(offset, absl::StrCat("it was written for offset ", header.offset));
  }
  if (header.generation != generation) {
    return Damaged(
        offset, absl::StrCat("generation ", header.generation, ", its segment has ", generation));
  }
  RETURN_IF_ERROR(CheckTimes(header, offset));
  DiskRecord record;
  record.space = {header.space_low, header.space_high};
  record.key = {header.key_low, header.key_high};
  record.parent = {header.parent_low, header.parent_high};
  record.depth = header.depth;
  record.token_count = header.token_count;
  record.layer_begin = header.layer_begin;
  record.layer_end = header.layer_end;
  record.head_begin = header.head_begin;
  record.head_end = header.head_end;
  record.segment = header.segment;
  record.generation = header.generation;
  record.offset = header.offset;
  record.payload_bytes = header.payload_bytes;
  record.payload_crc = header.payload_crc;
  record.flags = header.flags;
  record.sequence = header.sequence;
  record.expiry_unix_ms = static_cast<int64_t>(header.expiry_unix_ms);
  record.written_unix_ms = static_cast<int64_t>(header.written_unix_ms);
  const absl::Status possible = CheckDiskRecord(geometry, record);
  if (!possible.ok()) return Damaged(offset, possible.message());
  return record;
}

}  // namespace larder
