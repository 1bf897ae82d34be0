#include "tools/ctl/proto_json.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tools/ctl/enum_names.h"

namespace larder {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

std::string Dump(const Json& json, int indent) {
  return json.dump(indent, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

Json EnumValue(const FieldDescriptor& field, int number) {
  const std::string name = EnumName(*field.enum_type(), number);
  // One of a newer daemon has no name here.
  return name.empty() ? Json(number) : Json(name);
}

Json TextValue(const FieldDescriptor& field, const std::string& value) {
  return field.type() == FieldDescriptor::TYPE_BYTES ? absl::BytesToHexString(value) : value;
}

Json Value(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  if (field.type() == FieldDescriptor::TYPE_FIXED32) {
    return absl::StrFormat("%08x", reflection.GetUInt32(message, &field));
  }
  if (field.type() == FieldDescriptor::TYPE_FIXED64) {
    return absl::StrFormat("%016x", reflection.GetUInt64(message, &field));
  }
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.GetInt32(message, &field);
    case FieldDescriptor::CPPTYPE_INT64:
      return reflection.GetInt64(message, &field);
    case FieldDescriptor::CPPTYPE_UINT32:
      return reflection.GetUInt32(message, &field);
    case FieldDescriptor::CPPTYPE_UINT64:
      return reflection.GetUInt64(message, &field);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.GetDouble(message, &field);
    case FieldDescriptor::CPPTYPE_FLOAT:
      return reflection.GetFloat(message, &field);
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return EnumValue(field, reflection.GetEnumValue(message, &field));
    case FieldDescriptor::CPPTYPE_STRING:
      return TextValue(field, reflection.GetString(message, &field));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return ToJson(reflection.GetMessage(message, &field));
  }
  return nullptr;
}

// The services repeat messages, texts and bytes.
Json RepeatedValue(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  Json list = Json::array();
  for (int i = 0; i < reflection.FieldSize(message, &field); ++i) {
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      list.push_back(ToJson(reflection.GetRepeatedMessage(message, &field, i)));
    } else {
      list.push_back(TextValue(field, reflection.GetRepeatedString(message, &field, i)));
    }
  }
  return list;
}

}  // namespace

Json ToJson(const Message& message) {
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  Json json = Json::object();
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    Json& value = json[field.name()];
    if (field.is_repeated()) {
      value = RepeatedValue(message, field);
    } else if (!field.has_presence() || message.GetReflection()->HasField(message, &field)) {
      value = Value(message, field);
    }
  }
  return json;
}

std::string ToText(const Json& json) { return Dump(json, 2) + "\n"; }

JsonListWriter::JsonListWriter(FILE* file, absl::string_view name) : file_(file) {
  std::fprintf(file_, "{\n\"%s\": [", std::string(name).c_str());
}

void JsonListWriter::Add(const Json& item) {
  std::fprintf(file_, "%s\n%s", empty_ ? "" : ",", Dump(item, -1).c_str());
  empty_ = false;
}

void JsonListWriter::Finish(const Json& rest) {
  std::fputs(empty_ ? "]" : "\n]", file_);
  for (const auto& [name, value] : rest.items()) {
    std::fprintf(file_, ",\n\"%s\": %s", name.c_str(), Dump(value, -1).c_str());
  }
  std::fputs("\n}\n", file_);
}

}  // namespace larder
