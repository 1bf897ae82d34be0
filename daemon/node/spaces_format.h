// The bytes of the spaces file, version 1. docs/formats/spaces.md is the specification.
#pragma once

#include <cstddef>
#include <cstdint>

namespace larder {

inline constexpr uint64_t kSpacesMagic = 0x505352454452414c;  // "LARDERSP" in memory
inline constexpr uint32_t kSpacesVersion = 1;

// Offset 0; then `count` entries back to back, then the CRC32C of everything before it.
struct SpacesHeader {
  uint64_t magic;
  uint32_t version;
  uint32_t count;
};
static_assert(sizeof(SpacesHeader) == 16);

// Followed by tenant, salt and serialised manifest, back to back and without padding.
struct SpacesEntryHeader {
  uint32_t tenant_bytes;
  uint32_t salt_bytes;
  uint32_t manifest_bytes;
};
static_assert(sizeof(SpacesEntryHeader) == 12);

}  // namespace larder
