// Power losses: of everything that was not synced, any part may be gone.
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/random.h"
#include "gtest/gtest.h"
#include "storage/disk/disk_metadata.h"
#include "tests/unit/storage/arena_testing.h"
#include "tests/unit/storage/disk_testing.h"

namespace larder {
namespace {

constexpr DiskDeviceId kDevice{.low = 1, .high = 2};
constexpr absl::Duration kLong = absl::Seconds(60);
constexpr uint64_t kSectorBytes = 512;

// How much of each file was synced. The functions at the end of this file, which RocksDB calls
// instead of the C library's, keep it; while it is locked, no file is synced, renamed or removed.
class SyncedFiles {
 public:
  static SyncedFiles& Get() {
    static SyncedFiles* const files = new SyncedFiles();
    return *files;
  }

  std::unique_lock<std::recursive_mutex> Lock() { return std::unique_lock(mutex_); }

  // REQUIRES: locked, here and below.
  int Sync(int fd, long system_call) {
    std::error_code error;
    const std::string path =
        std::filesystem::read_symlink(absl::StrCat("/proc/self/fd/", fd), error);
    const bool is_file = !error && std::filesystem::is_regular_file(path, error);
    // Before the call: what is written meanwhile may or may not be synced.
    const uint64_t bytes = is_file ? std::filesystem::file_size(path, error) : 0;
    const long result = syscall(system_call, fd);
    if (result == 0 && is_file) SetBytes(path, bytes);
    return static_cast<int>(result);
  }
  void SetBytes(const std::string& path, uint64_t bytes) { bytes_[path] = bytes; }
  void OnRename(const std::string& from, const std::string& to) {
    auto node = bytes_.extract(from);
    bytes_.erase(to);
    if (node.empty()) return;
    node.key() = to;
    bytes_.insert(std::move(node));
  }
  void OnUnlink(const std::string& path) { bytes_.erase(path); }
  uint64_t BytesOf(const std::string& path) const {
    const auto found = bytes_.find(path);
    return found == bytes_.end() ? 0 : found->second;
  }

 private:
  std::recursive_mutex mutex_;  // whoever holds it may remove files by these functions, too
  std::map<std::string, uint64_t> bytes_;
};

// Copies `directory` as a power loss at this moment might leave it: each file ends anywhere behind
// what was synced of it, and of its last sectors some may be zeros.
void CutPower(const std::string& directory, const std::string& copy, Random& random) {
  const auto lock = SyncedFiles::Get().Lock();
  std::filesystem::remove_all(copy);
  std::filesystem::create_directory(copy);
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    const std::string path = entry.path();
    const std::string target = absl::StrCat(copy, "/", entry.path().filename().string());
    std::filesystem::copy(path, target);
    const uint64_t bytes = std::filesystem::file_size(target);
    const uint64_t synced = std::min(bytes, SyncedFiles::Get().BytesOf(path));
    if (synced == 0 && random.Below(2) == 0) {
      std::filesystem::remove(target);
      continue;
    }
    const uint64_t kept = synced + random.Below(bytes - synced + 1);
    std::filesystem::resize_file(target, kept);
    const uint64_t sector = kept / kSectorBytes * kSectorBytes;
    if (sector >= synced && random.Below(2) == 0) {
      std::filesystem::resize_file(target, sector);
      std::filesystem::resize_file(target, kept);
    }
    SyncedFiles::Get().SetBytes(target, kept);
  }
}

// What an index was told since the last sync, to find the moment that a power loss took it back to.
class History {
 public:
  // As the index does it.
  static void Apply(const DiskMetadataChange& change, DiskRecordsByPart* records) {
    const DiskRecord& record = change.record;
    if (change.kind == DiskMetadataChange::Kind::kPut) {
      records->insert_or_assign(PartOf(record), record);
      return;
    }
    const auto known = records->find(PartOf(record));
    if (known != records->end() && known->second.offset == record.offset &&
        known->second.generation == record.generation && known->second.segment == record.segment) {
      records->erase(known);
    }
  }

  void Add(const DiskMetadataChange& change) { since_.push_back(change); }
  void Sync() {
    for (const DiskMetadataChange& change : since_) Apply(change, &synced_);
    since_.clear();
  }
  void StartFrom(DiskRecordsByPart records) {
    synced_ = std::move(records);
    since_.clear();
  }

  const DiskRecordsByPart& synced() const { return synced_; }

  // True when `records` is what the index knew at the sync or after one of the changes since.
  bool Passed(const DiskRecordsByPart& records) const {
    DiskRecordsByPart state = synced_;
    // Parts of which `state` and `records` say different things.
    size_t different = 0;
    const auto differs = [&](const DiskPart& part) {
      const auto one = state.find(part);
      const auto other = records.find(part);
      if (one == state.end() || other == records.end()) {
        return (one == state.end()) != (other == records.end());
      }
      return !(one->second == other->second);
    };
    for (const auto& [part, record] : state) different += differs(part);
    for (const auto& [part, record] : records) different += state.count(part) == 0;
    for (const DiskMetadataChange& change : since_) {
      if (different == 0) return true;
      different -= differs(PartOf(change.record));
      Apply(change, &state);
      different += differs(PartOf(change.record));
    }
    return different == 0;
  }

