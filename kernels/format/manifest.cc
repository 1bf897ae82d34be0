#include "kernels/format/manifest.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/byte_order.h"
#include "common/hash.h"
#include "common/status.h"
#include "kernels/format/container_codec.h"
#include "kernels/format/manifest_format.h"

namespace larder {
namespace {

// The strings in the order in which they are serialised; a const and a mutable manifest alike.
template <typename ManifestType>
auto StringsOf(ManifestType& manifest) {
  return std::array{&manifest.model, &manifest.revision, &manifest.quantisation, &manifest.rope,
                    &manifest.hash_scheme};
}
constexpr std::array<absl::string_view, kManifestStringCount> kStringNames = {
    "model", "revision", "quantisation", "rope", "hash_scheme"};

absl::Status Invalid(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("manifest: ", what));
}

absl::Status CheckString(absl::string_view name, absl::string_view value) {
  if (value.size() > kManifestStringBytesMax) {
    return Invalid(absl::StrCat(name, " has ", value.size(), " bytes, the limit is ",
                                kManifestStringBytesMax));
  }
  const auto is_printable = [](char c) { return c >= 0x20 && c <= 0x7e; };
  const auto bad = std::find_if_not(value.begin(), value.end(), is_printable);
  if (bad != value.end()) {
    return Invalid(absl::StrCat(name, " has an unprintable byte at offset ", bad - value.begin()));
  }
  return absl::OkStatus();
}

absl::Status CheckRange(absl::string_view name, uint32_t value, uint32_t value_max) {
  if (value >= 1 && value <= value_max) return absl::OkStatus();
  return Invalid(absl::StrCat(name, " is ", value, ", must be 1 to ", value_max));
}

absl::Status CheckPartRange(absl::string_view name, uint32_t begin, uint32_t end, uint32_t limit) {
  if (begin < end && end <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("part: ", name, " range [", begin, ", ", end,
                                                 ") is not a non-empty slice of [0, ", limit, ")"));
}

// All levels are written as 0, so that each form has one name.
absl::Status CheckForm(ContainerCodec codec, uint32_t levels) {
  const uint32_t levels_max = LevelsMax(codec);
  if (levels_max == 0)
    return Invalid(absl::StrCat("codec ", static_cast<int>(codec), " is unknown"));
  if (levels < levels_max) return absl::OkStatus();
  return Invalid(absl::StrCat("levels is ", levels, ", must be below the ", levels_max,
                              " of codec ", ContainerCodecName(codec), ", or 0 for all of them"));
}

// What is too large for the byte is so as well when it is read again.
uint8_t ToByte(uint32_t value) {
  return static_cast<uint8_t>(std::min<uint32_t>(value, UINT8_MAX));
}

ManifestFixedFields FixedFieldsOf(const Manifest& manifest) {
  const bool raw = manifest.codec == ContainerCodec::kRaw && manifest.levels == 0;
  return {.magic = kManifestMagic,
          .format_version = raw ? kManifestVersionRaw : kManifestVersionCoded,
          .reserved = 0,
          .layout_version = manifest.layout_version,
          .layers = manifest.layers,
          .heads = manifest.heads,
          .head_dim = manifest.head_dim,
          .tokens_per_chunk = manifest.tokens_per_chunk,
          .element_type = static_cast<uint8_t>(manifest.element_type),
          .kind = static_cast<uint8_t>(manifest.kind),
          .codec = raw ? uint8_t{0} : ToByte(static_cast<uint32_t>(manifest.codec)),
          .levels = ToByte(manifest.levels),
          .hash_seed = manifest.hash_seed};
}

absl::Status ReadFixedFields(ByteReader& reader, Manifest& manifest) {
  const std::span<const uint8_t> bytes = reader.ReadBytes(sizeof(ManifestFixedFields));
  if (!reader.ok()) return Invalid("truncated before the strings");
  ManifestFixedFields fields;
  std::memcpy(&fields, bytes.data(), sizeof fields);
  if (fields.magic != kManifestMagic) return Invalid("magic at offset 0 is not LMAN");
  const bool coded = fields.format_version == kManifestVersionCoded;
  if (fields.format_version != kManifestVersionRaw && !coded) {
    return Invalid(absl::StrCat("format version ", fields.format_version,
                                ", this reader knows versions ", kManifestVersionRaw, " and ",
                                kManifestVersionCoded));
  }
  if (fields.reserved != 0) return Invalid("reserved bytes at offset 6 are not zero");
  if (!coded && (fields.codec != 0 || fields.levels != 0)) {
    return Invalid("reserved bytes at offset 30 are not zero");
  }
  if (coded && fields.codec == static_cast<uint8_t>(ContainerCodec::kRaw)) {
    return Invalid("codec raw at offset 30 is not for version 2");
  }
  manifest.layout_version = fields.layout_version;
  manifest.layers = fields.layers;
  manifest.heads = fields.heads;
  manifest.head_dim = fields.head_dim;
  manifest.tokens_per_chunk = fields.tokens_per_chunk;
  manifest.element_type = static_cast<ElementType>(fields.element_type);
  manifest.kind = static_cast<CacheKind>(fields.kind);
  manifest.hash_seed = fields.hash_seed;
  if (coded) manifest.codec = static_cast<ContainerCodec>(fields.codec);
  manifest.levels = fields.levels;
  return absl::OkStatus();
}

absl::Status ReadStrings(ByteReader& reader, Manifest& manifest) {
  const auto strings = StringsOf(manifest);
  for (size_t i = 0; i < strings.size(); ++i) {
    const uint32_t size = reader.Read<uint32_t>();
    if (!reader.ok()) return Invalid(absl::StrCat("truncated at the length of ", kStringNames[i]));
    if (size > kManifestStringBytesMax) {
      return Invalid(absl::StrCat(kStringNames[i], " has ", size, " bytes, the limit is ",
                                  kManifestStringBytesMax));
    }
    const std::span<const uint8_t> bytes = reader.ReadBytes(size);
    if (!reader.ok()) return Invalid(absl::StrCat("truncated inside ", kStringNames[i]));
    strings[i]->assign(bytes.begin(), bytes.end());
  }
  return absl::OkStatus();
}

}  // namespace

