// What a device holds when it is opened.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "absl/time/time.h"
#include "common/status.h"
#include "storage/disk/disk_device.h"
#include "storage/disk/disk_metadata.h"
#include "storage/disk/disk_record.h"
#include "storage/disk/io_engine.h"

namespace larder {

// The generation of each segment that lies within `size_bytes`; 0 for the others and for those
// whose header is not right or cannot be read. `memory` holds at least one block. UNAVAILABLE when
// the device does not answer within `timeout`.
absl::StatusOr<std::vector<uint64_t>> ReadGenerations(IoEngine& engine,
                                                      const DiskGeometry& geometry,
                                                      uint64_t size_bytes,
                                                      std::span<uint8_t> memory,
                                                      absl::Duration timeout);

// The records that the metadata has and that can still be there; the others are removed from it.
absl::StatusOr<DiskContents> SortOutRecords(const DiskGeometry& geometry,
                                            std::vector<uint64_t> generations,
                                            DiskMetadata& metadata);

}  // namespace larder
