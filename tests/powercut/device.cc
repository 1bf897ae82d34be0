#include "tests/powercut/device.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/random.h"

namespace larder {
namespace {

constexpr uint64_t kSegmentBytes = uint64_t{1} << 20;
// 32 segments, which are opened anew after five seconds or more, and the least that the metadata
// gets.
constexpr uint64_t kCapacityBytes = uint64_t{97} << 20;
constexpr absl::Duration kResultTimeout = absl::Seconds(60);

SeededRandom RandomOf(uint64_t seed, uint64_t key, uint64_t version) {
  SeededRandom first(seed + version);
  return SeededRandom(first.Next() ^ key);
}

}  // namespace

uint64_t PowercutPayloadBytes(uint64_t seed, uint64_t key, uint64_t version) {
  return 1 + RandomOf(seed, key, version).Below(kPowercutPayloadBytesMax);
}

void FillPowercutPayload(uint64_t seed, uint64_t key, uint64_t version,
                         std::span<uint8_t> payload) {
  SeededRandom random = RandomOf(seed, key, version);
  while (!payload.empty()) {
    const uint64_t word = random.Next();
    const size_t bytes = std::min(payload.size(), sizeof word);
    std::memcpy(payload.data(), &word, bytes);
    payload = payload.subspan(bytes);
  }
}

absl::StatusOr<std::unique_ptr<PowercutDevice>> PowercutDevice::Open(const std::string& directory,
                                                                     absl::Duration sync_interval) {
  std::unique_ptr<PowercutDevice> opened(new PowercutDevice());
  DiskDeviceOptions options;
  options.path = directory;
  options.capacity_bytes = kCapacityBytes;
  options.segment_bytes = kSegmentBytes;
  options.owner = "powercut";
  options.io_timeout = kResultTimeout;
  options.sync_interval = sync_interval;
  ASSIGN_OR_RETURN(
      opened->device_,
      DiskDevice::Open(options, [raw = opened.get()](std::vector<DiskResult> results, bool) {
        std::lock_guard lock(raw->mutex_);
        for (DiskResult& result : results) raw->results_[result.token] = std::move(result);
        raw->changed_.notify_one();
      }));
  return opened;
}

absl::StatusOr<std::vector<DiskResult>> PowercutDevice::Run(std::vector<DiskCommand> commands) {
  const uint64_t first_token = next_token_;
  for (DiskCommand& command : commands) {
    command.token = next_token_++;
    RETURN_IF_ERROR(device_->Submit(command));
  }
  std::vector<DiskResult> results;
  std::unique_lock lock(mutex_);
  for (uint64_t token = first_token; token < next_token_; ++token) {
    const bool there = changed_.wait_for(lock, absl::ToChronoNanoseconds(kResultTimeout),
                                         [&] { return results_.contains(token); });
    if (!there) return absl::DeadlineExceededError("a command has no result");
    results.push_back(std::move(results_.extract(token).mapped()));
  }
  return results;
}

}  // namespace larder
