// What the tests of the disk tier's index share.
#pragma once

#include <sys/resource.h>

#include <csignal>
#include <map>
#include <tuple>

#include "common/random.h"
#include "gtest/gtest.h"
#include "storage/disk/disk_metadata.h"

namespace larder {

using DiskPart = std::tuple<SpaceId, KeyHash, uint16_t, uint16_t, uint16_t, uint16_t>;
using DiskRecordsByPart = std::map<DiskPart, DiskRecord>;

inline DiskPart PartOf(const DiskRecord& record) {
  return {record.space,     record.key,        record.layer_begin,
          record.layer_end, record.head_begin, record.head_end};
}

// Any value in any field; the part is one of `parts`.
inline DiskRecord RandomDiskRecord(Random& random, uint64_t parts) {
  DiskRecord record;
  record.space = {7, 8};
  record.key = {random.Below(parts), 9};
  record.layer_end = static_cast<uint16_t>(record.key.low % 3);
  record.head_end = static_cast<uint16_t>(record.key.low % 5);
  record.parent = {random.Next(), random.Next()};
  record.depth = static_cast<uint32_t>(random.Next());
  record.token_count = static_cast<uint32_t>(random.Next());
  record.segment = static_cast<uint32_t>(random.Below(4));
  record.generation = random.Next();
  record.offset = random.Below(1000) * kDiskBlockBytes;
  record.payload_bytes = random.Next();
  record.payload_crc = static_cast<uint32_t>(random.Next());
  record.flags = static_cast<uint32_t>(random.Next());
  record.sequence = random.Next();
  record.expiry_unix_ms = static_cast<int64_t>(random.Next() >> 1);
  record.written_unix_ms = static_cast<int64_t>(random.Next() >> 1);
  return record;
}

inline DiskRecordsByPart AllRecords(DiskMetadata& metadata, uint64_t damaged_expected = 0) {
  DiskRecordsByPart records;
  uint64_t damaged = 0;
  EXPECT_EQ(metadata.ForEach(
                [&](const DiskRecord& record) {
                  EXPECT_TRUE(records.emplace(PartOf(record), record).second);
                },
                &damaged),
            absl::OkStatus());
  EXPECT_EQ(damaged, damaged_expected);
  return records;
}

// Lets no file grow beyond `bytes`, as a full file system would.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : signal_before_(signal(SIGXFSZ, SIG_IGN)) {
    EXPECT_EQ(getrlimit(RLIMIT_FSIZE, &before_), 0);
    const struct rlimit limit { .rlim_cur = bytes, .rlim_max = before_.rlim_max };
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  ~FileSizeLimit() {
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &before_), 0);
    signal(SIGXFSZ, signal_before_);
  }

 private:
  const sighandler_t signal_before_;
  struct rlimit before_;
};

}  // namespace larder
