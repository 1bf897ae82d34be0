// Reading and writing chunk containers (docs/formats/container.md): a chunk's identity, its planes
// and their checksums, encoded once by the producer and moved as they are by every tier and wire.
//
// All functions here are thread-safe. Containers lie in memory that a hostile process may map and
// rewrite at any moment, so metadata is copied once and the copy is checked, and payload bytes are
// summed in the same pass that copies them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/ids.h"
#include "kernels/format/container_format.h"
#include "kernels/format/manifest.h"

namespace larder {

// An engine's own key of a chunk, 1 to kContainerKeyBytesMax bytes, without a heap allocation.
using ChunkKey = absl::InlinedVector<uint8_t, kContainerKeyBytesMax>;

// Which bytes a container holds.
struct ChunkIdentity {
  SpaceId space;
  ManifestId manifest;
  ChunkKey key;
  KeyHash parent;            // zero: a root, or the caller does not know
  uint32_t depth = 0;        // chunks before this one
  uint32_t token_count = 0;  // tokens that are filled, 1 to the manifest's tokens_per_chunk
  Part part;

  friend bool operator==(const ChunkIdentity&, const ChunkIdentity&) = default;
};

// A piece of engine memory; a list of them is one run of bytes, split anywhere.
struct ConstSegment {
  const uint8_t* data = nullptr;
  size_t size = 0;
};
struct Segment {
  uint8_t* data = nullptr;
  size_t size = 0;
};

// The exact size of the raw container of `part`, for whoever reserves memory for it.
// REQUIRES: manifest.Validate() and manifest.ValidatePart(part) are OK.
uint64_t RawContainerBytes(const Manifest& manifest, const Part& part);

// Writes a whole raw container to `destination`, which has exactly RawContainerBytes. `payload` is
// the part in canonical order (layer, plane, head, token, dim); each of its bytes is read once,
// copied and summed in the same pass. The header goes last, so that a writer that dies leaves no
// container. INVALID_ARGUMENT names what does not fit the manifest; the destination is then as it
// was.
absl::Status WriteRawContainer(std::span<uint8_t> destination, const Manifest& manifest,
                               const ChunkIdentity& identity,
                               std::span<const ConstSegment> payload);

// A container whose metadata has been checked. Does not own the bytes; owns copies of the header's
// fields and of the table of contents, so a later change to the bytes can only break a plane's
// checksum. Movable; const methods are thread-safe.
class ContainerView {
 public:
  // `bytes` is the container and nothing else, or so much of it that it ends with a level. Checks
  // everything but the planes' bytes; DATA_LOSS names the field and its offset.
  static absl::StatusOr<ContainerView> Parse(std::span<const uint8_t> bytes);

  // The length that a container says it has of which `bytes` are the first, if all before its
  // planes is among them. Nothing of it is checked.
  static std::optional<uint64_t> SizeOf(std::span<const uint8_t> bytes);

  const ChunkIdentity& identity() const { return identity_; }
  ContainerCodec codec() const { return codec_; }
  // Levels that are there, 1 to LevelsMax(codec()).
  uint32_t level_count() const { return level_count_; }
  // The container's length if it had no levels after this one. REQUIRES: level < level_count().
  uint64_t LevelEnd(uint32_t level) const;
  uint32_t planes_per_layer() const { return planes_per_layer_; }
  // The container's bytes as given to Parse.
  std::span<const uint8_t> bytes() const { return bytes_; }
  // Of the levels that are there, in the order level, layer, plane.
  std::span<const ContainerTocEntry> entries() const { return entries_; }

  // REQUIRES: identity().part holds `layer`, plane < planes_per_layer(), level < level_count().
  const ContainerTocEntry& Entry(uint32_t layer, uint32_t plane, uint32_t level = 0) const;
  std::span<const uint8_t> PlaneBytes(uint32_t layer, uint32_t plane, uint32_t level = 0) const;

  // OK when this is the chunk that was asked for and its planes have the manifest's sizes.
  // DATA_LOSS names the field that differs, INVALID_ARGUMENT says what is wrong with the question.
  absl::Status CheckIdentity(const Manifest& manifest, const SpaceId& space,
                             std::span<const uint8_t> key, const Part& part) const;

  // OK when the container is of `manifest` and its planes have the sizes that follow from it.
  absl::Status CheckManifest(const Manifest& manifest) const;

  // Sums every plane and looks at the padding between them. DATA_LOSS names layer and plane.
  absl::Status VerifyBodies() const { return VerifyBodies(0, entries_.size()); }
  // Those of entries() [begin, end).
  absl::Status VerifyBodies(size_t begin, size_t end) const;

 private:
  ContainerView() = default;
  void TakeIdentity(const ContainerHeader& header);
  // Finds out which levels are there. REQUIRES: entries_ holds those of all levels.
  absl::Status TakeLevels(const ContainerHeader& header, uint64_t container_bytes);

  std::span<const uint8_t> bytes_;
  ChunkIdentity identity_;
  ContainerCodec codec_ = ContainerCodec::kRaw;
  uint32_t level_count_ = 1;
  uint32_t planes_per_layer_ = 0;
  std::vector<ContainerTocEntry> entries_;
};

// Called with each layer whose planes are all verified and in place.
using LayerCallback = std::function<void(uint16_t layer)>;

// Of a raw container; coded_container.h reads all of them. Scatters `wanted`, a slice of the part,
// into `destination` in the canonical order of `wanted`. Every plane that is touched is summed
// whole. DATA_LOSS names layer and plane on a mismatch, INVALID_ARGUMENT says what does not fit;
// after an error the contents of the destination are unspecified but for the layers that were
// reported to `on_layer`.
absl::Status ReadRawContainer(const ContainerView& view, const Manifest& manifest,
                              const Part& wanted, std::span<const Segment> destination,
                              const LayerCallback& on_layer = nullptr);

}  // namespace larder
