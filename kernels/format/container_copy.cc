// The payload's way into a container and out of it.
#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/crc32c.h"
#include "common/status.h"
#include "kernels/format/container.h"
#include "kernels/format/container_parts.h"

namespace larder {
namespace {

// Fills `plane` from `source`; returns the CRC of what is now there. Here and below `whole_bytes`
// are the container's.
uint32_t Gather(std::span<uint8_t> plane, SegmentCursor<ConstSegment>& source,
                uint64_t whole_bytes) {
  uint32_t crc = 0;
  while (!plane.empty()) {
    const ConstSegment piece = source.Take(plane.size());
    crc = CopyAndCrc32c(plane.data(), {piece.data, piece.size}, crc, whole_bytes);
    plane = plane.subspan(piece.size);
  }
  return crc;
}

// Copies `bytes` to `destination`; returns the CRC of what arrived, appended to `crc`.
uint32_t Scatter(std::span<const uint8_t> bytes, SegmentCursor<Segment>& destination, uint32_t crc,
                 uint64_t whole_bytes) {
  while (!bytes.empty()) {
    const Segment piece = destination.Take(bytes.size());
    crc = CopyAndCrc32c(piece.data, bytes.first(piece.size), crc, whole_bytes);
    bytes = bytes.subspan(piece.size);
  }
  return crc;
}

// The heads of `wanted` are one run of bytes in each plane of the container.
struct PlaneSlice {
  uint64_t offset;
  uint64_t size;
};

PlaneSlice SliceOf(const Manifest& manifest, const Part& whole, const Part& wanted) {
  return {.offset = (wanted.head_begin - whole.head_begin) * manifest.HeadBytes(),
          .size = manifest.PlaneBytes(wanted)};
}

}  // namespace

uint32_t ContainerPlaneCount(const Manifest& manifest, const Part& part) {
  return (part.layer_end - part.layer_begin) * manifest.PlanesPerLayer();
}

uint64_t ContainerBodyOffset(uint32_t plane_count) {
  return AlignToPlane(sizeof(ContainerHeader) + plane_count * sizeof(ContainerTocEntry));
}

absl::Status CheckContainerWrite(const Manifest& manifest, const ChunkIdentity& identity) {
  RETURN_IF_ERROR(manifest.Validate());
  RETURN_IF_ERROR(manifest.ValidatePart(identity.part));
  if (const ManifestId id = manifest.Id(); identity.manifest != id) {
    return absl::InvalidArgumentError(absl::StrCat("identity names manifest ",
                                                   ToString(identity.manifest),
                                                   ", the manifest given is ", ToString(id)));
  }
  if (identity.key.empty() || identity.key.size() > kContainerKeyBytesMax) {
    return absl::InvalidArgumentError(absl::StrCat("key has ", identity.key.size(),
                                                   " bytes, must be 1 to ", kContainerKeyBytesMax));
  }
  if (identity.token_count == 0 || identity.token_count > manifest.tokens_per_chunk) {
    return absl::InvalidArgumentError(absl::StrCat("token count is ", identity.token_count,
                                                   ", must be 1 to ", manifest.tokens_per_chunk));
  }
  return absl::OkStatus();
}

ContainerHeader MakeContainerHeader(const Manifest& manifest, const ChunkIdentity& identity,
                                    ContainerCodec codec, uint32_t level_count,
                                    std::span<const ContainerTocEntry> toc, uint64_t total_bytes) {
  ContainerHeader header = {};
  header.magic = kContainerMagic;
  header.version = kContainerVersion;
  header.header_bytes = sizeof header;
  header.codec = static_cast<uint16_t>(codec);
  header.level_count = static_cast<uint16_t>(level_count);
  header.key_bytes = static_cast<uint32_t>(identity.key.size());
  header.space_low = identity.space.low;
  header.space_high = identity.space.high;
  header.manifest_low = identity.manifest.low;
  header.manifest_high = identity.manifest.high;
  std::copy(identity.key.begin(), identity.key.end(), header.key.begin());
  header.parent_low = identity.parent.low;
  header.parent_high = identity.parent.high;
  header.depth = identity.depth;
  header.token_count = identity.token_count;
  header.layer_begin = identity.part.layer_begin;
  header.layer_end = identity.part.layer_end;
  header.head_begin = identity.part.head_begin;
  header.head_end = identity.part.head_end;
  header.toc_entry_count = static_cast<uint32_t>(toc.size());
  header.planes_per_layer = manifest.PlanesPerLayer();
  header.toc_offset = sizeof header;
  header.body_offset = ContainerBodyOffset(header.toc_entry_count);
  header.body_bytes = total_bytes - header.body_offset;
  header.total_bytes = total_bytes;
  header.toc_crc32c = Crc32c({reinterpret_cast<const uint8_t*>(toc.data()), toc.size_bytes()});
  header.header_crc32c =
      Crc32c({reinterpret_cast<const uint8_t*>(&header), offsetof(ContainerHeader, header_crc32c)});
  return header;
}

absl::Status CheckContainerPart(const ContainerView& view, const Manifest& manifest,
                                const Part& wanted) {
  RETURN_IF_ERROR(manifest.ValidatePart(wanted));
  if (!view.identity().part.Contains(wanted)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "wanted ", ToString(wanted), ", the container holds ", ToString(view.identity().part)));
  }
  return view.CheckManifest(manifest);
}

