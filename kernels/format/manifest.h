// What makes the bytes of a chunk meaningful: model, geometry and keys; and how they are stored.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/ids.h"
#include "kernels/format/container_format.h"

namespace larder {

inline constexpr uint32_t kLayersMax = 1024;
inline constexpr uint32_t kHeadsMax = 1024;
inline constexpr uint32_t kHeadDimMax = 65536;
inline constexpr uint32_t kTokensPerChunkMax = 65536;
inline constexpr uint32_t kPlanesPerLayerMax = 2;
inline constexpr size_t kManifestStringBytesMax = 256;
inline constexpr uint64_t kChunkPayloadBytesMax = uint64_t{4} << 30;
inline constexpr uint32_t kLayoutVersion = 1;

// The values are part of the format.
enum class ElementType : uint8_t {
  kBfloat16 = 1,
  kFloat16 = 2,
  kFloat32 = 3,
  kFloat8E4M3 = 4,
  kFloat8E5M2 = 5,
  kInt8 = 6,
};

// Bytes of one element; 0 for a value that is no ElementType.
size_t ElementBytes(ElementType type);
absl::string_view ElementTypeName(ElementType type);

// What a model keeps per layer. The values are part of the format.
enum class CacheKind : uint8_t {
  kKeyValue = 1,   // two planes: keys, then values
  kLatent = 2,     // one plane: the latent of multi-head latent attention
  kRecurrent = 3,  // one plane: a state, the same size for any number of tokens
};
absl::string_view CacheKindName(CacheKind kind);

// The slice of a chunk that one engine rank writes or reads, as half-open ranges.
struct Part {
  uint16_t layer_begin = 0;
  uint16_t layer_end = 0;
  uint16_t head_begin = 0;
  uint16_t head_end = 0;

  friend auto operator<=>(const Part&, const Part&) = default;

  // True when `inner` lies inside this part; both are well-formed ranges.
  bool Contains(const Part& inner) const;
};

// "layers [0, 32) x heads [0, 8)".
std::string ToString(const Part& part);

// A plain value; thread-safe as long as nobody writes. Sizes are exact for a manifest that Validate
// accepts and cannot overflow.
struct Manifest {
  std::string model;         // for example "meta-llama/Llama-3.1-8B-Instruct"; not empty
  std::string revision;      // commit or checksum of the weights
  std::string quantisation;  // of the cache, empty for none
  std::string rope;          // description of the rotary embedding, empty for unknown
  std::string hash_scheme;   // how the engine makes chunk keys
  uint64_t hash_seed = 0;
  ElementType element_type = ElementType::kBfloat16;
  CacheKind kind = CacheKind::kKeyValue;
  uint32_t layers = 0;
  uint32_t heads = 0;     // KV heads; 1 for a latent
  uint32_t head_dim = 0;  // elements of one head and token (recurrent: of one head's whole state)
  uint32_t tokens_per_chunk = 0;
  uint32_t layout_version = kLayoutVersion;
  // How chunks are stored unless whoever puts one says otherwise: by which codec, and so many of
  // its levels, 0 for all. Containers name their codec, so a space may hold chunks of any.
  ContainerCodec codec = ContainerCodec::kRaw;
  uint32_t levels = 0;

  friend bool operator==(const Manifest&, const Manifest&) = default;

  // INVALID_ARGUMENT naming the first field that is out of bounds.
  absl::Status Validate() const;
  // INVALID_ARGUMENT unless `part` is a non-empty slice of this manifest's layers and heads.
  absl::Status ValidatePart(const Part& part) const;

  // The bytes of docs/formats/manifest.md. Equal manifests, equal bytes.
  std::vector<uint8_t> Serialize() const;
  // Reads hostile bytes: INVALID_ARGUMENT naming what is wrong. What it returns passes Validate.
  static absl::StatusOr<Manifest> Parse(std::span<const uint8_t> bytes);
  // Hash of the serialised form.
  ManifestId Id() const;

  // 2 for keys and values, else 1.
  uint32_t PlanesPerLayer() const;
  // Bytes of one head within a plane.
  uint64_t HeadBytes() const;
  // Bytes of one layer's keys (or values, or latent, or state) for the heads of `part`.
  uint64_t PlaneBytes(const Part& part) const;
  // Bytes of all planes of all layers of `part`; 0 for an empty part.
  uint64_t PayloadBytes(const Part& part) const;
  Part WholePart() const;
};

// Names every field in which the two differ, "layers: 32 and 80; ..."; empty when equal.
std::string DescribeDifference(const Manifest& a, const Manifest& b);

// The space of a tenant, manifest and salt. A truncated SHA-256 of the length-prefixed triple: a
// tenant who chooses names and salts freely still cannot aim at another tenant's space.
SpaceId ComputeSpaceId(absl::string_view tenant, const ManifestId& manifest,
                       absl::string_view salt);

}  // namespace larder
