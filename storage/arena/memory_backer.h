// Gives a shared file its memory in the background, so that a daemon starts at once.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <thread>

#include "common/status.h"

namespace larder {

// Works through a mapped file in pieces, from its start, twice. First it reserves the space
// (fallocate): a store into a hole of a full memory file system is a SIGBUS, so nobody may write
// above backed_bytes. Then, when asked, it makes the kernel zero and map those pages, so that no
// put pays for that; content is never changed. Reserving runs at about 10 GB/s, mapping at 0.5
// to 5.
//
// Thread-safe. Does not own the file descriptor or the memory: both outlive it. The destructor
// stops the thread within one piece and joins it.
class MemoryBacker {
 public:
  struct Options {
    uint64_t backed_bytes = 0;  // already reserved; the thread begins here
    uint64_t page_bytes = 0;    // of the file system: pieces are multiples of it
    bool prefault = true;       // map the pages too
    // Called from the thread with the new mark after each reserved piece.
    std::function<void(uint64_t backed_bytes)> on_backed;
  };

  MemoryBacker(int file, std::span<uint8_t> memory, Options options);
  ~MemoryBacker();
  MemoryBacker(const MemoryBacker&) = delete;
  MemoryBacker& operator=(const MemoryBacker&) = delete;

  // Bytes from the start that are safe to write.
  uint64_t backed_bytes() const { return backed_bytes_.load(std::memory_order_acquire); }
  // Bytes from the start that are mapped too.
  uint64_t prefaulted_bytes() const { return prefaulted_bytes_.load(std::memory_order_relaxed); }
  // No more will come: all is done, or it failed, or it was stopped.
  bool finished() const { return finished_.load(std::memory_order_acquire); }
  // Why the thread gave up early, for example RESOURCE_EXHAUSTED; OK otherwise.
  absl::Status status() const;

 private:
  void Run();
  void BackAll();
  void PrefaultAll();
  void Fail(absl::Status status);

  const int file_;
  const std::span<uint8_t> memory_;
  const Options options_;
  const uint64_t piece_bytes_;
  std::atomic<uint64_t> backed_bytes_;
  std::atomic<uint64_t> prefaulted_bytes_ = 0;
  std::atomic<bool> stop_ = false;
  std::atomic<bool> finished_ = false;
  mutable std::mutex mutex_;
  absl::Status status_;  // guarded by mutex_
  std::thread thread_;
};

// Reserves [offset, offset + bytes) of the file; content that is there stays. RESOURCE_EXHAUSTED
// when the file system is full.
absl::Status ReserveFileSpace(int file, uint64_t offset, uint64_t bytes);

}  // namespace larder
