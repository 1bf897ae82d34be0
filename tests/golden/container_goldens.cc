#include "tests/golden/container_goldens.h"

#include <cstddef>
#include <cstring>
#include <numeric>
#include <utility>

#include "common/byte_order.h"
#include "tests/unit/kernels/container_testing.h"

namespace larder {
namespace {

constexpr size_t kTocOffset = sizeof(ContainerHeader);

Manifest MakeManifest(CacheKind kind, ElementType element_type, uint32_t layers, uint32_t heads,
                      uint32_t head_dim, uint32_t tokens_per_chunk) {
  return {.model = "example/tiny",
          .revision = "1",
          .quantisation = "",
          .rope = "theta=10000",
          .hash_scheme = "sha256",
          .hash_seed = 0,
          .element_type = element_type,
          .kind = kind,
          .layers = layers,
          .heads = heads,
          .head_dim = head_dim,
          .tokens_per_chunk = tokens_per_chunk};
}

ChunkIdentity MakeIdentity(const Manifest& manifest, const Part& part, size_t key_bytes) {
  ChunkIdentity identity;
  identity.manifest = manifest.Id();
  identity.space = ComputeSpaceId("tenant", identity.manifest, "salt");
  identity.key.resize(key_bytes);
  std::iota(identity.key.begin(), identity.key.end(), uint8_t{0xa0});
  identity.token_count = manifest.tokens_per_chunk;
  identity.part = part;
  return identity;
}

// One layer, one head, two tokens of two float16: keys 1, 2, 3, 4 and values 5, 6, 7, 8.
ValidGolden KeyValue() {
  const Manifest manifest = MakeManifest(CacheKind::kKeyValue, ElementType::kFloat16, 1, 1, 2, 2);
  ChunkIdentity identity = MakeIdentity(manifest, manifest.WholePart(), 32);
  identity.parent = {0x1716151413121110, 0x1f1e1d1c1b1a1918};
  identity.depth = 7;
  return {"valid_key_value.bin",
          manifest,
          identity,
          {0x00, 0x3c, 0x00, 0x40, 0x00, 0x42, 0x00, 0x44,  //
           0x00, 0x45, 0x00, 0x46, 0x00, 0x47, 0x00, 0x48}};
}

// Layers 1 to 3 of 4, so that the table of contents has an odd number of entries; a root.
ValidGolden LatentPart() {
  const Manifest manifest = MakeManifest(CacheKind::kLatent, ElementType::kBfloat16, 4, 1, 13, 3);
  const Part part = {1, 4, 0, 1};
  return {"valid_latent_part.bin", manifest, MakeIdentity(manifest, part, 1),
          ModelPayload(manifest, part)};
}

// Heads 2 and 3 of 4, half of the chunk's tokens, planes of exactly one alignment unit.
ValidGolden RecurrentPart() {
  const Manifest manifest = MakeManifest(CacheKind::kRecurrent, ElementType::kFloat32, 2, 4, 8, 16);
  const Part part = {0, 2, 2, 4};
  ChunkIdentity identity = MakeIdentity(manifest, part, 16);
  identity.token_count = 8;
  return {"valid_recurrent_part.bin", manifest, identity, ModelPayload(manifest, part)};
}

// The longest key.
ValidGolden LongKey() {
  const Manifest manifest = MakeManifest(CacheKind::kKeyValue, ElementType::kInt8, 2, 2, 4, 5);
  return {"valid_long_key.bin", manifest, MakeIdentity(manifest, manifest.WholePart(), 64),
          ModelPayload(manifest, manifest.WholePart())};
}

template <typename Value>
void Store(std::vector<uint8_t>& container, size_t offset, Value value) {
  StoreLittleEndian(&container[offset], value);
}

// As Store, by someone who also makes the checksums right.
template <typename Value>
void Forge(std::vector<uint8_t>& container, size_t offset, Value value) {
  Store(container, offset, value);
  RepairChecksums(container);
}

}  // namespace

std::vector<ValidGolden> ValidGoldens() {
  return {KeyValue(), LatentPart(), RecurrentPart(), LongKey()};
}

ValidGolden LevelsGolden() {
  const Manifest manifest =
      MakeManifest(CacheKind::kKeyValue, ElementType::kBfloat16, 1, 1, 64, 16);
  std::vector<uint8_t> payload(manifest.PayloadBytes(manifest.WholePart()));
  for (size_t i = 0; i < payload.size(); ++i) {
    // Elements from 1 to 4: their exponents are those of a cache, not of noise.
    payload[i] = i % 2 == 0 ? static_cast<uint8_t>(i * 37 + i / 128) : uint8_t{0x40};
  }
  return {kLevelsGolden, manifest, MakeIdentity(manifest, manifest.WholePart(), 32),
          std::move(payload)};
}

std::vector<CorruptGolden> CorruptGoldens() {
  using Bytes = std::vector<uint8_t>;
  return {
      {"corrupt_empty.bin", "0 bytes", [](Bytes& c) { c.clear(); }},
      {"corrupt_header_cut.bin", "255 bytes", [](Bytes& c) { c.resize(255); }},
      {"corrupt_body_cut.bin", "total_bytes", [](Bytes& c) { c.pop_back(); }},
      {"corrupt_byte_after_end.bin", "total_bytes", [](Bytes& c) { c.push_back(0); }},
      {"corrupt_magic.bin", "magic", [](Bytes& c) { Forge<uint8_t>(c, 0, 'l'); }},
      {"corrupt_version.bin", "version", [](Bytes& c) { Forge<uint16_t>(c, 8, 2); }},
      {"corrupt_header_bit.bin", "header_crc32c", [](Bytes& c) { c[140] ^= 1; }},
      {"corrupt_codec.bin", "codec", [](Bytes& c) { Forge<uint16_t>(c, 12, 0); }},
      {"corrupt_flags.bin", "flags", [](Bytes& c) { Forge<uint32_t>(c, 16, 1); }},
      {"corrupt_key_length.bin", "key_bytes", [](Bytes& c) { Forge<uint32_t>(c, 20, 65); }},
      {"corrupt_key_tail.bin", "key at offset 56", [](Bytes& c) { Forge<uint8_t>(c, 119, 1); }},
      {"corrupt_part_empty.bin", "layer_end", [](Bytes& c) { Forge<uint16_t>(c, 146, 0); }},
      {"corrupt_part_reversed.bin", "head_begin", [](Bytes& c) { Forge<uint16_t>(c, 148, 9); }},
      {"corrupt_toc_count.bin", "toc_entry_count",
       [](Bytes& c) { Forge<uint32_t>(c, 152, UINT32_MAX); }},
      {"corrupt_body_offset.bin", "body_offset",
       [](Bytes& c) { Forge<uint64_t>(c, 168, UINT64_MAX - 63); }},
      {"corrupt_total_length.bin", "total_bytes",
       [](Bytes& c) { Forge<uint64_t>(c, 184, UINT64_MAX); }},
      {"corrupt_reserved.bin", "reserved bytes at offset 196",
       [](Bytes& c) { Forge<uint8_t>(c, 200, 1); }},
      {"corrupt_toc_bit.bin", "table of contents at offset 256",
       [](Bytes& c) { c[kTocOffset + 24] ^= 1; }},
      {"corrupt_planes_overlap.bin", "entry 1",
       [](Bytes& c) { Forge<uint64_t>(c, kTocOffset + 32, 320); }},
      {"corrupt_plane_outside.bin", "entry 1",
       [](Bytes& c) { Forge<uint64_t>(c, kTocOffset + 40, UINT64_MAX); }},
      {"corrupt_plane_bit.bin", "layer 0 plane 1", [](Bytes& c) { c[384] ^= 0x80; }},
      {"corrupt_padding.bin", "padding after layer 0 plane 0", [](Bytes& c) { c[328] = 1; }},
  };
}

}  // namespace larder
