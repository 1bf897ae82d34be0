#include "tests/sim/sim_disk.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/crc32c.h"

namespace larder {
namespace {

constexpr absl::Duration kLatency = absl::Microseconds(200);
constexpr double kNsPerByte = 2;

}  // namespace

std::vector<DiskRecord> SimDisk::Records() const {
  std::vector<DiskRecord> records;
  for (const auto& [offset, stored] : stored_) {
    const bool current = generations_[stored.record.segment] == stored.record.generation;
    if (stored.wanted && current) records.push_back(stored.record);
  }
  return records;
}

void SimDisk::Wipe() {
  stored_.clear();
  std::fill(generations_.begin(), generations_.end(), 0);
}

void SimDisk::Submit(const DiskOrder& order, std::span<uint8_t> arena, SimHost* host,
                     std::function<void(DiskResult)> report) {
  if (order.command.kind == DiskCommand::Kind::kForget) {
    if (Stored* stored = FindStored(order.command.record)) stored->wanted = false;
    return;
  }
  const double bytes = static_cast<double>(order.command.record.payload_bytes);
  free_at_ = std::max(free_at_, queue_->now()) + absl::Nanoseconds(kNsPerByte * bytes);
  const absl::Duration wait = free_at_ - queue_->now() + kLatency * (1 + 3 * random_.Unit());
  // Not on the host's own time: a stopped process's I/O goes on, but a dead one's memory is gone.
  queue_->After(wait * faults.slowness, [=, this, life = host->life()] {
    if (!host->alive() || host->life() != life) return;
    const DiskResult result = Run(order, arena);
    queue_->Note("disk", {static_cast<uint64_t>(order.command.kind), order.command.token,
                          static_cast<uint64_t>(result.code)});
    host->Post(life, [report, result] { report(result); });
  });
}

SimDisk::Stored* SimDisk::FindStored(const DiskRecord& record) {
  const auto found = stored_.find(record.offset);
  if (found == stored_.end()) return nullptr;
  const DiskRecord& there = found->second.record;
  const bool same = there.key == record.key && there.space == record.space &&
                    there.generation == record.generation && there.sequence == record.sequence;
  return same && generations_[record.segment] == record.generation ? &found->second : nullptr;
}

DiskResult SimDisk::Run(const DiskOrder& order, std::span<uint8_t> arena) {
  const DiskCommand& command = order.command;
  DiskResult result;
  result.token = command.token;
  if (random_.Unit() < faults.fails) {
    result.code = absl::StatusCode::kUnavailable;
    return result;
  }
  const std::span<uint8_t> memory =
      arena.subspan(order.arena_offset, command.kind == DiskCommand::Kind::kWrite ||
                                                command.kind == DiskCommand::Kind::kRead
                                            ? command.record.payload_bytes
                                            : 0);
  switch (command.kind) {
    case DiskCommand::Kind::kOpenSegment:
      generations_[command.record.segment] = command.record.generation;
      highest_generation_ = std::max(highest_generation_, command.record.generation);
      break;
    case DiskCommand::Kind::kWrite:
      Store(command.record, {memory.begin(), memory.end()}, &result);
      break;
    case DiskCommand::Kind::kRead:
    case DiskCommand::Kind::kCopy: {
      const bool reads = command.kind == DiskCommand::Kind::kRead;
      const Stored* stored = FindStored(reads ? command.record : command.source);
      if (stored == nullptr) ++misplaced_;
      if (stored == nullptr || Crc32c(stored->bytes) != stored->record.payload_crc) {
        result.code = absl::StatusCode::kDataLoss;
      } else if (reads) {
        std::memcpy(memory.data(), stored->bytes.data(), memory.size());
      } else {
        Store(command.record, std::vector<uint8_t>(stored->bytes), &result);
      }
      break;
    }
    case DiskCommand::Kind::kForget:
      break;
  }
  return result;
}

void SimDisk::Store(DiskRecord record, std::vector<uint8_t> bytes, DiskResult* result) {
  record.payload_crc = Crc32c(bytes);
  result->payload_crc = record.payload_crc;
  if (random_.Unit() < faults.damages) bytes[random_.Below(bytes.size())] ^= 1;
  stored_[record.offset] = {.record = record, .bytes = std::move(bytes)};
}

}  // namespace larder
