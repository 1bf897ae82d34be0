#include "tools/ctl/enum_names.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace larder {
namespace {

using google::protobuf::EnumDescriptor;

// "CacheKind" is "cache_kind_".
std::string Prefix(const EnumDescriptor& type) {
  std::string prefix;
  for (const char letter : type.name()) {
    if (absl::ascii_isupper(letter) && !prefix.empty()) prefix.push_back('_');
    prefix.push_back(absl::ascii_tolower(letter));
  }
  return prefix + "_";
}

}  // namespace

std::string EnumName(const EnumDescriptor& type, int number) {
  const google::protobuf::EnumValueDescriptor* value = type.FindValueByNumber(number);
  if (value == nullptr) return "";
  const std::string name = absl::AsciiStrToLower(value->name());
  return std::string(absl::StripPrefix(name, Prefix(type)));
}

std::optional<int> EnumNumber(const EnumDescriptor& type, absl::string_view name) {
  for (int i = 0; i < type.value_count(); ++i) {
    const int number = type.value(i)->number();
    if (number != 0 && EnumName(type, number) == name) return number;
  }
  return std::nullopt;
}

std::string EnumNames(const EnumDescriptor& type) {
  std::vector<std::string> names;
  for (int i = 0; i < type.value_count(); ++i) {
    if (type.value(i)->number() != 0) names.push_back(EnumName(type, type.value(i)->number()));
  }
  return absl::StrJoin(names, ", ");
}

}  // namespace larder
