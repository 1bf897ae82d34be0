#include "daemon/rpc/messages.h"

#include "absl/strings/str_cat.h"
#include "common/hash.h"
#include "daemon/node/utf8.h"
#include "kernels/format/container_codec.h"
#include "transport/local/message_format.h"

namespace larder {
namespace {

// The enumerations are numbered alike, so that one cast translates them.
static_assert(v1::ELEMENT_TYPE_INT8 == static_cast<int>(ElementType::kInt8));
static_assert(v1::ELEMENT_TYPE_BFLOAT16 == static_cast<int>(ElementType::kBfloat16));
static_assert(v1::CACHE_KIND_RECURRENT == static_cast<int>(CacheKind::kRecurrent));
static_assert(v1::CACHE_KIND_KEY_VALUE == static_cast<int>(CacheKind::kKeyValue));
static_assert(v1::CODEC_RAW == static_cast<int>(ContainerCodec::kRaw));
static_assert(v1::CODEC_KIVI == static_cast<int>(ContainerCodec::kKivi));
static_assert(v1::REMOVAL_CAUSE_DEMOTED == static_cast<int>(RemovalCause::kDemoted) + 1);
static_assert(v1::REMOVAL_CAUSE_QUOTA == static_cast<int>(RemovalCause::kQuota) + 1);
static_assert(v1::REMOVAL_CAUSE_CAPACITY == static_cast<int>(RemovalCause::kCapacity) + 1);

absl::Status Invalid(absl::string_view field, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", what));
}

absl::StatusOr<Manifest> ParseManifest(const v1::Manifest& message) {
  constexpr absl::string_view kField = "description.manifest";
  // Checked here and not by Validate alone: a cast to a byte would hide what lies beyond.
  if (!v1::ElementType_IsValid(message.element_type()) ||
      message.element_type() == v1::ELEMENT_TYPE_UNSPECIFIED) {
    return Invalid(absl::StrCat(kField, ".element_type"), "is missing or unknown");
  }
  if (!v1::CacheKind_IsValid(message.kind()) || message.kind() == v1::CACHE_KIND_UNSPECIFIED) {
    return Invalid(absl::StrCat(kField, ".kind"), "is missing or unknown");
  }
  Manifest manifest{.model = message.model(),
                    .revision = message.revision(),
                    .quantisation = message.quantisation(),
                    .rope = message.rope(),
                    .hash_scheme = message.hash_scheme(),
                    .hash_seed = message.hash_seed(),
                    .element_type = static_cast<ElementType>(message.element_type()),
                    .kind = static_cast<CacheKind>(message.kind()),
                    .layers = message.layers(),
                    .heads = message.heads(),
                    .head_dim = message.head_dim(),
                    .tokens_per_chunk = message.tokens_per_chunk()};
  if (message.layout_version() != 0) manifest.layout_version = message.layout_version();
  ASSIGN_OR_RETURN(manifest.codec, ParseCodec(absl::StrCat(kField, ".codec"), message.codec(),
                                              ContainerCodec::kRaw));
  manifest.levels = message.levels();
  RETURN_IF_ERROR(Annotate(manifest.Validate(), kField));
  return manifest;
}

}  // namespace

absl::StatusOr<SpaceId> ParseSpaceId(absl::string_view field, absl::string_view hex) {
  SpaceId id;
  RETURN_IF_ERROR(Annotate(ParseHex128(hex, &id.high, &id.low), field));
  return id;
}

absl::StatusOr<KeyHash> ParseKeyHash(absl::string_view field, absl::string_view hex) {
  KeyHash hash;
  RETURN_IF_ERROR(Annotate(ParseHex128(hex, &hash.high, &hash.low), field));
  if (hash.IsZero()) return Invalid(field, "the zero hash names no chunk");
  return hash;
}

absl::StatusOr<ChunkKey> ParseKey(absl::string_view field, absl::string_view key) {
  if (key.empty() || key.size() > kContainerKeyBytesMax) {
    return Invalid(field, absl::StrCat("a key has 1 to ", kContainerKeyBytesMax,
                                       " bytes, this one ", key.size()));
  }
  return ChunkKey(key.begin(), key.end());
}

absl::StatusOr<std::vector<KeyHash>> ParseKeys(const RepeatedText& keys) {
  if (keys.empty() || keys.size() > kRpcKeysMax) {
    return Invalid("keys", absl::StrCat("1 to ", kRpcKeysMax, " keys, not ", keys.size()));
  }
  std::vector<KeyHash> hashes;
  hashes.reserve(keys.size());
  for (int i = 0; i < keys.size(); ++i) {
    ASSIGN_OR_RETURN(const ChunkKey key, ParseKey(absl::StrCat("keys[", i, "]"), keys[i]));
    hashes.push_back(HashKey(key));
  }
  return hashes;
}

absl::StatusOr<ContainerCodec> ParseCodec(absl::string_view field, v1::Codec codec,
                                          ContainerCodec unspecified) {
  if (codec == v1::CODEC_UNSPECIFIED) return unspecified;
  if (!v1::Codec_IsValid(codec)) {
    return Invalid(field, absl::StrCat(codec, " is none of ", kContainerCodecNames));
  }
  return static_cast<ContainerCodec>(codec);
}

absl::StatusOr<SpaceDescription> ParseSpaceDescription(const v1::SpaceDescription& message) {
  if (message.tenant().size() > kTenantBytesMax) {
    return Invalid("description.tenant", absl::StrCat("longer than ", kTenantBytesMax, " bytes"));
  }
  if (message.salt().size() > kSaltBytesMax) {
    return Invalid("description.salt", absl::StrCat("longer than ", kSaltBytesMax, " bytes"));
  }
  if (!message.has_manifest()) return Invalid("description.manifest", "is missing");
  ASSIGN_OR_RETURN(Manifest manifest, ParseManifest(message.manifest()));
  return SpaceDescription{
      .tenant = message.tenant(), .salt = message.salt(), .manifest = std::move(manifest)};
}

absl::StatusOr<Part> ParsePart(const v1::Part* message, const Manifest& manifest) {
  if (message == nullptr) return manifest.WholePart();
  constexpr uint32_t kMax = UINT16_MAX;
  if (message->layer_begin() > kMax || message->layer_end() > kMax ||
      message->head_begin() > kMax || message->head_end() > kMax) {
    return Invalid("part", absl::StrCat("a bound is over ", kMax));
  }
  const Part part{.layer_begin = static_cast<uint16_t>(message->layer_begin()),
                  .layer_end = static_cast<uint16_t>(message->layer_end()),
                  .head_begin = static_cast<uint16_t>(message->head_begin()),
                  .head_end = static_cast<uint16_t>(message->head_end())};
  RETURN_IF_ERROR(Annotate(manifest.ValidatePart(part), "part"));
  return part;
}

void FillSpaceDescription(const SpaceDescription& description, v1::SpaceDescription* message) {
  message->set_tenant(ToUtf8(description.tenant));
  message->set_salt(ToUtf8(description.salt));
  const Manifest& manifest = description.manifest;
  v1::Manifest& out = *message->mutable_manifest();
  out.set_model(ToUtf8(manifest.model));
  out.set_revision(ToUtf8(manifest.revision));
  out.set_quantisation(ToUtf8(manifest.quantisation));
  out.set_rope(ToUtf8(manifest.rope));
  out.set_hash_scheme(ToUtf8(manifest.hash_scheme));
  out.set_hash_seed(manifest.hash_seed);
  out.set_element_type(static_cast<v1::ElementType>(manifest.element_type));
  out.set_kind(static_cast<v1::CacheKind>(manifest.kind));
  out.set_layers(manifest.layers);
  out.set_heads(manifest.heads);
  out.set_head_dim(manifest.head_dim);
  out.set_tokens_per_chunk(manifest.tokens_per_chunk);
  out.set_layout_version(manifest.layout_version);
  out.set_codec(static_cast<v1::Codec>(manifest.codec));
  out.set_levels(manifest.levels);
}

void FillPart(const Part& part, v1::Part* message) {
  message->set_layer_begin(part.layer_begin);
  message->set_layer_end(part.layer_end);
  message->set_head_begin(part.head_begin);
  message->set_head_end(part.head_end);
}

void FillRemovals(const std::array<uint64_t, kRemovalCauses>& removed,
                  google::protobuf::RepeatedPtrField<v1::RemovalCount>* counts) {
  for (size_t cause = 0; cause < kRemovalCauses; ++cause) {
    v1::RemovalCount& count = *counts->Add();
    count.set_cause(static_cast<v1::RemovalCause>(cause + 1));
    count.set_chunks(removed[cause]);
  }
}

std::string HashOrNothing(const KeyHash& hash) { return hash.IsZero() ? "" : ToString(hash); }

}  // namespace larder
