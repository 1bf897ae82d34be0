// The bytes of a batch of events, version 1. docs/formats/event_batch.md is the specification.
#pragma once

#include <cstddef>
#include <cstdint>

namespace larder {

inline constexpr uint32_t kEventBatchMagic = 0x4256454c;  // "LEVB" in memory
inline constexpr uint16_t kEventBatchVersion = 1;
inline constexpr size_t kEventBatchEventsMax = 8192;

// Offset 0; then the ids of the spaces, 16 bytes each, then the events, then the CRC32C of
// everything before it.
struct EventBatchHeader {
  uint32_t magic;
  uint16_t version;
  uint16_t space_count;
  uint32_t event_count;
};
static_assert(sizeof(EventBatchHeader) == 12);

inline constexpr size_t kEventBatchSpaceBytes = 16;
inline constexpr size_t kEventBatchEventBytes = 24;
inline constexpr size_t kEventBatchChecksumBytes = 4;
inline constexpr size_t kEventBatchBytesMax =
    sizeof(EventBatchHeader) + kEventBatchChecksumBytes +
    kEventBatchEventsMax * (kEventBatchSpaceBytes + kEventBatchEventBytes);

}  // namespace larder
