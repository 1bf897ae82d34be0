#include "kernels/format/coded_container.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "common/byte_order.h"
#include "common/crc32c.h"
#include "common/hash.h"
#include "common/status.h"
#include "kernels/codec/cachegen/cachegen_codec.h"
#include "kernels/codec/cpu_path.h"
#include "kernels/codec/kivi/kivi_codec.h"
#include "kernels/codec/larder/larder_codec.h"
#include "kernels/codec/larder/larder_format.h"
#include "kernels/codec/lossless/lossless_codec.h"
#include "kernels/codec/raw_codec.h"
#include "kernels/format/container_parts.h"

namespace larder {
namespace {

// The enumerations are numbered alike, so that one cast translates them.
static_assert(static_cast<int>(ContainerCodec::kKivi) == static_cast<int>(CodecId::kKivi));
static_assert(static_cast<int>(ContainerCodec::kLarder) == static_cast<int>(CodecId::kLarder));
static_assert(static_cast<int>(ElementType::kFloat8E5M2) ==
              static_cast<int>(CodecElement::kFloat8E5M2));

constexpr uint32_t kKiviBits = 4;

absl::Status ToStatus(const CodecStatus& status, absl::string_view what) {
  if (status.ok()) return absl::OkStatus();
  const std::string text = absl::StrCat(what, ": ", status.text);
  if (status.code == CodecCode::kCorrupt) {
    return absl::DataLossError(absl::StrCat("container: ", text, " at offset ", status.offset));
  }
  return absl::InvalidArgumentError(text);
}

std::string PlaneName(uint32_t layer, uint32_t plane) {
  return absl::StrCat("layer ", layer, " plane ", plane);
}

// INVALID_ARGUMENT when the codec has no planes like that.
absl::StatusOr<PlaneGeometry> GeometryFor(const Codec& codec, const Manifest& manifest,
                                          const Part& part, uint32_t token_count) {
  if (manifest.kind == CacheKind::kRecurrent) {
    return absl::InvalidArgumentError("recurrent states are stored raw");
  }
  const PlaneGeometry geometry{.element = static_cast<CodecElement>(manifest.element_type),
                               .heads = uint32_t{part.head_end} - part.head_begin,
                               .tokens = manifest.tokens_per_chunk,
                               .filled_tokens = token_count,
                               .head_dim = manifest.head_dim};
  RETURN_IF_ERROR(
      ToStatus(codec.Check(geometry), ContainerCodecName(static_cast<ContainerCodec>(codec.id()))));
  return geometry;
}

PlanePlace PlaceOf(const Manifest& manifest, const ChunkIdentity& identity, uint32_t layer,
                   uint32_t plane) {
  return {.layer = layer,
          .kind = manifest.kind == CacheKind::kLatent ? PlaneKind::kLatent
                  : plane == 0                        ? PlaneKind::kKey
                                                      : PlaneKind::kValue,
          .head_begin = identity.part.head_begin,
          .first_token = uint64_t{identity.depth} * manifest.tokens_per_chunk};
}

// The next `plane.size()` bytes of the payload.
void Gather(std::span<uint8_t> plane, SegmentCursor<ConstSegment>& source) {
  while (!plane.empty()) {
    const ConstSegment piece = source.Take(plane.size());
    std::memcpy(plane.data(), piece.data, piece.size);
    plane = plane.subspan(piece.size);
  }
}

void Scatter(std::span<const uint8_t> bytes, SegmentCursor<Segment>& destination) {
  while (!bytes.empty()) {
    const Segment piece = destination.Take(bytes.size());
    std::memcpy(piece.data, bytes.data(), piece.size);
    bytes = bytes.subspan(piece.size);
  }
}

// The codec that reads the container. A damaged profile id is left to whoever sums the run.
absl::StatusOr<const Codec*> ReaderOf(const ContainerCodecs& codecs, const ContainerView& view,
                                      uint32_t layer) {
  const Codec& writer = codecs.Get(view.codec());
  const std::span<const uint8_t> run = view.PlaneBytes(layer, 0);
  LarderRunHeader header;
  if (view.codec() != ContainerCodec::kLarder || run.size() < sizeof header) return &writer;
  std::memcpy(&header, run.data(), sizeof header);
  if (const Codec* reader = codecs.FindLarder(header.profile)) return reader;
  if (Crc32c(run) != view.Entry(layer, 0).crc32c) return &writer;
  const absl::string_view id(reinterpret_cast<const char*>(header.profile.data()),
                             header.profile.size());
  return absl::FailedPreconditionError(absl::StrCat(
      "stored with profile ", absl::BytesToHexString(id), ", which this reader does not have"));
}

// Header and table of contents before the runs, which are in the order level, layer, plane.
std::vector<uint8_t> Assemble(const Manifest& manifest, const ChunkIdentity& identity,
                              ContainerCodec codec, uint32_t levels,
                              std::span<const std::vector<uint8_t>> runs) {
  std::vector<ContainerTocEntry> toc;
  uint64_t offset = ContainerBodyOffset(static_cast<uint32_t>(runs.size()));
  for (const std::vector<uint8_t>& run : runs) {
    toc.push_back({.offset = offset,
                   .stored_bytes = run.size(),
                   .raw_bytes = manifest.PlaneBytes(identity.part),
                   .crc32c = Crc32c(run),
                   .reserved = 0});
    offset = AlignToPlane(offset + run.size());
  }
  std::vector<uint8_t> container(offset);
  for (size_t i = 0; i < runs.size(); ++i) {
    std::copy(runs[i].begin(), runs[i].end(),
              container.begin() + static_cast<ptrdiff_t>(toc[i].offset));
  }
  std::memcpy(&container[sizeof(ContainerHeader)], toc.data(), toc.size() * sizeof(toc[0]));
  const ContainerHeader header =
      MakeContainerHeader(manifest, identity, codec, levels, toc, container.size());
  std::memcpy(container.data(), &header, sizeof header);
  return container;
}

// What is read of a container, all of it checked.
struct Reading {
  const Codec* codec = nullptr;
  PlaneGeometry geometry;
  PlaneRange range;
  uint32_t levels = 0;
};

// REQUIRES: CheckContainerPart is OK.
absl::StatusOr<Reading> PlanReading(const ContainerCodecs& codecs, const ContainerView& view,
                                    const Manifest& manifest, const Part& wanted, uint32_t levels) {
  const ChunkIdentity& identity = view.identity();
  ASSIGN_OR_RETURN(const Codec* codec, ReaderOf(codecs, view, wanted.layer_begin));
  const absl::StatusOr<PlaneGeometry> stored =
      GeometryFor(*codec, manifest, identity.part, identity.token_count);
  if (!stored.ok()) {
    return absl::DataLossError(absl::StrCat("container: ", stored.status().message()));
  }
  Reading reading = {
      .codec = codec,
      .geometry = *stored,
      .range = PlaneRange::Whole(*stored),
      .levels = levels == 0 ? view.level_count() : std::min(levels, view.level_count())};
  reading.range.head_begin = wanted.head_begin - identity.part.head_begin;
  reading.range.head_end = wanted.head_end - identity.part.head_begin;
  return reading;
}

absl::StatusOr<Reading> PlanTokenReading(const ContainerCodecs& codecs, const ContainerView& view,
                                         const Manifest& manifest, const Part& wanted,
                                         const TokenRange& tokens, uint32_t levels) {
  RETURN_IF_ERROR(CheckContainerPart(view, manifest, wanted));
  ASSIGN_OR_RETURN(Reading reading, PlanReading(codecs, view, manifest, wanted, levels));
  reading.range.token_begin = tokens.begin;
  reading.range.token_end = tokens.end;
  RETURN_IF_ERROR(ToStatus(reading.range.Validate(reading.geometry), "range"));
  return reading;
}

// Decodes the planes of one container; owns the memory for that. Only copies are decoded: whoever
// maps the container may rewrite it meanwhile.
class PlaneReader {
 public:
  PlaneReader(const ContainerView& view, const Reading& reading)
      : view_(view), reading_(reading), decoded_(reading.range.Bytes(reading.geometry)) {}