 private:
  DiskRecordsByPart synced_;
  std::vector<DiskMetadataChange> since_;
};

DiskMetadataChange RandomChange(Random& random, const DiskRecordsByPart& known) {
  DiskMetadataChange change{.record = RandomDiskRecord(random, 5000)};
  if (random.Below(4) == 0) {
    change.kind = DiskMetadataChange::Kind::kRemove;
    const auto found = known.find(PartOf(change.record));
    if (found != known.end()) change.record = found->second;
  }
  return change;
}

void Queue(DiskMetadata& metadata, const DiskMetadataChange& change) {
  absl::Status status = metadata.Queue(change);
  if (absl::IsResourceExhausted(status)) {
    ASSERT_EQ(metadata.Flush(false, kLong), absl::OkStatus());
    status = metadata.Queue(change);
  }
  ASSERT_EQ(status, absl::OkStatus());
}

TEST(DiskMetadataPowerTest, GoesBackToAMomentSinceTheLastSync) {
  const ScratchDirectory scratch;
  std::string directory = scratch.path() + "/0";
  History history;
  for (uint64_t seed = 1; seed <= 16; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const std::string copy = absl::StrCat(scratch.path(), "/", seed);
    {
      auto metadata = DiskMetadata::Open(directory, {.device = kDevice});
      ASSERT_EQ(metadata.status(), absl::OkStatus());
      const DiskRecordsByPart found = AllRecords(**metadata);
      ASSERT_TRUE(history.Passed(found)) << found.size();
      history.StartFrom(found);
      const uint64_t changes = random.Below(60000);
      for (uint64_t i = 0; i < changes; ++i) {
        const DiskMetadataChange change = RandomChange(random, history.synced());
        ASSERT_NO_FATAL_FAILURE(Queue(**metadata, change));
        history.Add(change);
        if (random.Below(10000) == 0) {
          ASSERT_EQ((*metadata)->Flush(/*sync=*/true, kLong), absl::OkStatus());
          history.Sync();
        }
      }
      if (random.Below(2) == 0) {
        ASSERT_EQ((*metadata)->Flush(/*sync=*/false, kLong), absl::OkStatus());
      }
      CutPower(directory, copy, random);
    }
    std::filesystem::remove_all(directory);
    directory = copy;
  }
}

// It is the sync that saves: what came before it is there, what came after it is at stake.
TEST(DiskMetadataPowerTest, WhatWasNotSyncedMayBeLost) {
  const ScratchDirectory scratch;
  size_t lost = 0;
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    SeededRandom random(seed);
    const std::string directory = absl::StrCat(scratch.path(), "/", seed);
    auto metadata = DiskMetadata::Open(directory, {.device = kDevice});
    ASSERT_EQ(metadata.status(), absl::OkStatus());
    for (uint64_t i = 0; i < 100; ++i) {
      DiskMetadataChange change{.record = RandomDiskRecord(random, 10)};
      change.record.key = {i, 0};
      ASSERT_EQ((*metadata)->Queue(change), absl::OkStatus());
      // Each in a write of its own.
      ASSERT_EQ((*metadata)->Flush(/*sync=*/i == 49, kLong), absl::OkStatus());
    }
    CutPower(directory, directory + "-cut", random);
    auto after = DiskMetadata::Open(directory + "-cut", {.device = kDevice});
    ASSERT_EQ(after.status(), absl::OkStatus());
    const size_t found = AllRecords(**after).size();
    EXPECT_GE(found, 50u);
    lost += 100 - found;
  }
  EXPECT_GT(lost, 0u);
}

}  // namespace
}  // namespace larder

// In place of the C library's, for RocksDB too: a program's own functions come first.
extern "C" {

int fsync(int fd) {
  const auto lock = larder::SyncedFiles::Get().Lock();
  return larder::SyncedFiles::Get().Sync(fd, SYS_fsync);
}

int fdatasync(int fd) {
  const auto lock = larder::SyncedFiles::Get().Lock();
  return larder::SyncedFiles::Get().Sync(fd, SYS_fdatasync);
}

int rename(const char* from, const char* to) noexcept {
  const auto lock = larder::SyncedFiles::Get().Lock();
  const long result = syscall(SYS_rename, from, to);
  if (result == 0) larder::SyncedFiles::Get().OnRename(from, to);
  return static_cast<int>(result);
}

int unlink(const char* path) noexcept {
  const auto lock = larder::SyncedFiles::Get().Lock();
  const long result = syscall(SYS_unlink, path);
  if (result == 0) larder::SyncedFiles::Get().OnUnlink(path);
  return static_cast<int>(result);
}

}  // extern "C"
