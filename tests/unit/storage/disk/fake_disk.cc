#include "tests/unit/storage/disk/fake_disk.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <list>

namespace larder {
namespace {

constexpr int kDelayWaitsMax = 5;
constexpr auto kDelayPause = std::chrono::microseconds(200);

}  // namespace

class FakeEngine final : public IoEngine {
 public:
  FakeEngine(FakeDisk& disk, uint32_t depth) : disk_(disk), depth_(depth) {}
  ~FakeEngine() override {
    std::unique_lock lock(disk_.mutex_);
    disk_.changed_.wait(lock, [this] { return !disk_.faults_.hang || in_flight_.empty(); });
    while (!in_flight_.empty()) Complete(in_flight_.begin());
  }

  size_t Submit(std::span<const IoOperation> operations) override {
    std::lock_guard lock(disk_.mutex_);
    const size_t taken = std::min(operations.size(), depth_ - in_flight_.size());
    for (const IoOperation& operation : operations.first(taken)) {
      const bool late = disk_.Chance(disk_.faults_.delay);
      in_flight_.push_back({operation, late ? kDelayWaitsMax : 0});
    }
    return taken;
  }

  absl::Status Wait(absl::Duration timeout, std::vector<IoCompletion>* completions) override {
    std::unique_lock lock(disk_.mutex_);
    const auto something = [this] {
      return woken_ || (!disk_.faults_.hang && !in_flight_.empty());
    };
    disk_.changed_.wait_for(lock, absl::ToChronoNanoseconds(timeout), something);
    woken_ = false;
    if (disk_.faults_.hang || in_flight_.empty()) return absl::OkStatus();
    // In any order, and not all at once.
    size_t wanted = 1 + disk_.random_.Below(in_flight_.size());
    std::vector<std::list<Held>::iterator> due;
    for (auto held = in_flight_.begin(); held != in_flight_.end(); ++held) {
      if (held->waits-- <= 0) due.push_back(held);
    }
    for (; wanted > 0 && !due.empty(); --wanted) {
      const size_t chosen = disk_.random_.Below(due.size());
      completions->push_back(Complete(due[chosen]));
      due.erase(due.begin() + static_cast<ptrdiff_t>(chosen));
    }
    if (completions->empty()) disk_.changed_.wait_for(lock, kDelayPause);
    return absl::OkStatus();
  }

  void Wake() override {
    {
      std::lock_guard lock(disk_.mutex_);
      woken_ = true;
    }
    disk_.changed_.notify_all();
  }

  size_t in_flight() const override {
    std::lock_guard lock(disk_.mutex_);
    return in_flight_.size();
  }
  size_t depth() const override { return depth_; }
  absl::string_view name() const override { return "memory"; }

 private:
  struct Held {
    IoOperation operation;
    int waits = 0;
  };

  IoCompletion Complete(std::list<Held>::iterator held) {
    const IoCompletion completion = disk_.Perform(held->operation);
    in_flight_.erase(held);
    return completion;
  }

  FakeDisk& disk_;
  const size_t depth_;
  std::list<Held> in_flight_;  // guarded, as woken_, by the disk's mutex
  bool woken_ = false;
};

class FakeSpace final : public SegmentSpace {
 public:
  explicit FakeSpace(FakeDisk& disk) : disk_(disk) {}

  uint64_t size_bytes() const override {
    std::lock_guard lock(disk_.mutex_);
    return disk_.image_.size();
  }
  absl::Status Extend(uint64_t bytes, uint64_t) override {
    std::lock_guard lock(disk_.mutex_);
    if (bytes <= disk_.image_.size()) return absl::OkStatus();
    if (bytes > disk_.bytes_max_ || disk_.faults_.full) {
      return absl::ResourceExhaustedError("the disk in memory is full");
    }
    disk_.image_.resize(bytes);
    disk_.durable_.resize(bytes);
    return absl::OkStatus();
  }