size_t ElementBytes(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return 4;
    case ElementType::kBfloat16:
    case ElementType::kFloat16:
      return 2;
    case ElementType::kFloat8E4M3:
    case ElementType::kFloat8E5M2:
    case ElementType::kInt8:
      return 1;
  }
  return 0;
}

absl::string_view ElementTypeName(ElementType type) {
  switch (type) {
    case ElementType::kBfloat16:
      return "bfloat16";
    case ElementType::kFloat16:
      return "float16";
    case ElementType::kFloat32:
      return "float32";
    case ElementType::kFloat8E4M3:
      return "float8_e4m3";
    case ElementType::kFloat8E5M2:
      return "float8_e5m2";
    case ElementType::kInt8:
      return "int8";
  }
  return "unknown";
}

absl::string_view CacheKindName(CacheKind kind) {
  switch (kind) {
    case CacheKind::kKeyValue:
      return "key_value";
    case CacheKind::kLatent:
      return "latent";
    case CacheKind::kRecurrent:
      return "recurrent";
  }
  return "unknown";
}

bool Part::Contains(const Part& inner) const {
  return layer_begin <= inner.layer_begin && inner.layer_end <= layer_end &&
         head_begin <= inner.head_begin && inner.head_end <= head_end;
}

std::string ToString(const Part& part) {
  return absl::StrCat("layers [", part.layer_begin, ", ", part.layer_end, ") x heads [",
                      part.head_begin, ", ", part.head_end, ")");
}

absl::Status Manifest::Validate() const {
  const auto strings = StringsOf(*this);
  for (size_t i = 0; i < strings.size(); ++i) {
    RETURN_IF_ERROR(CheckString(kStringNames[i], *strings[i]));
  }
  if (model.empty()) return Invalid("model is empty");
  if (ElementBytes(element_type) == 0) {
    return Invalid(absl::StrCat("element_type ", static_cast<int>(element_type), " is unknown"));
  }
  if (kind != CacheKind::kKeyValue && kind != CacheKind::kLatent && kind != CacheKind::kRecurrent) {
    return Invalid(absl::StrCat("kind ", static_cast<int>(kind), " is unknown"));
  }
  RETURN_IF_ERROR(CheckRange("layers", layers, kLayersMax));
  RETURN_IF_ERROR(CheckRange("heads", heads, kHeadsMax));
  RETURN_IF_ERROR(CheckRange("head_dim", head_dim, kHeadDimMax));
  RETURN_IF_ERROR(CheckRange("tokens_per_chunk", tokens_per_chunk, kTokensPerChunkMax));
  if (layout_version != kLayoutVersion) {
    return Invalid(
        absl::StrCat("layout_version is ", layout_version, ", only ", kLayoutVersion, " is known"));
  }
  RETURN_IF_ERROR(CheckForm(codec, levels));
  if (const uint64_t payload = PayloadBytes(WholePart()); payload > kChunkPayloadBytesMax) {
    return Invalid(
        absl::StrCat("a chunk has ", payload, " bytes, the limit is ", kChunkPayloadBytesMax));
  }
  return absl::OkStatus();
}

absl::Status Manifest::ValidatePart(const Part& part) const {
  RETURN_IF_ERROR(CheckPartRange("layer", part.layer_begin, part.layer_end, layers));
  return CheckPartRange("head", part.head_begin, part.head_end, heads);
}

