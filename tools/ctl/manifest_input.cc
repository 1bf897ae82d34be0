#include "tools/ctl/manifest_input.h"

#include <google/protobuf/message.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status.h"
#include "tools/ctl/enum_names.h"

namespace larder {
namespace {

using google::protobuf::FieldDescriptor;

constexpr char kWhere[] = "manifest: ";

absl::Status WrongField(absl::string_view name, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(kWhere, name, ": ", what));
}

absl::StatusOr<const FieldDescriptor*> FindField(const std::string& name) {
  const google::protobuf::Descriptor& type = *v1::Manifest::descriptor();
  if (const FieldDescriptor* field = type.FindFieldByName(name)) return field;
  std::string names;
  for (int i = 0; i < type.field_count(); ++i) {
    absl::StrAppend(&names, i == 0 ? "" : ", ", type.field(i)->name());
  }
  return WrongField(name, absl::StrCat("no such field; there are ", names));
}

absl::Status SetEnum(const FieldDescriptor& field, const std::string& text,
                     v1::Manifest* manifest) {
  const google::protobuf::EnumDescriptor& type = *field.enum_type();
  // Left out, as JSON output writes it.
  if (text == EnumName(type, 0)) return absl::OkStatus();
  const std::optional<int> number = EnumNumber(type, text);
  if (!number.has_value()) {
    return WrongField(field.name(), absl::StrCat("'", text, "' is none of ", EnumNames(type)));
  }
  manifest->GetReflection()->SetEnumValue(manifest, &field, *number);
  return absl::OkStatus();
}

absl::Status SetText(const FieldDescriptor& field, const std::string& text,
                     v1::Manifest* manifest) {
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_ENUM) return SetEnum(field, text, manifest);
  manifest->GetReflection()->SetString(manifest, &field, text);
  return absl::OkStatus();
}

bool IsNumber(const FieldDescriptor& field) {
  return field.cpp_type() == FieldDescriptor::CPPTYPE_UINT32 ||
         field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64;
}

absl::Status SetNumber(const FieldDescriptor& field, uint64_t number, v1::Manifest* manifest) {
  const google::protobuf::Reflection& reflection = *manifest->GetReflection();
  if (field.cpp_type() == FieldDescriptor::CPPTYPE_UINT64) {
    reflection.SetUInt64(manifest, &field, number);
    return absl::OkStatus();
  }
  if (number > std::numeric_limits<uint32_t>::max()) {
    return WrongField(field.name(), absl::StrCat(number, " is too large"));
  }
  reflection.SetUInt32(manifest, &field, static_cast<uint32_t>(number));
  return absl::OkStatus();
}

absl::Status SetJson(const FieldDescriptor& field, const nlohmann::json& value,
                     v1::Manifest* manifest) {
  if (IsNumber(field)) {
    if (!value.is_number_unsigned()) {
      return WrongField(field.name(), "must be a whole number, not negative");
    }
    return SetNumber(field, value.get<uint64_t>(), manifest);
  }
  if (!value.is_string()) return WrongField(field.name(), "must be a text in quotes");
  return SetText(field, value.get<std::string>(), manifest);
}

}  // namespace

absl::StatusOr<Manifest> ManifestFromJson(absl::string_view text) {
  const nlohmann::json json = nlohmann::json::parse(text.begin(), text.end(), /*cb=*/nullptr,
                                                    /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object()) {
    return absl::InvalidArgumentError("manifest: not a JSON object");
  }
  v1::Manifest manifest;
  for (const auto& [name, value] : json.items()) {
    ASSIGN_OR_RETURN(const FieldDescriptor* field, FindField(name));
    RETURN_IF_ERROR(SetJson(*field, value, &manifest));
  }
  return ToManifest(manifest);
}

absl::StatusOr<Manifest> ManifestFromFields(const std::vector<std::string>& fields) {
  v1::Manifest manifest;
  std::set<std::string> seen;
  for (const std::string& assignment : fields) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(assignment, absl::MaxSplits('=', 1));
    ASSIGN_OR_RETURN(const FieldDescriptor* field, FindField(parts.first));
    if (!seen.insert(parts.first).second) return WrongField(parts.first, "given twice");
    if (!IsNumber(*field)) {
      RETURN_IF_ERROR(SetText(*field, parts.second, &manifest));
      continue;
    }
    uint64_t number = 0;
    if (!absl::SimpleAtoi(parts.second, &number)) {
      return WrongField(parts.first,
                        absl::StrCat("'", parts.second, "' is no whole number, not negative"));
    }
    RETURN_IF_ERROR(SetNumber(*field, number, &manifest));
  }
  return ToManifest(manifest);
}

absl::StatusOr<Manifest> ToManifest(const v1::Manifest& message) {
  if (!v1::ElementType_IsValid(message.element_type()) || message.element_type() == 0) {
    return WrongField("element_type",
                      absl::StrCat("must be one of ", EnumNames(*v1::ElementType_descriptor())));
  }
  if (!v1::CacheKind_IsValid(message.kind()) || message.kind() == 0) {
    return WrongField("kind",
                      absl::StrCat("must be one of ", EnumNames(*v1::CacheKind_descriptor())));
  }
  if (!v1::Codec_IsValid(message.codec())) {
    return WrongField("codec", absl::StrCat("must be one of ", EnumNames(*v1::Codec_descriptor())));
  }
  Manifest manifest;
  manifest.model = message.model();
  manifest.revision = message.revision();
  manifest.quantisation = message.quantisation();
  manifest.rope = message.rope();
  manifest.hash_scheme = message.hash_scheme();
  manifest.hash_seed = message.hash_seed();
  // The numbers are those of the format.
  manifest.element_type = static_cast<ElementType>(message.element_type());
  manifest.kind = static_cast<CacheKind>(message.kind());
  manifest.layers = message.layers();
  manifest.heads = message.heads();
  manifest.head_dim = message.head_dim();
  manifest.tokens_per_chunk = message.tokens_per_chunk();
  if (message.layout_version() != 0) manifest.layout_version = message.layout_version();
  if (message.codec() != 0) manifest.codec = static_cast<ContainerCodec>(message.codec());
  manifest.levels = message.levels();
  RETURN_IF_ERROR(manifest.Validate());
  return manifest;
}

}  // namespace larder