 private:
  FakeDisk& disk_;
};

std::unique_ptr<IoEngine> FakeDisk::MakeEngine(uint32_t depth) {
  return std::make_unique<FakeEngine>(*this, depth);
}

std::unique_ptr<SegmentSpace> FakeDisk::MakeSpace() { return std::make_unique<FakeSpace>(*this); }

void FakeDisk::SetFaults(const FakeDiskFaults& faults) {
  {
    std::lock_guard lock(mutex_);
    faults_ = faults;
  }
  changed_.notify_all();
}

IoCompletion FakeDisk::Perform(const IoOperation& operation) {
  if (operation.kind == IoOperation::Kind::kSync) {
    if (powerless_ || faults_.fail_sync) return {operation.token, EIO, 0};
    ++syncs_;
    for (const Write& write : unsynced_) Apply(&durable_, write, /*torn=*/false);
    unsynced_.clear();
    return {operation.token, 0, 0};
  }
  const bool write = operation.kind == IoOperation::Kind::kWrite;
  if (powerless_) {
    // It may have been on its way when the power went.
    if (write && random_.Below(2) == 0)
      ApplyByChance({operation.offset, {operation.memory.begin(), operation.memory.end()}});
    return {operation.token, EIO, 0};
  }
  if (Chance(faults_.fail)) return {operation.token, EIO, 0};
  uint64_t bytes = operation.memory.size();
  if (Chance(faults_.fall_short)) bytes = random_.Below(bytes / 4096 + 1) * 4096;
  const uint64_t there = operation.offset < image_.size() ? image_.size() - operation.offset : 0;
  bytes = std::min(bytes, there);
  if (write) {
    PerformWrite(operation, bytes);
    return {operation.token, 0, bytes};
  }
  std::memcpy(operation.memory.data(), image_.data() + operation.offset, bytes);
  if (bytes > 0 && Chance(faults_.flip)) {
    operation.memory[random_.Below(bytes)] ^= static_cast<uint8_t>(1 << random_.Below(8));
  }
  return {operation.token, 0, bytes};
}

void FakeDisk::PerformWrite(const IoOperation& operation, uint64_t bytes) {
  if (bytes == 0 || Chance(faults_.lose)) return;
  Write write = {operation.offset, {operation.memory.begin(), operation.memory.begin() + bytes}};
  if (Chance(faults_.misdirect)) {
    write.offset = random_.Below((image_.size() - bytes) / 4096 + 1) * 4096;
  }
  if (Chance(faults_.flip)) {
    write.bytes[random_.Below(bytes)] ^= static_cast<uint8_t>(1 << random_.Below(8));
  }
  Apply(&image_, write, /*torn=*/false);
  unsynced_.push_back(std::move(write));
}

void FakeDisk::Apply(std::vector<uint8_t>* image, const Write& write, bool torn) {
  for (uint64_t at = 0; at < write.bytes.size(); at += kSectorBytes) {
    if (torn && random_.Below(2) == 0) continue;
    const uint64_t bytes = std::min<uint64_t>(kSectorBytes, write.bytes.size() - at);
    if (write.offset + at + bytes > image->size()) return;
    std::memcpy(image->data() + write.offset + at, write.bytes.data() + at, bytes);
  }
}

void FakeDisk::ApplyByChance(const Write& write) {
  const uint64_t fate = random_.Below(3);
  if (fate == 0) return;
  Apply(&durable_, write, /*torn=*/fate == 1);
  image_ = durable_;
}

void FakeDisk::CutPower() {
  {
    std::lock_guard lock(mutex_);
    powerless_ = true;
    for (const Write& write : unsynced_) {
      const uint64_t fate = random_.Below(3);
      if (fate != 0) Apply(&durable_, write, /*torn=*/fate == 1);
    }
    unsynced_.clear();
    image_ = durable_;
  }
  changed_.notify_all();
}

void FakeDisk::RestorePower() {
  std::lock_guard lock(mutex_);
  powerless_ = false;
}

void FakeDisk::FlipBit(uint64_t offset, uint8_t bit) {
  std::lock_guard lock(mutex_);
  image_[offset] ^= static_cast<uint8_t>(1 << bit);
  durable_[offset] ^= static_cast<uint8_t>(1 << bit);
}

uint64_t FakeDisk::syncs() const {
  std::lock_guard lock(mutex_);
  return syncs_;
}

}  // namespace larder
