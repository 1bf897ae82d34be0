#include "storage/disk/disk_chores.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/disk/segment_file.h"

namespace larder {

DiskChores::DiskChores(SegmentSpace& space, DiskMetadata& metadata, Options options)
    : space_(space),
      metadata_(metadata),
      options_(std::move(options)),
      thread_([this] { Run(); }) {}

DiskChores::~DiskChores() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wanted_.notify_one();
  thread_.join();
}

bool DiskChores::Extend(uint64_t bytes) {
  {
    std::lock_guard lock(mutex_);
    if (extend_bytes_) return false;
    extend_bytes_ = bytes;
  }
  wanted_.notify_one();
  return true;
}

bool DiskChores::Flush() {
  {
    std::lock_guard lock(mutex_);
    if (flush_) return false;
    flush_ = true;
  }
  wanted_.notify_one();
  return true;
}

std::vector<DiskChoreResult> DiskChores::TakeResults() {
  std::lock_guard lock(mutex_);
  return std::exchange(results_, {});
}

void DiskChores::Run() {
  std::unique_lock lock(mutex_);
  while (true) {
    wanted_.wait(lock, [this] { return stop_ || flush_ || extend_bytes_; });
    if (stop_) return;
    const std::optional<uint64_t> extend_bytes = extend_bytes_;
    lock.unlock();
    // Growing first: someone waits for it.
    DiskChoreResult result = extend_bytes ? DoExtend(*extend_bytes) : DoFlush();
    lock.lock();
    if (extend_bytes) {
      extend_bytes_.reset();
    } else {
      flush_ = false;
    }
    results_.push_back(std::move(result));
    lock.unlock();
    options_.on_result();
    lock.lock();
  }
}

DiskChoreResult DiskChores::DoExtend(uint64_t bytes) {
  DiskChoreResult result;
  result.kind = DiskChoreResult::Kind::kExtend;
  const uint64_t metadata_bytes = metadata_.DiskBytes();
  absl::Status status;
  if (bytes > space_.size_bytes() && bytes + metadata_bytes > options_.capacity_bytes) {
    status = absl::ResourceExhaustedError(absl::StrCat("the capacity of ", options_.capacity_bytes,
                                                       " bytes has no room for segments ", "up to ",
                                                       bytes, " and metadata of ", metadata_bytes));
  } else {
    // A file system that is smaller than the capacity would be full before the metadata, which
    // grows with the segments, has its share. Without room it takes the device out of service.
    const uint64_t share = SegmentFile::MetadataShareOf(options_.capacity_bytes);
    status = space_.Extend(bytes, share - std::min(share, metadata_bytes));
  }
  result.size_bytes = space_.size_bytes();
  result.code = status.code();
  result.why = std::string(status.message());
  return result;
}

DiskChoreResult DiskChores::DoFlush() {
  DiskChoreResult result;
  result.kind = DiskChoreResult::Kind::kFlush;
  const absl::Status status = metadata_.Flush(true, options_.flush_timeout);
  result.over_capacity = space_.size_bytes() + metadata_.DiskBytes() > options_.capacity_bytes;
  result.code = status.code();
  result.why = std::string(status.message());
  return result;
}

}  // namespace larder
