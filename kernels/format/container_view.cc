#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/crc32c.h"
#include "common/status.h"
#include "kernels/format/container.h"

namespace larder {
namespace {

absl::Status Malformed(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("container: ", what));
}

// "version at offset 8 is 7", for a field that the errors below are about.
template <typename Value>
std::string Found(const ContainerHeader& header, Value ContainerHeader::*field,
                  absl::string_view name) {
  const auto offset = reinterpret_cast<const uint8_t*>(&(header.*field)) -
                      reinterpret_cast<const uint8_t*>(&header);
  return absl::StrCat("header field ", name, " at offset ", offset, " is ", header.*field);
}

// OK when the field has the only value that it may have here.
template <typename Value>
absl::Status Expect(const ContainerHeader& header, Value ContainerHeader::*field,
                    absl::string_view name, uint64_t expected) {
  if (header.*field == expected) return absl::OkStatus();
  return Malformed(absl::StrCat(Found(header, field, name), ", expected ", expected));
}

template <typename Value>
absl::Status ExpectRange(const ContainerHeader& header, Value ContainerHeader::*field,
                         absl::string_view name, uint64_t min, uint64_t max) {
  if (header.*field >= min && header.*field <= max) return absl::OkStatus();
  return Malformed(absl::StrCat(Found(header, field, name), ", must be ", min, " to ", max));
}

bool IsZero(std::span<const uint8_t> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

// Who wrote it: the fields that decide how the rest is read. `crc` is that of the header's bytes.
absl::Status CheckPreamble(const ContainerHeader& header, uint32_t crc) {
  if (header.magic != kContainerMagic) return Malformed("magic at offset 0 is not LARDCHNK");
  RETURN_IF_ERROR(Expect(header, &ContainerHeader::version, "version", kContainerVersion));
  RETURN_IF_ERROR(
      Expect(header, &ContainerHeader::header_bytes, "header_bytes", sizeof(ContainerHeader)));
  RETURN_IF_ERROR(Expect(header, &ContainerHeader::header_crc32c, "header_crc32c", crc));
  RETURN_IF_ERROR(ExpectRange(header, &ContainerHeader::codec, "codec",
                              static_cast<uint64_t>(ContainerCodec::kRaw),
                              static_cast<uint64_t>(ContainerCodec::kKivi)));
  RETURN_IF_ERROR(ExpectRange(header, &ContainerHeader::level_count, "level_count", 1,
                              LevelsMax(static_cast<ContainerCodec>(header.codec))));
  RETURN_IF_ERROR(Expect(header, &ContainerHeader::flags, "flags", 0));
  if (!IsZero(header.reserved)) {
    return Malformed(absl::StrCat("reserved bytes at offset ", offsetof(ContainerHeader, reserved),
                                  " are not zero"));
  }
  return absl::OkStatus();
}

absl::Status CheckChunk(const ContainerHeader& header) {
  RETURN_IF_ERROR(
      ExpectRange(header, &ContainerHeader::key_bytes, "key_bytes", 1, kContainerKeyBytesMax));
  if (!IsZero(std::span(header.key).subspan(header.key_bytes))) {
    return Malformed(absl::StrCat("key at offset ", offsetof(ContainerHeader, key),
                                  " is not zero after its ", header.key_bytes, " bytes"));
  }
  RETURN_IF_ERROR(
      ExpectRange(header, &ContainerHeader::token_count, "token_count", 1, kTokensPerChunkMax));
  RETURN_IF_ERROR(ExpectRange(header, &ContainerHeader::layer_end, "layer_end", 1, kLayersMax));
  RETURN_IF_ERROR(
      ExpectRange(header, &ContainerHeader::layer_begin, "layer_begin", 0, header.layer_end - 1u));
  RETURN_IF_ERROR(ExpectRange(header, &ContainerHeader::head_end, "head_end", 1, kHeadsMax));
  return ExpectRange(header, &ContainerHeader::head_begin, "head_begin", 0, header.head_end - 1u);
}

// Where things lie. One container has one layout, so every value follows from the part and the
// container's size, but for levels that were cut off. REQUIRES: CheckChunk is OK.
absl::Status CheckLayout(const ContainerHeader& header, uint64_t container_bytes) {
  RETURN_IF_ERROR(ExpectRange(header, &ContainerHeader::planes_per_layer, "planes_per_layer", 1,
                              kPlanesPerLayerMax));
  const uint32_t layers = header.layer_end - header.layer_begin;
  RETURN_IF_ERROR(Expect(header, &ContainerHeader::toc_entry_count, "toc_entry_count",
                         header.level_count * layers * header.planes_per_layer));
  RETURN_IF_ERROR(
      Expect(header, &ContainerHeader::toc_offset, "toc_offset", sizeof(ContainerHeader)));
  const uint64_t toc_bytes = uint64_t{header.toc_entry_count} * sizeof(ContainerTocEntry);
  RETURN_IF_ERROR(Expect(header, &ContainerHeader::body_offset, "body_offset",
                         AlignToPlane(sizeof(ContainerHeader) + toc_bytes)));
  // Of several levels the last ones may have been cut off.
  if (header.level_count == 1 || header.total_bytes < container_bytes) {
    RETURN_IF_ERROR(Expect(header, &ContainerHeader::total_bytes, "total_bytes", container_bytes));
  }
  if (container_bytes < header.body_offset) {
    return Malformed(
        absl::StrCat(container_bytes, " bytes, its body begins at offset ", header.body_offset));
  }
  RETURN_IF_ERROR(Expect(header, &ContainerHeader::body_bytes, "body_bytes",
                         header.total_bytes - header.body_offset));
  if (header.body_bytes % kPlaneAlignment == 0) return absl::OkStatus();
  return Malformed(absl::StrCat(Found(header, &ContainerHeader::body_bytes, "body_bytes"),
                                ", must be a multiple of ", kPlaneAlignment));
}

absl::Status MalformedEntry(size_t index, absl::string_view what) {
  return Malformed(absl::StrCat("table of contents entry ", index, " at offset ",
                                sizeof(ContainerHeader) + index * sizeof(ContainerTocEntry), ": ",
                                what));
}

// Planes follow each other without gaps but for padding, all of one size when decoded, and fill the
// body.
// REQUIRES: CheckLayout is OK.
absl::Status CheckEntries(std::span<const ContainerTocEntry> entries,
                          const ContainerHeader& header) {
  uint64_t next_offset = header.body_offset;
  for (size_t i = 0; i < entries.size(); ++i) {
    const ContainerTocEntry& entry = entries[i];
    if (entry.offset != next_offset) {
      return MalformedEntry(
          i, absl::StrCat("plane offset is ", entry.offset, ", expected ", next_offset));
    }
    const uint64_t room = header.total_bytes - next_offset;
    if (entry.stored_bytes == 0 || entry.stored_bytes > room) {
      return MalformedEntry(
          i, absl::StrCat("stored length is ", entry.stored_bytes, ", must be 1 to ", room));
    }
    const bool raw = header.codec == static_cast<uint16_t>(ContainerCodec::kRaw);
    if (raw && entry.raw_bytes != entry.stored_bytes) {
      return MalformedEntry(i, absl::StrCat("raw length is ", entry.raw_bytes, ", stored length ",
                                            entry.stored_bytes));
    }
    if (entry.raw_bytes != entries[0].raw_bytes) {
      return MalformedEntry(i, absl::StrCat("raw length is ", entry.raw_bytes,
                                            ", that of entry 0 is ", entries[0].raw_bytes));
    }
    if (entry.reserved != 0) return MalformedEntry(i, "reserved bytes are not zero");
    next_offset = AlignToPlane(entry.offset + entry.stored_bytes);
  }
  if (next_offset == header.total_bytes) return absl::OkStatus();
  return Malformed(absl::StrCat("planes end at offset ", next_offset, ", the container at ",
                                header.total_bytes));
}

std::string PlaneName(uint32_t layer, uint32_t plane, uint32_t level) {
  return absl::StrCat("layer ", layer, " plane ", plane,
                      level == 0 ? "" : absl::StrCat(" level ", level));
}

}  // namespace

absl::StatusOr<ContainerView> ContainerView::Parse(std::span<const uint8_t> bytes) {
  ContainerHeader header;
  if (bytes.size() < sizeof header) {
    return Malformed(absl::StrCat(bytes.size(), " bytes, its header alone has ", sizeof header));
  }
  // Copied before anything is looked at, and only the copy is used: see the top of container.h. The
  // checksum calls let the copies' addresses escape, so no compiler can re-read the source instead.
  std::memcpy(&header, bytes.data(), sizeof header);
  const uint32_t header_crc =
      Crc32c({reinterpret_cast<const uint8_t*>(&header), offsetof(ContainerHeader, header_crc32c)});
  RETURN_IF_ERROR(CheckPreamble(header, header_crc));
  RETURN_IF_ERROR(CheckChunk(header));
  RETURN_IF_ERROR(CheckLayout(header, bytes.size()));

  ContainerView view;
  view.entries_.resize(header.toc_entry_count);
  const size_t toc_bytes = header.toc_entry_count * sizeof(ContainerTocEntry);
  std::memcpy(view.entries_.data(), &bytes[sizeof header], toc_bytes);
  const uint32_t toc_crc =
      Crc32c({reinterpret_cast<const uint8_t*>(view.entries_.data()), toc_bytes});
  if (toc_crc != header.toc_crc32c) {
    return Malformed(absl::StrCat("table of contents at offset ", header.toc_offset, " has CRC32C ",
                                  toc_crc, ", the header says ", header.toc_crc32c));
  }
  RETURN_IF_ERROR(CheckEntries(view.entries_, header));
  RETURN_IF_ERROR(view.TakeLevels(header, bytes.size()));
  const size_t toc_end = sizeof header + toc_bytes;
  if (!IsZero(bytes.subspan(toc_end, header.body_offset - toc_end))) {
    return Malformed(absl::StrCat("padding at offset ", toc_end, " is not zero"));
  }

  view.bytes_ = bytes;
  view.TakeIdentity(header);
  return view;
}

std::optional<uint64_t> ContainerView::SizeOf(std::span<const uint8_t> bytes) {
  ContainerHeader header;
  if (bytes.size() < sizeof header) return std::nullopt;
  std::memcpy(&header, bytes.data(), sizeof header);
  if (bytes.size() < header.body_offset) return std::nullopt;
  return header.total_bytes;
}

absl::Status ContainerView::TakeLevels(const ContainerHeader& header, uint64_t container_bytes) {
  const size_t planes = entries_.size() / header.level_count;
  for (level_count_ = header.level_count; level_count_ > 0; --level_count_) {
    entries_.resize(level_count_ * planes);
    if (LevelEnd(level_count_ - 1) == container_bytes) return absl::OkStatus();
  }
  return Malformed(absl::StrCat(Found(header, &ContainerHeader::total_bytes, "total_bytes"),
                                ", expected ", container_bytes, ", and none of its ",
                                header.level_count, " levels ends there"));
}

uint64_t ContainerView::LevelEnd(uint32_t level) const {
  const size_t planes = entries_.size() / level_count_;
  const ContainerTocEntry& last = entries_[(level + size_t{1}) * planes - 1];
  return AlignToPlane(last.offset + last.stored_bytes);
}

void ContainerView::TakeIdentity(const ContainerHeader& header) {
  identity_.space = {header.space_low, header.space_high};
  identity_.manifest = {header.manifest_low, header.manifest_high};
  identity_.key.assign(header.key.begin(), header.key.begin() + header.key_bytes);
  identity_.parent = {header.parent_low, header.parent_high};
  identity_.depth = header.depth;
  identity_.token_count = header.token_count;
  identity_.part = {.layer_begin = header.layer_begin,
                    .layer_end = header.layer_end,
                    .head_begin = header.head_begin,
                    .head_end = header.head_end};
  codec_ = static_cast<ContainerCodec>(header.codec);
  planes_per_layer_ = header.planes_per_layer;
}

const ContainerTocEntry& ContainerView::Entry(uint32_t layer, uint32_t plane,
                                              uint32_t level) const {
  const size_t layers = identity_.part.layer_end - identity_.part.layer_begin;
  const size_t row = level * layers + (layer - identity_.part.layer_begin);
  return entries_[row * planes_per_layer_ + plane];
}

std::span<const uint8_t> ContainerView::PlaneBytes(uint32_t layer, uint32_t plane,
                                                   uint32_t level) const {
  const ContainerTocEntry& entry = Entry(layer, plane, level);
  return bytes_.subspan(entry.offset, entry.stored_bytes);
}

absl::Status ContainerView::CheckIdentity(const Manifest& manifest, const SpaceId& space,
                                          std::span<const uint8_t> key, const Part& part) const {
  RETURN_IF_ERROR(manifest.ValidatePart(part));
  if (key.empty() || key.size() > kContainerKeyBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat("key has ", key.size(), " bytes, must be 1 to ", kContainerKeyBytesMax));
  }
  if (identity_.space != space) {
    return Malformed(
        absl::StrCat("space is ", ToString(identity_.space), ", wanted ", ToString(space)));
  }
  if (!std::equal(identity_.key.begin(), identity_.key.end(), key.begin(), key.end())) {
    return Malformed("key is not the one that was asked for");
  }
  if (identity_.part != part) {
    return Malformed(
        absl::StrCat("part is ", ToString(identity_.part), ", wanted ", ToString(part)));
  }
  return CheckManifest(manifest);
}

