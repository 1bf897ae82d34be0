// The services' enums as people and JSON write them: KEY_VALUE of CacheKind is "key_value".
#pragma once

#include <google/protobuf/descriptor.h>

#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace larder {

// Empty when the enum has no such number.
std::string EnumName(const google::protobuf::EnumDescriptor& type, int number);

// The number of a name as EnumName writes it; nullopt when there is none. Zero, which means
// "unspecified", has no name here.
std::optional<int> EnumNumber(const google::protobuf::EnumDescriptor& type, absl::string_view name);

// The names of all numbers but zero: "bfloat16, float16".
std::string EnumNames(const google::protobuf::EnumDescriptor& type);

}  // namespace larder
