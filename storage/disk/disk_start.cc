#include "storage/disk/disk_start.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "storage/disk/segment_headers.h"
#include "storage/disk/transfer.h"

namespace larder {
namespace {

constexpr absl::Duration kFlushTimeout = absl::Seconds(30);

// Reads segment headers, a window of them at a time.
class HeaderReader {
 public:
  HeaderReader(IoEngine& engine, const DiskGeometry& geometry, std::span<uint8_t> memory,
               absl::Duration timeout)
      : engine_(engine), geometry_(geometry), memory_(memory), timeout_(timeout) {}

  size_t window() const {
    return std::min<size_t>(memory_.size() / kDiskBlockBytes, engine_.depth());
  }

  absl::Status Read(uint32_t first, uint32_t count, std::vector<uint64_t>* generations) {
    transfers_.clear();
    for (uint32_t i = 0; i < count; ++i) {
      transfers_.emplace_back(IoOperation::Kind::kRead, geometry_.SegmentBegin(first + i),
                              Block(i));
    }
    RETURN_IF_ERROR(Finish());
    for (uint32_t i = 0; i < count; ++i) {
      if (transfers_[i].failed()) continue;
      SegmentHeaderV1 bytes;
      std::memcpy(&bytes, Block(i).data(), sizeof bytes);
      const absl::StatusOr<SegmentHeader> header = DecodeSegmentHeader(geometry_, bytes, first + i);
      if (header.ok()) (*generations)[first + i] = header->generation;
    }
    return absl::OkStatus();
  }

 private:
  std::span<uint8_t> Block(uint32_t i) const {
    return memory_.subspan(i * kDiskBlockBytes, kDiskBlockBytes);
  }

  absl::Status Finish() {
    const MonotonicTime deadline = SystemClock::Get().Now() + timeout_;
    std::vector<IoCompletion> completions;
    while (true) {
      bool over = true;
      for (size_t i = 0; i < transfers_.size(); ++i) {
        Transfer& transfer = transfers_[i];
        if (transfer.done() || transfer.failed()) continue;
        over = false;
        if (transfer.in_flight()) continue;
        const IoOperation operation = transfer.Next(i);
        if (engine_.Submit({&operation, 1}) == 0) transfer.Withdraw();
      }
      if (over) return absl::OkStatus();
      const absl::Duration left = deadline - SystemClock::Get().Now();
      if (left <= absl::ZeroDuration()) {
        return absl::UnavailableError(
            absl::StrCat("no answer within ", absl::FormatDuration(timeout_)));
      }
      completions.clear();
      RETURN_IF_ERROR(engine_.Wait(left, &completions));
      for (const IoCompletion& completion : completions) {
        transfers_[completion.token].OnCompletion(completion);
      }
    }
  }

  IoEngine& engine_;
  const DiskGeometry& geometry_;
  const std::span<uint8_t> memory_;
  const absl::Duration timeout_;
  std::vector<Transfer> transfers_;
};

absl::Status RemoveAll(const std::vector<DiskRecord>& records, DiskMetadata& metadata) {
  for (const DiskRecord& record : records) {
    const DiskMetadataChange change = {DiskMetadataChange::Kind::kRemove, record};
    absl::Status queued = metadata.Queue(change);
    if (absl::IsResourceExhausted(queued)) {
      RETURN_IF_ERROR(metadata.Flush(false, kFlushTimeout));
      queued = metadata.Queue(change);
    }
    RETURN_IF_ERROR(queued);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<uint64_t>> ReadGenerations(IoEngine& engine,
                                                      const DiskGeometry& geometry,
                                                      uint64_t size_bytes,
                                                      std::span<uint8_t> memory,
                                                      absl::Duration timeout) {
  std::vector<uint64_t> generations(geometry.segments, 0);
  const uint64_t there =
      size_bytes < kSegmentsBegin ? 0 : (size_bytes - kSegmentsBegin) / geometry.segment_bytes;
  const uint32_t count = static_cast<uint32_t>(std::min<uint64_t>(there, geometry.segments));
  HeaderReader reader(engine, geometry, memory, timeout);
  const uint32_t window = static_cast<uint32_t>(reader.window());
  for (uint32_t first = 0; first < count; first += window) {
    RETURN_IF_ERROR(reader.Read(first, std::min(window, count - first), &generations));
  }
  return generations;
}

absl::StatusOr<DiskContents> SortOutRecords(const DiskGeometry& geometry,
                                            std::vector<uint64_t> generations,
                                            DiskMetadata& metadata) {
  DiskContents contents;
  contents.generations = std::move(generations);
  uint64_t highest = 0;
  for (const uint64_t generation : contents.generations) highest = std::max(highest, generation);
  std::vector<DiskRecord> dropped;
  uint64_t damaged = 0;
  RETURN_IF_ERROR(metadata.ForEach(
      [&](const DiskRecord& record) {
        // Also of those that are dropped: a header that did not survive must not come back.
        highest = std::max(highest, record.generation);
        const bool there = CheckDiskRecord(geometry, record).ok() &&
                           record.generation == contents.generations[record.segment];
        (there ? contents.records : dropped).push_back(record);
      },
      &damaged));
  contents.dropped_records = damaged + dropped.size();
  contents.highest_generation = highest;
  RETURN_IF_ERROR(RemoveAll(dropped, metadata));
  return contents;
}

}  // namespace larder
