// How a putting process tells a test what it has begun and what was acknowledged, so that nothing
// is lost when either side is killed: fixed records appended to a file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/file_descriptor.h"

namespace larder {

// Every chain has so many chunks.
inline constexpr size_t kRecordedChainChunks = 8;

struct PutRecord {
  uint64_t chain;
  uint32_t acknowledged_chunks;  // 0: the put has begun
  uint32_t reserved;
};
static_assert(sizeof(PutRecord) == 16);

// Thread-safe: one record is one write to a file that is open for appending.
class PutRecorder {
 public:
  explicit PutRecorder(const std::string& path);
  void Append(uint64_t chain, uint32_t acknowledged_chunks) const;

 private:
  FileDescriptor file_;
};

// All records from the `first` on.
std::vector<PutRecord> ReadPutRecords(const std::string& path, size_t first);

}  // namespace larder
