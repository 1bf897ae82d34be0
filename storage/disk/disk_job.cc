#include "storage/disk/disk_job.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/crc32c.h"
#include "storage/disk/segment_headers.h"

namespace larder {
namespace {

uint64_t PayloadOffset(const DiskRecord& record) { return record.offset + kDiskBlockBytes; }

absl::string_view KindName(DiskCommand::Kind kind) {
  switch (kind) {
    case DiskCommand::Kind::kOpenSegment:
      return "opening a segment";
    case DiskCommand::Kind::kWrite:
      return "writing a record";
    case DiskCommand::Kind::kRead:
      return "reading a record";
    case DiskCommand::Kind::kCopy:
      return "copying a record";
    case DiskCommand::Kind::kForget:
      return "forgetting a record";
  }
  return "a command";
}

}  // namespace

DiskJob::DiskJob(const DiskGeometry& geometry, DiskCommand command, MonotonicTime now,
                 std::span<uint8_t> block, std::span<uint8_t> bounce)
    : geometry_(geometry), command_(command), started_(now), block_(block), bounce_(bounce) {
  result_.token = command_.token;
}

void DiskJob::Begin() {
  switch (command_.kind) {
    case DiskCommand::Kind::kRead:
      transfers_[kPayload] =
          Transfer(IoOperation::Kind::kRead, PayloadOffset(command_.record), command_.memory);
      break;
    case DiskCommand::Kind::kWrite:
      transfers_[kPayload] =
          Transfer(IoOperation::Kind::kWrite, PayloadOffset(command_.record), command_.memory);
      wants_sum_ = true;
      break;
    case DiskCommand::Kind::kCopy:
      StartCopyPiece();
      break;
    case DiskCommand::Kind::kOpenSegment: {
      const SegmentHeaderV1 header = EncodeSegmentHeader(
          geometry_,
          {command_.record.segment, command_.record.generation, command_.lifetime_class});
      std::memset(block_.data(), 0, block_.size());
      std::memcpy(block_.data(), &header, sizeof header);
      transfers_[kHeader] = Transfer(IoOperation::Kind::kWrite,
                                     geometry_.SegmentBegin(command_.record.segment), block_);
      break;
    }
    case DiskCommand::Kind::kForget:
      break;
  }
}

void DiskJob::SumPayload() {
  wants_sum_ = false;
  command_.record.payload_crc = Crc32c(command_.memory.first(command_.record.payload_bytes));
  WriteHeader();
}

void DiskJob::WriteHeader() {
  const RecordHeaderV1 header = EncodeRecordHeader(geometry_, command_.record);
  std::memset(block_.data(), 0, block_.size());
  std::memcpy(block_.data(), &header, sizeof header);
  transfers_[kHeader] = Transfer(IoOperation::Kind::kWrite, command_.record.offset, block_);
  result_.payload_crc = command_.record.payload_crc;
}

void DiskJob::OnTransferOver(Part part) {
  const Transfer& transfer = transfers_[part];
  if (transfer.failed()) {
    const bool full = transfer.error() == ENOSPC || transfer.error() == EDQUOT;
    device_failed_ |= !full;
    const DiskRecord& place =
        command_.kind == DiskCommand::Kind::kCopy && part == kPayload && !copy_writing_
            ? command_.source
            : command_.record;
    Fail(full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kUnavailable,
         ErrnoStatus(transfer.error(), absl::StrCat(KindName(command_.kind), ", segment ",
                                                    place.segment, ", offset ", place.offset))
             .message());
    return;
  }
  if (failed() || part == kHeader) return;
  if (command_.kind == DiskCommand::Kind::kRead) CheckRead();
  if (command_.kind == DiskCommand::Kind::kCopy) OnCopyPieceOver();
}

void DiskJob::CheckRead() {
  const uint32_t crc = Crc32c(command_.memory.first(command_.record.payload_bytes));
  if (crc == command_.record.payload_crc) return;
  Fail(absl::StatusCode::kDataLoss,
       absl::StrCat("wrong checksum of the record at ", command_.record.offset, " in segment ",
                    command_.record.segment));
}

void DiskJob::StartCopyPiece() {
  copy_writing_ = false;
  const uint64_t left = RoundUpToDiskBlocks(command_.source.payload_bytes) - copied_bytes_;
  transfers_[kPayload] =
      Transfer(IoOperation::Kind::kRead, PayloadOffset(command_.source) + copied_bytes_,
               bounce_.first(std::min<uint64_t>(left, bounce_.size())));
}

// Read a piece, sum it, write it; then the next. The header comes last, so that no scan ever finds
// a copy whose bytes were wrong.
void DiskJob::OnCopyPieceOver() {
  const uint64_t left = command_.source.payload_bytes - copied_bytes_;
  const uint64_t piece = std::min<uint64_t>(left, bounce_.size());
  if (!copy_writing_) {
    crc_ = Crc32c(bounce_.first(piece), crc_);
    copy_writing_ = true;
    transfers_[kPayload] =
        Transfer(IoOperation::Kind::kWrite, PayloadOffset(command_.record) + copied_bytes_,
                 bounce_.first(RoundUpToDiskBlocks(piece)));
    return;
  }
  copied_bytes_ += piece;
  if (copied_bytes_ < command_.source.payload_bytes) {
    StartCopyPiece();
  } else if (crc_ != command_.source.payload_crc) {
    Fail(absl::StatusCode::kDataLoss,
         absl::StrCat("wrong checksum of the record at ", command_.source.offset, " in segment ",
                      command_.source.segment));
  } else {
    command_.record.payload_crc = crc_;
    WriteHeader();
  }
}

void DiskJob::Fail(absl::StatusCode code, absl::string_view why) {
  wants_sum_ = false;
  if (failed()) return;
  result_.code = code;
  result_.why = std::string(why);
}

bool DiskJob::Wants(Part part) const {
  const Transfer& transfer = transfers_[part];
  return !failed() && !transfer.done() && !transfer.failed() && !transfer.in_flight();
}

bool DiskJob::in_flight() const {
  return std::any_of(transfers_.begin(), transfers_.end(),
                     [](const Transfer& transfer) { return transfer.in_flight(); });
}

std::optional<MonotonicTime> DiskJob::OldestSubmission() const {
  std::optional<MonotonicTime> oldest;
  for (const Transfer& transfer : transfers_) {
    const std::optional<MonotonicTime> submitted = transfer.submitted();
    if (submitted && (!oldest || *submitted < *oldest)) oldest = submitted;
  }
  return oldest;
}

bool DiskJob::over() const {
  if (in_flight()) return false;
  return failed() || (!wants_sum_ && !Wants(kPayload) && !Wants(kHeader));
}

DiskResult DiskJob::TakeResult(MonotonicTime now) {
  result_.time = now - started_;
  return std::move(result_);
}

}  // namespace larder