std::vector<uint8_t> Manifest::Serialize() const {
  const auto strings = StringsOf(*this);
  size_t size = sizeof(ManifestFixedFields);
  for (const std::string* value : strings) size += sizeof(uint32_t) + value->size();
  std::vector<uint8_t> bytes(size);

  const ManifestFixedFields fields = FixedFieldsOf(*this);
  std::memcpy(bytes.data(), &fields, sizeof fields);
  uint8_t* next = bytes.data() + sizeof fields;
  for (const std::string* value : strings) {
    StoreLittleEndian(next, static_cast<uint32_t>(value->size()));
    std::memcpy(next + sizeof(uint32_t), value->data(), value->size());
    next += sizeof(uint32_t) + value->size();
  }
  return bytes;
}

absl::StatusOr<Manifest> Manifest::Parse(std::span<const uint8_t> bytes) {
  Manifest manifest;
  ByteReader reader(bytes);
  RETURN_IF_ERROR(ReadFixedFields(reader, manifest));
  RETURN_IF_ERROR(ReadStrings(reader, manifest));
  if (reader.remaining() != 0) {
    return Invalid(absl::StrCat(reader.remaining(), " bytes after its end"));
  }
  RETURN_IF_ERROR(manifest.Validate());
  return manifest;
}

ManifestId Manifest::Id() const {
  const Hash128 hash = HashBytes(Serialize());
  return {hash.low, hash.high};
}

uint32_t Manifest::PlanesPerLayer() const { return kind == CacheKind::kKeyValue ? 2 : 1; }

uint64_t Manifest::HeadBytes() const {
  const uint64_t tokens = kind == CacheKind::kRecurrent ? 1 : tokens_per_chunk;
  return tokens * head_dim * ElementBytes(element_type);
}

uint64_t Manifest::PlaneBytes(const Part& part) const {
  if (part.head_end <= part.head_begin) return 0;
  return static_cast<uint64_t>(part.head_end - part.head_begin) * HeadBytes();
}

uint64_t Manifest::PayloadBytes(const Part& part) const {
  if (part.layer_end <= part.layer_begin) return 0;
  return static_cast<uint64_t>(part.layer_end - part.layer_begin) * PlanesPerLayer() *
         PlaneBytes(part);
}

Part Manifest::WholePart() const {
  return {.layer_begin = 0,
          .layer_end = static_cast<uint16_t>(layers),
          .head_begin = 0,
          .head_end = static_cast<uint16_t>(heads)};
}

std::string DescribeDifference(const Manifest& a, const Manifest& b) {
  std::vector<std::string> differences;
  const auto compare = [&differences](absl::string_view name, auto left, auto right) {
    if (left != right) differences.push_back(absl::StrCat(name, ": ", left, " and ", right));
  };
  const auto strings_a = StringsOf(a);
  const auto strings_b = StringsOf(b);
  for (size_t i = 0; i < strings_a.size(); ++i) {
    // Escaped, since a manifest that failed validation may be shown here too.
    compare(kStringNames[i], absl::StrCat("\"", absl::CHexEscape(*strings_a[i]), "\""),
            absl::StrCat("\"", absl::CHexEscape(*strings_b[i]), "\""));
  }
  compare("hash_seed", a.hash_seed, b.hash_seed);
  compare("element_type", ElementTypeName(a.element_type), ElementTypeName(b.element_type));
  compare("kind", CacheKindName(a.kind), CacheKindName(b.kind));
  compare("layers", a.layers, b.layers);
  compare("heads", a.heads, b.heads);
  compare("head_dim", a.head_dim, b.head_dim);
  compare("tokens_per_chunk", a.tokens_per_chunk, b.tokens_per_chunk);
  compare("layout_version", a.layout_version, b.layout_version);
  compare("codec", ContainerCodecName(a.codec), ContainerCodecName(b.codec));
  compare("levels", a.levels, b.levels);
  return absl::StrJoin(differences, "; ");
}

SpaceId ComputeSpaceId(absl::string_view tenant, const ManifestId& manifest,
                       absl::string_view salt) {
  ByteWriter writer;
  const auto write_string = [&writer](absl::string_view value) {
    writer.Write(static_cast<uint64_t>(value.size()));
    writer.WriteBytes({reinterpret_cast<const uint8_t*>(value.data()), value.size()});
  };
  write_string(tenant);
  writer.Write(manifest.low);
  writer.Write(manifest.high);
  write_string(salt);
  const Sha256Digest digest = Sha256(writer.bytes());
  return {LoadLittleEndian<uint64_t>(digest.data()), LoadLittleEndian<uint64_t>(&digest[8])};
}

}  // namespace larder