absl::Status ContainerView::CheckManifest(const Manifest& manifest) const {
  if (const ManifestId id = manifest.Id(); identity_.manifest != id) {
    return Malformed(
        absl::StrCat("manifest is ", ToString(identity_.manifest), ", wanted ", ToString(id)));
  }
  if (const absl::Status status = manifest.ValidatePart(identity_.part); !status.ok()) {
    return Malformed(status.message());
  }
  if (planes_per_layer_ != manifest.PlanesPerLayer()) {
    return Malformed(absl::StrCat("planes per layer is ", planes_per_layer_, ", the manifest has ",
                                  manifest.PlanesPerLayer()));
  }
  // Every entry has the length of the first: Parse has seen to it.
  if (const uint64_t plane_bytes = manifest.PlaneBytes(identity_.part);
      entries_[0].raw_bytes != plane_bytes) {
    return Malformed(absl::StrCat("plane length is ", entries_[0].raw_bytes,
                                  ", by the manifest it is ", plane_bytes));
  }
  if (identity_.token_count > manifest.tokens_per_chunk) {
    return Malformed(absl::StrCat("token count is ", identity_.token_count, ", the manifest has ",
                                  manifest.tokens_per_chunk));
  }
  return absl::OkStatus();
}

absl::Status ContainerView::VerifyBodies(size_t begin, size_t end) const {
  const uint32_t layers = identity_.part.layer_end - identity_.part.layer_begin;
  for (size_t i = begin; i < end; ++i) {
    const ContainerTocEntry& entry = entries_[i];
    const auto name = [&] {
      const auto row = static_cast<uint32_t>(i / planes_per_layer_);
      return PlaneName(identity_.part.layer_begin + row % layers,
                       static_cast<uint32_t>(i % planes_per_layer_), row / layers);
    };
    if (const uint32_t crc = Crc32c(bytes_.subspan(entry.offset, entry.stored_bytes));
        crc != entry.crc32c) {
      return Malformed(
          absl::StrCat(name(), " has CRC32C ", crc, ", the table of contents says ", entry.crc32c));
    }
    const uint64_t plane_end = entry.offset + entry.stored_bytes;
    if (!IsZero(bytes_.subspan(plane_end, AlignToPlane(plane_end) - plane_end))) {
      return Malformed(
          absl::StrCat("padding after ", name(), " at offset ", plane_end, " is not zero"));
    }
  }
  return absl::OkStatus();
}

}  // namespace larder