absl::Status CheckContainerRead(const ContainerView& view, const Manifest& manifest,
                                const Part& wanted, std::span<const Segment> destination) {
  RETURN_IF_ERROR(CheckContainerPart(view, manifest, wanted));
  return CheckSegments(destination, manifest.PayloadBytes(wanted));
}

uint64_t RawContainerBytes(const Manifest& manifest, const Part& part) {
  const uint32_t plane_count = ContainerPlaneCount(manifest, part);
  return ContainerBodyOffset(plane_count) + plane_count * AlignToPlane(manifest.PlaneBytes(part));
}

absl::Status WriteRawContainer(std::span<uint8_t> destination, const Manifest& manifest,
                               const ChunkIdentity& identity,
                               std::span<const ConstSegment> payload) {
  RETURN_IF_ERROR(CheckContainerWrite(manifest, identity));
  RETURN_IF_ERROR(CheckSegments(payload, manifest.PayloadBytes(identity.part)));
  if (const uint64_t size = RawContainerBytes(manifest, identity.part);
      destination.size() != size) {
    return absl::InvalidArgumentError(
        absl::StrCat("destination has ", destination.size(), " bytes, the container has ", size));
  }

  // An older container's header must not describe the new planes, not even for a moment.
  std::fill_n(destination.begin(), sizeof(ContainerHeader), uint8_t{0});
  const uint64_t plane_bytes = manifest.PlaneBytes(identity.part);
  std::vector<ContainerTocEntry> toc(ContainerPlaneCount(manifest, identity.part));
  SegmentCursor<ConstSegment> source(payload);
  uint64_t offset = ContainerBodyOffset(static_cast<uint32_t>(toc.size()));
  for (ContainerTocEntry& entry : toc) {
    const uint32_t crc =
        Gather(destination.subspan(offset, plane_bytes), source, destination.size());
    entry = {.offset = offset,
             .stored_bytes = plane_bytes,
             .raw_bytes = plane_bytes,
             .crc32c = crc,
             .reserved = 0};
    const uint64_t plane_end = offset + plane_bytes;
    offset = AlignToPlane(plane_end);
    // Padding is cleared, since the memory may still hold another chunk's bytes.
    std::fill(destination.begin() + plane_end, destination.begin() + offset, uint8_t{0});
  }

  const std::span<const ContainerTocEntry> entries(toc);
  std::memcpy(&destination[sizeof(ContainerHeader)], toc.data(), entries.size_bytes());
  const uint64_t toc_end = sizeof(ContainerHeader) + entries.size_bytes();
  std::fill(destination.begin() + toc_end, destination.begin() + AlignToPlane(toc_end), uint8_t{0});
  const ContainerHeader header = MakeContainerHeader(
      manifest, identity, ContainerCodec::kRaw, /*level_count=*/1, entries, destination.size());
  std::memcpy(destination.data(), &header, sizeof header);
  return absl::OkStatus();
}

absl::Status ReadRawContainer(const ContainerView& view, const Manifest& manifest,
                              const Part& wanted, std::span<const Segment> destination,
                              const LayerCallback& on_layer) {
  RETURN_IF_ERROR(CheckContainerRead(view, manifest, wanted, destination));
  if (view.codec() != ContainerCodec::kRaw) {
    return absl::InvalidArgumentError("the container is coded, not raw");
  }
  const PlaneSlice slice = SliceOf(manifest, view.identity().part, wanted);
  SegmentCursor<Segment> cursor(destination);
  for (uint16_t layer = wanted.layer_begin; layer < wanted.layer_end; ++layer) {
    for (uint32_t plane = 0; plane < view.planes_per_layer(); ++plane) {
      const std::span<const uint8_t> bytes = view.PlaneBytes(layer, plane);
      uint32_t crc = Crc32c(bytes.first(slice.offset));
      crc = Scatter(bytes.subspan(slice.offset, slice.size), cursor, crc, view.bytes().size());
      crc = Crc32c(bytes.subspan(slice.offset + slice.size), crc);
      if (const uint32_t stored = view.Entry(layer, plane).crc32c; crc != stored) {
        return absl::DataLossError(absl::StrCat("container: layer ", layer, " plane ", plane,
                                                " has CRC32C ", crc,
                                                ", the table of contents says ", stored));
      }
    }
    if (on_layer) on_layer(layer);
  }
  return absl::OkStatus();
}

}  // namespace larder
