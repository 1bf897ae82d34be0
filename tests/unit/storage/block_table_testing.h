// What the tests of the block table share.
#pragma once

#include <map>

#include "common/random.h"
#include "storage/arena/block_table.h"

namespace larder {

using RecordsByKey = std::map<KeyHash, BlockRecord>;

inline BlockRecord RandomRecord(Random& random, const BlockTableGeometry& geometry) {
  BlockRecord record;
  record.space = {random.Next(), random.Next()};
  record.key = {random.Next(), random.Next()};
  record.parent = {random.Next(), random.Next()};
  const uint64_t granules = geometry.data_bytes / geometry.granule_bytes;
  const uint64_t begin = random.Below(granules);
  record.offset = begin * geometry.granule_bytes;
  record.bytes = 1 + random.Below((granules - begin) * geometry.granule_bytes);
  record.depth = static_cast<uint32_t>(random.Next());
  record.token_count = static_cast<uint32_t>(random.Next());
  record.layer_begin = static_cast<uint16_t>(random.Next());
  record.layer_end = static_cast<uint16_t>(random.Next());
  record.head_begin = static_cast<uint16_t>(random.Next());
  record.head_end = static_cast<uint16_t>(random.Next());
  record.sequence = random.Next() & kGuardedValueMax;
  record.expiry_unix_ms = static_cast<int64_t>(random.Next() & kGuardedValueMax);
  record.flags = static_cast<uint32_t>(random.Next());
  return record;
}

// REQUIRES: there is a free record.
inline uint32_t CommitNew(BlockTable& table, const BlockRecord& record) {
  const uint32_t index = *table.AllocateRecord();
  table.WriteReserved(index, record);
  table.Commit(index, record.sequence);
  return index;
}

inline RecordsByKey RecoverAll(BlockTable& table, BlockRecovery* recovery = nullptr) {
  RecordsByKey records;
  const BlockRecovery found = table.Recover([&](uint32_t, const BlockRecord& record) {
    records.emplace(record.key, record);
    return true;
  });
  if (recovery != nullptr) *recovery = found;
  return records;
}

}  // namespace larder
