// The serialised manifest, shared by its reader and writer. docs/formats/manifest.md describes it
// byte by byte. Everything is little-endian.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace larder {

inline constexpr std::array<uint8_t, 4> kManifestMagic = {'L', 'M', 'A', 'N'};
// Version 2 is for manifests that name a codec; without one the bytes are those of version 1.
inline constexpr uint16_t kManifestVersionRaw = 1;
inline constexpr uint16_t kManifestVersionCoded = 2;

// Followed by kManifestStringCount strings, each a u32 length and its bytes, in this order:
// model, revision, quantisation, rope, hash scheme.
struct ManifestFixedFields {
  std::array<uint8_t, 4> magic;
  uint16_t format_version;
  uint16_t reserved;
  uint32_t layout_version;
  uint32_t layers;
  uint32_t heads;
  uint32_t head_dim;
  uint32_t tokens_per_chunk;
  uint8_t element_type;
  uint8_t kind;
  uint8_t codec;   // a container's; version 1: 0
  uint8_t levels;  // of it, 0 for all
  uint64_t hash_seed;
};

inline constexpr size_t kManifestStringCount = 5;

static_assert(sizeof(ManifestFixedFields) == 40);
static_assert(offsetof(ManifestFixedFields, layout_version) == 8);
static_assert(offsetof(ManifestFixedFields, element_type) == 28);
static_assert(offsetof(ManifestFixedFields, hash_seed) == 32);
static_assert(std::has_unique_object_representations_v<ManifestFixedFields>, "no padding");

}  // namespace larder
