// The serialised manifest, shared by its reader and writer. docs/formats/manifest.md describes it
// byte by byte. Everything is little-endian.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace larder {

inline constexpr std::array<uint8_t, 4> kManifestMagic = {'L', 'M', 'A', 'N'};
inline constexpr uint16_t kManifestFormatVersion = 1;

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
  uint16_t reserved_after_kind;
  uint64_t hash_seed;
};

inline constexpr size_t kManifestStringCount = 5;

static_assert(sizeof(ManifestFixedFields) == 40);
static_assert(offsetof(ManifestFixedFields, layout_version) == 8);
static_assert(offsetof(ManifestFixedFields, element_type) == 28);
static_assert(offsetof(ManifestFixedFields, hash_seed) == 32);
static_assert(std::has_unique_object_representations_v<ManifestFixedFields>, "no padding");

}  // namespace larder
