// The room for segments beneath a device: a file that grows, a block device, or a test's memory.
#pragma once

#include <cstdint>

#include "common/status.h"

namespace larder {

// One thread at a time.
class SegmentSpace {
 public:
  virtual ~SegmentSpace() = default;

  virtual uint64_t size_bytes() const = 0;

  // Makes it `bytes` long; does nothing when it already is. What is added reads as zeros until it
  // is written, and writing there cannot fail for want of room. RESOURCE_EXHAUSTED when there is
  // none, or none that would leave `free_bytes` to others; the size is then what it was.
  virtual absl::Status Extend(uint64_t bytes, uint64_t free_bytes) = 0;
};

}  // namespace larder