  // Copies a plane and sums it in one pass, then decodes what the reading's range names.
  absl::StatusOr<std::span<const uint8_t>> Read(const PlanePlace& place, uint32_t plane) {
    for (uint32_t level = 0; level < reading_.levels; ++level) {
      const std::span<const uint8_t> stored = view_.PlaneBytes(place.layer, plane, level);
      copies_[level].resize(stored.size());
      const uint32_t crc = CopyAndCrc32c(copies_[level].data(), stored, 0);
      if (const uint32_t expected = view_.Entry(place.layer, plane, level).crc32c;
          crc != expected) {
        return absl::DataLossError(absl::StrCat("container: ", PlaneName(place.layer, plane),
                                                " level ", level, " has CRC32C ", crc,
                                                ", the table of contents says ", expected));
      }
    }
    return Decode(place, plane);
  }

  // The same, but copies only what decoding needs.
  absl::StatusOr<std::span<const uint8_t>> ReadNeeded(const PlanePlace& place, uint32_t plane) {
    for (uint32_t level = 0; level < reading_.levels; ++level) {
      copies_[level].resize(view_.PlaneBytes(place.layer, plane, level).size());
    }
    for (uint32_t step = 0; step < kNeededSteps; ++step) {
      std::vector<LevelRange> needed;
      RETURN_IF_ERROR(ToStatus(reading_.codec->FindNeeded(reading_.geometry, place, Copies(),
                                                          reading_.range, step, needed),
                               PlaneName(place.layer, plane)));
      for (const LevelRange& bytes : needed) {
        std::memcpy(&copies_[bytes.level][bytes.begin],
                    &view_.PlaneBytes(place.layer, plane, bytes.level)[bytes.begin],
                    bytes.end - bytes.begin);
      }
    }
    return Decode(place, plane);
  }

