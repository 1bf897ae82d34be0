#include "tests/powercut/writer.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/clock.h"
#include "common/file_descriptor.h"
#include "common/random.h"
#include "tests/powercut/device.h"

namespace larder {
namespace {

constexpr uint64_t kKeys = 4000;
constexpr uint64_t kBatchRecordsMax = 8;
constexpr uint64_t kBatchesPerForget = 4;
constexpr absl::Duration kPauseBetweenBatches = absl::Milliseconds(10);
// 15 sync intervals: what the sync of data, then metadata, never takes, also on a busy machine.
constexpr absl::Duration kDurableAfter = absl::Seconds(3);
constexpr absl::Duration kNever = absl::Hours(1);

class Writer {
 public:
  Writer(PowercutDevice& device, uint64_t seed, int output, MemoryMapping memory)
      : device_(device), seed_(seed), output_(output), memory_(std::move(memory)), random_(seed) {}

  absl::Status Run() {
    RETURN_IF_ERROR(Say(absl::StrCat("seed ", seed_, "\n")));
    const DiskContents contents = device_.device().TakeContents();
    next_generation_ = contents.highest_generation + 1;
    RETURN_IF_ERROR(OpenSegment());
    for (uint64_t batch = 0;; ++batch) {
      RETURN_IF_ERROR(WriteBatch());
      if (batch % kBatchesPerForget == 0) RETURN_IF_ERROR(ForgetOne());
      RETURN_IF_ERROR(ReportDurable());
      absl::SleepFor(kPauseBetweenBatches);
    }
  }

  static uint64_t MemoryBytes() { return kBatchRecordsMax * kPowercutPayloadBytesMax; }

 private:
  struct Written {
    DiskRecord record;
    MonotonicTime time;
  };

  // In one piece: what the other side has read is whole lines, or nothing of them.
  absl::Status Say(absl::string_view lines) {
    while (!lines.empty()) {
      const ssize_t bytes = write(output_, lines.data(), lines.size());
      if (bytes < 0 && errno == EINTR) continue;
      if (bytes < 0) return ErrnoStatus(errno, "writing the journal");
      lines.remove_prefix(static_cast<size_t>(bytes));
    }
    return absl::OkStatus();
  }

  absl::Status OpenSegment() {
    const uint32_t segments = device_.device().geometry().segments;
    DiskCommand command;
    command.kind = DiskCommand::Kind::kOpenSegment;
    command.record.segment = segment_ = static_cast<uint32_t>(next_generation_ % segments);
    command.record.generation = generation_ = next_generation_++;
    RETURN_IF_ERROR(Say(absl::StrCat("open ", segment_, "\n")));
    std::erase_if(known_, [&](const DiskRecord& record) { return record.segment == segment_; });
    ASSIGN_OR_RETURN(const std::vector<DiskResult> results, device_.Run({command}));
    offset_ = device_.device().geometry().SegmentBegin(segment_) + kDiskBlockBytes;
    return absl::Status(results[0].code, results[0].why);
  }

  DiskRecord NextRecord(uint64_t key) {
    DiskRecord record;
    record.space = {1, 2};
    record.key = {key, 3};
    record.layer_end = record.head_end = 1;
    record.segment = segment_;
    record.generation = generation_;
    record.offset = offset_;
    record.sequence = next_version_++;
    record.payload_bytes = PowercutPayloadBytes(seed_, key, record.sequence);
    offset_ += DiskRecordBytes(record.payload_bytes);
    return record;
  }

  absl::Status WriteBatch() {
    const DiskGeometry& geometry = device_.device().geometry();
    const uint64_t room = kBatchRecordsMax * DiskRecordBytes(kPowercutPayloadBytesMax);
    if (geometry.SegmentBegin(segment_ + 1) - offset_ < room) RETURN_IF_ERROR(OpenSegment());
    std::vector<DiskCommand> commands;
    std::string intents;
    const uint64_t first_key = random_.Below(kKeys);
    const uint64_t count = 1 + random_.Below(kBatchRecordsMax);
    for (uint64_t i = 0; i < count; ++i) {
      DiskCommand command;
      command.kind = DiskCommand::Kind::kWrite;
      command.record = NextRecord((first_key + i) % kKeys);
      command.memory = memory_.bytes().subspan(i * kPowercutPayloadBytesMax,
                                               RoundUpToDiskBlocks(command.record.payload_bytes));
      FillPowercutPayload(seed_, command.record.key.low, command.record.sequence,
                          command.memory.first(command.record.payload_bytes));
      absl::StrAppend(&intents, "write ", command.record.key.low, " ", command.record.sequence, " ",
                      segment_, "\n");
      commands.push_back(command);
    }
    RETURN_IF_ERROR(Say(intents));
    ASSIGN_OR_RETURN(const std::vector<DiskResult> results, device_.Run(commands));
    const MonotonicTime now = SystemClock::Get().Now();
    for (size_t i = 0; i < results.size(); ++i) {
      RETURN_IF_ERROR(absl::Status(results[i].code, results[i].why));
      commands[i].record.payload_crc = results[i].payload_crc;
      known_.push_back(commands[i].record);
      not_yet_durable_.push_back({commands[i].record, now});
    }
    return absl::OkStatus();
  }

  absl::Status ForgetOne() {
    if (known_.empty()) return absl::OkStatus();
    DiskCommand command;
    command.kind = DiskCommand::Kind::kForget;
    command.record = known_[random_.Below(known_.size())];
    RETURN_IF_ERROR(Say(absl::StrCat("forget ", command.record.key.low, "\n")));
    std::erase(known_, command.record);
    return device_.device().Submit(command);
  }

  absl::Status ReportDurable() {
    std::string lines;
    const MonotonicTime now = SystemClock::Get().Now();
    while (!not_yet_durable_.empty() && now - not_yet_durable_.front().time >= kDurableAfter) {
      const DiskRecord& record = not_yet_durable_.front().record;
      absl::StrAppend(&lines, "durable ", record.key.low, " ", record.sequence, "\n");
      not_yet_durable_.pop_front();
    }
    return Say(lines);
  }

  PowercutDevice& device_;
  const uint64_t seed_;
  const int output_;
  const MemoryMapping memory_;
  SeededRandom random_;
  uint64_t next_generation_ = 1, generation_ = 0, next_version_ = 1, offset_ = 0;
  uint32_t segment_ = 0;
  std::vector<DiskRecord> known_;        // at most what the segments hold
  std::deque<Written> not_yet_durable_;  // at most what is written in kDurableAfter
};

}  // namespace

absl::Status WriteUntilKilled(const std::string& directory, uint64_t seed, bool sync, int output) {
  ASSIGN_OR_RETURN(MemoryMapping memory, MemoryMapping::MapAnonymous(Writer::MemoryBytes()));
  ASSIGN_OR_RETURN(const std::unique_ptr<PowercutDevice> device,
                   PowercutDevice::Open(directory, sync ? kPowercutSyncInterval : kNever));
  return Writer(*device, seed, output, std::move(memory)).Run();
}

}  // namespace larder
