// The chunk container, version 1, shared by its reader and writer. docs/formats/container.md
// describes it byte by byte. Everything is little-endian; reserved bytes are zero.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace larder {

inline constexpr std::array<uint8_t, 8> kContainerMagic = {'L', 'A', 'R', 'D', 'C', 'H', 'N', 'K'};
inline constexpr uint16_t kContainerVersion = 1;
inline constexpr size_t kContainerKeyBytesMax = 64;
// Planes start on cache lines, so that copies and device transfers need no unaligned head.
inline constexpr uint64_t kPlaneAlignment = 64;

constexpr uint64_t AlignToPlane(uint64_t offset) {
  return (offset + kPlaneAlignment - 1) & ~(kPlaneAlignment - 1);
}

// How planes are stored. The values are part of the format.
enum class ContainerCodec : uint16_t {
  kRaw = 1,  // one level, the elements as they are
  // The runs of kernels/codec, one a plane and level.
  kLossless = 2,
  kLarder = 3,  // 1 to 4 levels, of which each refines those before
  kCachegen = 4,
  kKivi = 5,
};

// The most levels that a container of the codec has; 0 for a value that is no codec.
constexpr uint16_t LevelsMax(ContainerCodec codec) {
  switch (codec) {
    case ContainerCodec::kRaw:
    case ContainerCodec::kLossless:
    case ContainerCodec::kCachegen:
    case ContainerCodec::kKivi:
      return 1;
    case ContainerCodec::kLarder:
      return 4;
  }
  return 0;
}

struct ContainerHeader {
  std::array<uint8_t, 8> magic;
  uint16_t version;
  uint16_t header_bytes;
  uint16_t codec;
  uint16_t level_count;
  uint32_t flags;
  uint32_t key_bytes;
  uint64_t space_low;
  uint64_t space_high;
  uint64_t manifest_low;
  uint64_t manifest_high;
  std::array<uint8_t, kContainerKeyBytesMax> key;  // zero after key_bytes
  uint64_t parent_low;
  uint64_t parent_high;
  uint32_t depth;
  uint32_t token_count;
  uint16_t layer_begin;
  uint16_t layer_end;
  uint16_t head_begin;
  uint16_t head_end;
  uint32_t toc_entry_count;
  uint32_t planes_per_layer;
  uint64_t toc_offset;
  uint64_t body_offset;
  uint64_t body_bytes;
  uint64_t total_bytes;
  uint32_t toc_crc32c;
  std::array<uint8_t, 56> reserved;
  uint32_t header_crc32c;  // of the bytes before this field
};

// One plane: the keys or values (or latent, or state) of one layer at one level. Entries are in the
// order level, layer, plane.
struct ContainerTocEntry {
  uint64_t offset;  // from the container's first byte
  uint64_t stored_bytes;
  uint64_t raw_bytes;
  uint32_t crc32c;  // of the stored bytes
  uint32_t reserved;
};

static_assert(sizeof(ContainerHeader) == 256);
static_assert(offsetof(ContainerHeader, version) == 8);
static_assert(offsetof(ContainerHeader, header_bytes) == 10);
static_assert(offsetof(ContainerHeader, codec) == 12);
static_assert(offsetof(ContainerHeader, level_count) == 14);
static_assert(offsetof(ContainerHeader, flags) == 16);
static_assert(offsetof(ContainerHeader, key_bytes) == 20);
static_assert(offsetof(ContainerHeader, space_low) == 24);
static_assert(offsetof(ContainerHeader, manifest_low) == 40);
static_assert(offsetof(ContainerHeader, key) == 56);
static_assert(offsetof(ContainerHeader, parent_low) == 120);
static_assert(offsetof(ContainerHeader, depth) == 136);
static_assert(offsetof(ContainerHeader, token_count) == 140);
static_assert(offsetof(ContainerHeader, layer_begin) == 144);
static_assert(offsetof(ContainerHeader, head_begin) == 148);
static_assert(offsetof(ContainerHeader, toc_entry_count) == 152);
static_assert(offsetof(ContainerHeader, planes_per_layer) == 156);
static_assert(offsetof(ContainerHeader, toc_offset) == 160);
static_assert(offsetof(ContainerHeader, body_offset) == 168);
static_assert(offsetof(ContainerHeader, body_bytes) == 176);
static_assert(offsetof(ContainerHeader, total_bytes) == 184);
static_assert(offsetof(ContainerHeader, toc_crc32c) == 192);
static_assert(offsetof(ContainerHeader, reserved) == 196);
static_assert(offsetof(ContainerHeader, header_crc32c) == 252);
static_assert(std::has_unique_object_representations_v<ContainerHeader>, "no padding");

static_assert(sizeof(ContainerTocEntry) == 32);
static_assert(offsetof(ContainerTocEntry, stored_bytes) == 8);
static_assert(offsetof(ContainerTocEntry, raw_bytes) == 16);
static_assert(offsetof(ContainerTocEntry, crc32c) == 24);
static_assert(offsetof(ContainerTocEntry, reserved) == 28);
static_assert(std::has_unique_object_representations_v<ContainerTocEntry>, "no padding");

}  // namespace larder