 private:
  std::vector<std::span<const uint8_t>> Copies() const {
    return {copies_.begin(), copies_.begin() + reading_.levels};
  }

  absl::StatusOr<std::span<const uint8_t>> Decode(const PlanePlace& place, uint32_t plane) {
    RETURN_IF_ERROR(ToStatus(reading_.codec->DecodePlane(reading_.geometry, place, Copies(),
                                                         reading_.range, decoded_, scratch_),
                             PlaneName(place.layer, plane)));
    return std::span<const uint8_t>(decoded_);
  }

  const ContainerView& view_;
  const Reading& reading_;
  std::array<std::vector<uint8_t>, kCodecLevelsMax> copies_;
  std::vector<uint8_t> decoded_;
  CodecScratch scratch_;
};

}  // namespace

absl::StatusOr<ProfilePointer> ParseProfile(std::span<const uint8_t> bytes) {
  const Hash128 hash = HashBytes(bytes);
  ProfileId id;
  StoreLittleEndian(id.data(), hash.low);
  StoreLittleEndian(id.data() + sizeof hash.low, hash.high);
  ProfilePointer profile;
  if (const CodecStatus status = LarderProfile::Parse(bytes, id, profile); !status.ok()) {
    return absl::DataLossError(absl::StrCat("profile: ", status.text, " at byte ", status.offset));
  }
  return profile;
}

ContainerCodecs::ContainerCodecs(ProfilePointer profile, std::span<const ProfilePointer> others,
                                 uint32_t split_tokens) {
  const CpuPath path = BestCpuPath();
  const ProfilePointer generic = LarderProfile::Generic();
  if (profile == nullptr) profile = generic;
  const auto add_reader = [&](const ProfilePointer& known) {
    larder_readers_.emplace_back(known->id(), MakeLarderCodec(known, path));
  };
  add_reader(profile);
  add_reader(generic);
  for (const ProfilePointer& other : others) add_reader(other);
  codecs_.push_back(MakeRawCodec());
  codecs_.push_back(MakeLosslessCodec(path));
  codecs_.push_back(MakeLarderCodec(std::move(profile), path, split_tokens));
  codecs_.push_back(MakeCachegenCodec());
  codecs_.push_back(MakeKiviCodec(kKiviBits));
}

const Codec* ContainerCodecs::FindLarder(const ProfileId& profile) const {
  for (const auto& [id, codec] : larder_readers_) {
    if (id == profile) return codec.get();
  }
  return nullptr;
}

absl::Status CheckCodec(const ContainerCodecs& codecs, ContainerCodec codec,
                        const Manifest& manifest) {
  if (codec == ContainerCodec::kRaw) return absl::OkStatus();
  return GeometryFor(codecs.Get(codec), manifest, manifest.WholePart(), manifest.tokens_per_chunk)
      .status();
}

absl::StatusOr<std::vector<uint8_t>> EncodeContainer(const ContainerCodecs& codecs,
                                                     ContainerCodec codec_id, uint32_t levels,
                                                     const Manifest& manifest,
                                                     const ChunkIdentity& identity,
                                                     std::span<const ConstSegment> payload) {
  RETURN_IF_ERROR(CheckContainerWrite(manifest, identity));
  RETURN_IF_ERROR(CheckSegments(payload, manifest.PayloadBytes(identity.part)));
  const Codec& codec = codecs.Get(codec_id);
  levels = levels == 0 ? codec.level_count() : std::min(levels, codec.level_count());
  ASSIGN_OR_RETURN(const PlaneGeometry geometry,
                   GeometryFor(codec, manifest, identity.part, identity.token_count));

  const uint32_t plane_count = ContainerPlaneCount(manifest, identity.part);
  std::vector<std::vector<uint8_t>> runs(size_t{levels} * plane_count);
  std::vector<uint8_t> plane_bytes(geometry.PlaneBytes());
  std::array<std::vector<uint8_t>, kCodecLevelsMax> rooms;
  for (uint32_t level = 0; level < levels; ++level) {
    rooms[level].resize(codec.LevelBytesMax(geometry, level));
  }
  SegmentCursor<ConstSegment> source(payload);
  CodecScratch scratch;
  for (uint32_t i = 0; i < plane_count; ++i) {
    const uint32_t layer = identity.part.layer_begin + i / manifest.PlanesPerLayer();
    const uint32_t plane = i % manifest.PlanesPerLayer();
    Gather(plane_bytes, source);
    std::array<LevelOutput, kCodecLevelsMax> outputs;
    for (uint32_t level = 0; level < levels; ++level) outputs[level].room = rooms[level];
    RETURN_IF_ERROR(
        ToStatus(codec.EncodePlane(geometry, PlaceOf(manifest, identity, layer, plane), plane_bytes,
                                   std::span(outputs).first(levels), scratch),
                 PlaneName(layer, plane)));
    for (uint32_t level = 0; level < levels; ++level) {
      const auto run = outputs[level].room.first(outputs[level].bytes);
      runs[size_t{level} * plane_count + i].assign(run.begin(), run.end());
    }
  }
  return Assemble(manifest, identity, codec_id, levels, runs);
}

absl::Status ReadContainer(const ContainerCodecs& codecs, const ContainerView& view,
                           const Manifest& manifest, const Part& wanted, uint32_t levels,
                           std::span<const Segment> destination, const LayerCallback& on_layer) {
  if (view.codec() == ContainerCodec::kRaw) {
    return ReadRawContainer(view, manifest, wanted, destination, on_layer);
  }
  RETURN_IF_ERROR(CheckContainerRead(view, manifest, wanted, destination));
  ASSIGN_OR_RETURN(const Reading reading, PlanReading(codecs, view, manifest, wanted, levels));
  PlaneReader reader(view, reading);
  SegmentCursor<Segment> cursor(destination);
  for (uint16_t layer = wanted.layer_begin; layer < wanted.layer_end; ++layer) {
    for (uint32_t plane = 0; plane < view.planes_per_layer(); ++plane) {
      ASSIGN_OR_RETURN(const std::span<const uint8_t> decoded,
                       reader.Read(PlaceOf(manifest, view.identity(), layer, plane), plane));
      Scatter(decoded, cursor);
    }
    if (on_layer) on_layer(layer);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ContainerRange>> FindContainerTokens(
    const ContainerCodecs& codecs, const ContainerView& view, const Manifest& manifest,
    const Part& wanted, const TokenRange& tokens, uint32_t levels, uint32_t step) {
  ASSIGN_OR_RETURN(const Reading reading,
                   PlanTokenReading(codecs, view, manifest, wanted, tokens, levels));
  std::vector<ContainerRange> ranges;
  for (uint32_t layer = wanted.layer_begin; layer < wanted.layer_end; ++layer) {
    for (uint32_t plane = 0; plane < view.planes_per_layer(); ++plane) {
      std::vector<std::span<const uint8_t>> runs;
      for (uint32_t level = 0; level < reading.levels; ++level) {
        runs.push_back(view.PlaneBytes(layer, plane, level));
      }
      std::vector<LevelRange> needed;
      RETURN_IF_ERROR(
          ToStatus(reading.codec->FindNeeded(reading.geometry,
                                             PlaceOf(manifest, view.identity(), layer, plane), runs,
                                             reading.range, step, needed),
                   PlaneName(layer, plane)));
      for (const LevelRange& bytes : needed) {
        const uint64_t offset = view.Entry(layer, plane, bytes.level).offset;
        ranges.push_back({offset + bytes.begin, offset + bytes.end});
      }
    }
  }
  return ranges;
}

absl::Status ReadContainerTokens(const ContainerCodecs& codecs, const ContainerView& view,
                                 const Manifest& manifest, const Part& wanted,
                                 const TokenRange& tokens, uint32_t levels,
                                 std::span<const Segment> destination) {
  ASSIGN_OR_RETURN(const Reading reading,
                   PlanTokenReading(codecs, view, manifest, wanted, tokens, levels));
  const uint64_t planes = ContainerPlaneCount(manifest, wanted);
  RETURN_IF_ERROR(CheckSegments(destination, planes * reading.range.Bytes(reading.geometry)));
  PlaneReader reader(view, reading);
  SegmentCursor<Segment> cursor(destination);
  for (uint32_t layer = wanted.layer_begin; layer < wanted.layer_end; ++layer) {
    for (uint32_t plane = 0; plane < view.planes_per_layer(); ++plane) {
      ASSIGN_OR_RETURN(const std::span<const uint8_t> decoded,
                       reader.ReadNeeded(PlaceOf(manifest, view.identity(), layer, plane), plane));
      Scatter(decoded, cursor);
    }
  }
  return absl::OkStatus();
}

}  // namespace larder
