// A disk device made by hand, for the tests of the tools that look at one.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "common/crc32c.h"
#include "common/file_descriptor.h"
#include "common/random.h"
#include "gtest/gtest.h"
#include "storage/disk/disk_metadata.h"
#include "storage/disk/disk_scan.h"
#include "tests/unit/storage/arena_testing.h"

namespace larder {

// As the tier would have left it, written by hand.
class HandmadeDevice {
 public:
  static constexpr uint64_t kSegmentBytes = uint64_t{256} << 10;

  HandmadeDevice() {
    std::filesystem::create_directory(path());
    std::filesystem::permissions(path(), std::filesystem::perms::owner_all);
    file_ = FileDescriptor(open((path() + "/segments").c_str(), O_RDWR | O_CREAT, 0600));
    EXPECT_EQ(ftruncate(file_.get(), static_cast<off_t>(geometry_.end())), 0);
    Write(0, EncodeSuperblock({geometry_.device, kSegmentBytes, "node-1"}));
  }

  std::string path() const { return scratch_.path() + "/device"; }
  std::string index() const { return path() + "/metadata"; }
  const DiskGeometry& geometry() const { return geometry_; }

  void OpenSegment(uint32_t segment, uint64_t generation) {
    Write(geometry_.SegmentBegin(segment),
          EncodeSegmentHeader(geometry_, {segment, generation, /*lifetime_class=*/3}));
    segment_ = segment;
    generation_ = generation;
    end_ = geometry_.SegmentBegin(segment) + kDiskBlockBytes;
  }

  // At the end of the segment that was opened last.
  DiskRecord Append(uint64_t key, uint64_t payload_bytes) {
    DiskRecord record;
    record.space = {7, 8};
    record.key = {key, 9};
    record.layer_end = record.head_end = 1;
    record.segment = segment_;
    record.generation = generation_;
    record.offset = end_;
    record.payload_bytes = payload_bytes;
    record.sequence = ++sequence_;
    std::vector<uint8_t> payload(payload_bytes);
    for (uint8_t& byte : payload) byte = static_cast<uint8_t>(random_.Next());
    record.payload_crc = Crc32c(payload);
    Write(record.offset, EncodeRecordHeader(geometry_, record));
    WriteBytes(record.offset + kDiskBlockBytes, payload);
    end_ += DiskRecordBytes(payload_bytes);
    return record;
  }
  void SkipBlocks(uint64_t blocks) { end_ += blocks * kDiskBlockBytes; }

  void FlipBit(uint64_t offset) {
    uint8_t byte = 0;
    ASSERT_EQ(pread(file_.get(), &byte, 1, static_cast<off_t>(offset)), 1);
    byte ^= 4;
    WriteBytes(offset, {&byte, 1});
  }
  void Truncate(uint64_t bytes) { ASSERT_EQ(ftruncate(file_.get(), static_cast<off_t>(bytes)), 0); }
  template <typename T>
  void Write(uint64_t offset, const T& value) {
    WriteBytes(offset, {reinterpret_cast<const uint8_t*>(&value), sizeof value});
  }

  void Index(const std::vector<DiskRecord>& records, DiskDeviceId device) {
    auto index = DiskMetadata::Open(this->index(), {.device = device});
    ASSERT_EQ(index.status(), absl::OkStatus());
    for (const DiskRecord& record : records) {
      ASSERT_EQ((*index)->Queue({.record = record}), absl::OkStatus());
    }
  }
  void Index(const std::vector<DiskRecord>& records) { Index(records, geometry_.device); }

  std::unique_ptr<OfflineDisk> Open() const {
    auto disk = OfflineDisk::Open(path(), "");
    EXPECT_EQ(disk.status(), absl::OkStatus());
    return disk.ok() ? *std::move(disk) : nullptr;
  }

 private:
  void WriteBytes(uint64_t offset, std::span<const uint8_t> bytes) {
    ASSERT_EQ(pwrite(file_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)),
              static_cast<ssize_t>(bytes.size()));
  }

  ScratchDirectory scratch_;
  const DiskGeometry geometry_{.device = {11, 12}, .segment_bytes = kSegmentBytes, .segments = 4};
  FileDescriptor file_;
  SeededRandom random_{1};
  uint32_t segment_ = 0;
  uint64_t generation_ = 0, end_ = 0, sequence_ = 0;
};

// Three segments, the last never opened; records of several sizes.
inline std::vector<DiskRecord> FillDevice(HandmadeDevice& device) {
  std::vector<DiskRecord> records;
  device.OpenSegment(0, 5);
  for (const uint64_t bytes : {1, 4096, 4097, 20000}) {
    records.push_back(device.Append(records.size(), bytes));
  }
  device.OpenSegment(2, 6);
  for (const uint64_t bytes : {100000, 4095, 8192}) {
    records.push_back(device.Append(records.size(), bytes));
  }
  return records;
}

}  // namespace larder
